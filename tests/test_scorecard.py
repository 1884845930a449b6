"""The score: what notebooks hold is shown, the table needs no script, and the account of the conclusion has no gap."""

import math
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lazyjam import scorecard as module
from lazyjam.claims import MIME, Claim
from lazyjam.scorecard import Row, Scorecard, scorecard

BOOK = Path(__file__).parent.parent / "book"
WORDS = dict(where="Fig. 0", statement="A < B & C.", window="all of it", data="digits")
VALUE = Claim(id="T-value", chapter="one", kind="value", expected=0.5, tolerance=0.1, **WORDS)
BELOW = Claim(id="T-below", chapter="one", kind="ordering", expected=2.0, sense="<", **WORDS)
OLD = Claim(id="T-old", chapter="two", kind="value", expected=1.0, tolerance=0.1, **WORDS)


def record(claim, measured, error, verdict, **other):
    return {"id": claim.id, "measured": measured, "error": error, "verdict": verdict, "reason": "", "rule": claim.rule,
            **other}  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one executed chapter of two; the verdict on the third claim is by an earlier rule."""
    monkeypatch.setattr(module, "claims", lambda: {claim.id: claim for claim in (VALUE, BELOW, OLD)})
    records = [record(VALUE, 0.7, 0.02, "not reproduced", reason="Too small."), record(BELOW, 1.0, 0.1, "reproduced"),
               record(OLD, 1.0, 0.01, "reproduced", rule="earlier")]  # fmt: skip
    cell = new_code_cell("check()", outputs=[new_output("display_data", {MIME: one}) for one in records])
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Figure 0: a <tiny> one"), cell]), tmp_path / "one.ipynb")
    return tmp_path


def test_the_score_of_a_folder(folder):
    card = scorecard(folder)
    assert str(card) == ("3 claims: 1 reproduced, 1 not reproduced, 1 not run\n"
                         "Figure 0: a <tiny> one: 1 reproduced, 1 not reproduced\ntwo: 1 not run")  # fmt: skip
    assert str(card.select("T-below", "T-old")) == (
        "T-below: expected < 2, measured 1.00 ± 0.10: reproduced\nT-old: expected 1 ± 0.1, measured –: not run"
    )
    failed = card.of("not reproduced")
    assert str(failed) == "T-value: expected 0.5 ± 0.1, measured 0.700 ± 0.020: not reproduced (Too small.)"
    (line,) = failed._repr_mimebundle_()["text/markdown"].splitlines()
    assert line.startswith("- **T-value**: A < B & C. Expected") and line.endswith("**not reproduced**. Too small.")
    (one,) = card.deviations()
    assert one["off"] == pytest.approx(2.0) and one["error"] == pytest.approx(0.2) and one["id"] == "T-value"


@pytest.mark.parametrize(
    ("claim", "measured", "error", "found", "off"),
    [
        (VALUE, 0.7, 0.02, "0.700 ± 0.020", 2.0),
        (VALUE, 0.45, None, "0.45, no error", -0.5),
        (VALUE, None, None, "–", math.nan),
        (BELOW, 1.0, 0.1, "1.00 ± 0.10", math.nan),
    ],
)
def test_what_is_shown_of_a_number(claim, measured, error, found, off):
    row = Row(claim, measured, error, "out of reach", "", "one", "one.html")
    assert row.found == found and row.off == pytest.approx(off, nan_ok=True)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda card: card.select("T-valeu"), "unknown claim 'T-valeu': did you mean 'T-value'?"),
        (lambda card: card.of("reproducd"), "unknown verdict 'reproducd': did you mean 'reproduced'?"),
    ],
)
def test_what_is_unknown_gets_a_sentence(folder, ask, sentence):
    with pytest.raises(ValueError) as refusal:
        ask(scorecard(folder))
    assert str(refusal.value) == sentence


def test_a_folder_without_notebooks_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no notebook in .*: name the folder of the executed chapters."):
        scorecard(tmp_path)


class Page(HTMLParser):
    """The tags of a page with their attributes, and that every one is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag != "input":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_the_table_is_complete_without_a_script(folder):
    html = scorecard(folder).html()
    page = Page(html)
    assert page.open == []
    rows = page.of("tr")[1:]
    assert [row["data-verdict"] for row in rows] == ["not reproduced", "reproduced", "not run"]
    assert not [row for row in rows if "hidden" in row] and "hidden" in page.of("form")[0]
    assert "A &lt; B &amp; C." in html and "a &lt;tiny&gt; one" in html
    assert [link["href"].partition("#")[0] for link in page.of("a")] == ["one.html", "one.html"]
    off = [cell["data-by"] for cell in page.of("td") if cell["data-label"] == "Off by"]
    assert float(off[0]) == pytest.approx(2.0) and off[1:] == ["-1", "-1"]
    assert [button["value"] for button in page.of("button")] == ["reproduced", "not reproduced", "not run"]


def test_the_table_of_the_book():
    card = scorecard(BOOK)
    page = Page(card.html())
    assert len(page.of("tr")) == len(card.rows) + 1 and len(page.of("td")) == 7 * len(card.rows)
    assert "http" not in card.html() and not [one for one in page.of("script") if one]
    linked = {link["href"].partition(".html")[0] for link in page.of("a")}
    assert linked == {path.stem for path in BOOK.glob("*.ipynb")} & set(card.counts())


def test_the_conclusion_is_that_of_the_other_chapters():
    """It is executed last: its committed text is what the committed notebooks say now."""
    (_, first, *_) = [c for c in nbformat.read(BOOK / "conclusion.ipynb", 4).cells if c.cell_type == "code"]
    assert first.outputs[0].text == f"{scorecard(BOOK)}\n", "execute book/conclusion.ipynb again"


@pytest.mark.parametrize("verdict", ["not reproduced", "out of reach"])
def test_the_account_of_the_conclusion_has_no_gap(verdict):
    """What its prose says of claims with this verdict names all of them, once, and no other."""
    texts = [c.source for c in nbformat.read(BOOK / "conclusion.ipynb", 4).cells if c.cell_type == "markdown"]
    (said,) = re.findall(f"<!-- {verdict}: begin -->(.*)<!-- {verdict}: end -->", "\n".join(texts), re.DOTALL)
    card: Scorecard = scorecard(BOOK)
    known = "|".join(sorted((re.escape(row.claim.id) for row in card.rows), key=len, reverse=True))
    named = re.findall(rf"(?<![\w-])(?:{known})(?![\w-])", said)
    assert sorted(named) == sorted(row.claim.id for row in card.rows if row.verdict == verdict)
