"""What stands at the top of a chapter: where in the review it is, its verdicts, what its results cost, how to run it.

Nothing of it is written by hand: it comes from the registry of claims, the committed notebooks and the kept results.
"""

import re
from collections import Counter
from functools import cache

from docutils import nodes
from overview import ROOT, minutes
from published import repository

from lazyjam.cache import Cache
from lazyjam.chapters import chapters, kept
from lazyjam.claims import Claim
from lazyjam.scorecard import scorecard, tally

SCORE = "every-claim"  # the section of the conclusion that has the table
BINDER = "https://mybinder.org/v2/gh/{repository}/HEAD?urlpath=lab/tree/book/{name}.ipynb"
COLAB = "https://colab.research.google.com/#create=true"
CELL = """\
!git clone -q --depth 1 https://github.com/{repository} lazyjam
%cd lazyjam
!pip install -q virtualenv && virtualenv -q .venv
!.venv/bin/pip install -q --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt -e .
!.venv/bin/lazyjam run {name} -o mine.ipynb
from IPython.display import Image
Image("figures/{name}.png")
"""
"""Colab opens one notebook without the files beside it, so a cell in an empty one fetches the project."""


def where(title: str, claims: list[Claim]) -> str:
    """The figure that a chapter is about, or the sections that at least a third of its claims come from."""
    if figure := re.match(r"Figure \d+", title):
        return f"{figure[0]} of the review"
    counts = Counter(section for claim in claims for section in set(re.findall(r"Section (\d+)", claim.where)))
    main = sorted(section for section, count in counts.items() if 3 * count >= len(claims))
    if not main:
        return "The review as a whole"
    return f"Section{'s' * (len(main) > 1)} {' and '.join(main)} of the review"


@cache  # once a build, because it reads all that is kept
def facts() -> dict[str, tuple[str, str, str]]:
    """Of every chapter by name: its place in the review, its verdicts in words ("" for none), and its cost."""
    store, score, found = Cache(ROOT / "data_cache"), scorecard(ROOT / "book"), {}
    for name, chapter in chapters(ROOT).items():
        rows = [row for row in score.rows if row.claim.chapter == name]
        found_here = kept(chapter, store)
        time = minutes(found_here.cpu_seconds).replace("< 1", "less than one")
        several = "s" * (time not in ("1", "less than one"))
        took = f"its {found_here.records} kept results took {time} minute{several} of a core{found_here.beside}"
        cost = took if found_here.records else "it needs no kept results of its own"
        verdicts = tally(Counter(row.verdict for row in rows))
        found[name] = where(chapter.title, [row.claim for row in rows]), verdicts, cost
    return found


def launch(name: str, repository: str | None) -> list[nodes.Node]:
    """Links that run a chapter elsewhere; none where the address of the project is not known."""
    if repository is None:
        return []
    cell = CELL.format(repository=repository, name=name)
    binder = nodes.reference("", "Binder", refuri=BINDER.format(repository=repository, name=name))
    colab = nodes.reference("", "an empty notebook of Colab", refuri=COLAB)
    then = nodes.Text(", paste this cell, and run it. It installs the project first, which takes minutes.")
    return [
        nodes.paragraph("", "", binder),
        nodes.raw("", "<details><summary>Colab</summary>", format="html"),
        nodes.paragraph("", "Open ", colab, then),
        nodes.literal_block(cell, cell, language="ipython3"),
        nodes.raw("", "</details>", format="html"),
    ]


def about(name: str, conclusion: str, rerun: str, repository: str | None) -> nodes.container:
    """The box of a chapter. conclusion, rerun: addresses of these pages, from its own."""
    place, verdicts, cost = facts()[name]
    first = nodes.paragraph("", "", nodes.strong("", place))
    if verdicts:
        first += [nodes.Text(": "), nodes.reference("", verdicts, refuri=f"{conclusion}#{SCORE}", internal=True)]
    first += nodes.Text(f"; {cost}.")
    how = nodes.reference("", "Compute it again", refuri=rerun, internal=True)
    command = f"lazyjam run {name} -o mine.ipynb"
    again = [nodes.paragraph("", "", how, nodes.Text(":")), nodes.literal_block(command, command, language="bash")]
    return nodes.container("", first, *again, *launch(name, repository), classes=["about"])


def insert(app, doctree):
    name = app.env.docname
    if name in facts():
        title = next(iter(doctree.findall(nodes.title)))
        conclusion, rerun = (app.builder.get_relative_uri(name, page) for page in ("conclusion", "rerun"))
        title.parent.insert(title.parent.index(title) + 1, about(name, conclusion, rerun, repository()))


def setup(app):
    app.connect("doctree-read", insert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
