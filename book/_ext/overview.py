"""The table of the chapters in README.md: verdicts from the notebooks, minutes of a core from the kept results.

`python book/_ext/overview.py` writes it anew; what is measured, the column of words, stays as it is in README.md.
"""

import re
from pathlib import Path

import yaml

from lazyjam.cache import Cache
from lazyjam.chapters import chapters, kept
from lazyjam.scorecard import NOT_REPRODUCED, OUT_OF_REACH, REPRODUCED, scorecard

ROOT = Path(__file__).parents[2]
BETWEEN = re.compile(r"(?<=<!-- chapters: begin -->\n).*(?=<!-- chapters: end -->)", re.DOTALL)
HEAD = """\
| chapter | figure | what is measured | reproduced | not reproduced | out of reach | minutes of a core |
|---|---|---|---:|---:|---:|---:|
"""


def minutes(seconds: float) -> str:
    """Of a core, as the table and the chapters say them."""
    return f"{seconds / 60:.0f}" if seconds >= 30 else "< 1"


def table(readme: str) -> str:
    """The table with the words that it has in `readme`; a chapter without any gets a question mark."""
    words = dict(re.findall(r"\(book/(\w+)\.ipynb\) \|[^|]*\| ([^|]*?) \|", readme))
    known, counts, cache = chapters(ROOT), scorecard(ROOT / "book").counts(), Cache(ROOT / "data_cache")
    toc = yaml.safe_load((ROOT / "book/_toc.yml").read_text())
    lines = []
    for name in (page["file"] for part in toc["parts"] for page in part["chapters"] if page["file"] in known):
        found = kept(known[name], cache)
        time = minutes(found.cpu_seconds) + " and a GPU" * bool(found.on_gpu)
        verdicts = [counts.get(name, {}).get(verdict, 0) for verdict in (REPRODUCED, NOT_REPRODUCED, OUT_OF_REACH)]
        cells = [f"[{known[name].title}](book/{name}.ipynb)", f"[svg](figures/{name}.svg)", words.get(name, "?"),
                 *(verdicts if any(verdicts) else "–––"), time]  # fmt: skip
        lines.append(f"| {' | '.join(map(str, cells))} |\n")
    return HEAD + "".join(lines)


def renewed(readme: str) -> str:
    """README.md with its table as it should be."""
    return BETWEEN.sub(lambda _: table(readme), readme)


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(renewed(path.read_text(encoding="utf-8")), encoding="utf-8")
