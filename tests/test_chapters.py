"""The chapters: they compute for real at quick sizes, and what is committed was executed, without images."""

import ast
import json
import re
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml

from lazyjam.cache import Cache
from lazyjam.chapters import chapters, project
from lazyjam.claims import MIME, claims
from lazyjam.parameters import checked

BOOK = Path(__file__).parent.parent / "book"
CHAPTERS = sorted(path.stem for path in BOOK.glob("*.ipynb"))
QUICK = yaml.safe_load((BOOK / "quick.yml").read_text())
PAPER = yaml.safe_load((BOOK / "paper.yml").read_text())


def code_cells(chapter: str) -> list:
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def parameters(chapter: str) -> dict[str, ast.AnnAssign]:
    (cell,) = [c for c in code_cells(chapter) if "parameters" in c.metadata.get("tags", [])]
    return {node.target.id: node for node in ast.parse(cell.source).body if isinstance(node, ast.AnnAssign)}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_committed_outputs(chapter):
    cells = code_cells(chapter)
    assert all(cell.execution_count for cell in cells)
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert not [kind for o in outputs for kind in o.get("data", {}) if kind.startswith("image/")]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_claim_of_a_chapter_has_its_verdict(chapter):
    records = [o.data[MIME] for cell in code_cells(chapter) for o in cell.outputs if MIME in o.get("data", {})]
    judged = {(r["id"], r["rule"]) for r in records}
    assert judged == {(claim.id, claim.rule) for claim in claims().values() if claim.chapter == chapter}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_numbers_of_the_answer_are_computed(chapter):
    """Numbers with a decimal point, in the last cell and in what protocols.md says of the chapter, are outputs.

    In the conclusion those of every cell are.
    """
    outputs = [o for cell in code_cells(chapter) for o in cell.outputs]
    text = " ".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)
    computed = [float(number) for number in re.findall(r"\d+\.?\d*(?:e[+-]?\d+)?", text)]
    cells = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4).cells
    texts = [cell.source for cell in cells if cell.cell_type == "markdown"]
    answer = " ".join(texts if chapter == "conclusion" else texts[-1:])
    between = re.compile(rf"<!-- {chapter}: begin -->(.*?)<!-- {chapter}: end -->", re.DOTALL)
    said = answer + " ".join(between.findall((BOOK / "protocols.md").read_text()))
    numbers = re.findall(r"\d+\.\d+", said)
    assert numbers
    for number in numbers:
        half_a_digit = 0.501 * 10 ** -len(number.partition(".")[2])
        assert any(abs(float(number) - one) <= half_a_digit for one in computed), number


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_style(chapter):
    notebook = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
    given = parameters(chapter)
    lines = [cell.source.strip().split("\n") for cell in code_cells(chapter)]
    assert len(lines[0]) <= 25 and max(map(len, lines[1:])) <= 20  # the first lists the parameters
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    assert words >= 8 * sum(len([line for line in cell if line.strip()]) for cell in lines)
    assert given and set(QUICK[chapter]) | set(PAPER[chapter]) <= set(given)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_computes_from_an_empty_cache(chapter, tmp_path, monkeypatch):
    monkeypatch.delenv("LAZYJAM_DATA", raising=False)
    where = {name: str(tmp_path / name) for name in ("cache", "figures") if name in parameters(chapter)}
    papermill.execute_notebook(
        BOOK / f"{chapter}.ipynb", tmp_path / "out.ipynb", {**QUICK[chapter], **where}, cwd=BOOK, progress_bar=False
    )
    if "cache" in where:  # others have no runs, or are done in seconds
        assert len(Cache(tmp_path / "cache").keys()) >= 4
    for suffix in ("svg", "png", "csv"):
        assert (tmp_path / "figures" / f"{chapter}.{suffix}").stat().st_size > 200
    if chapter == "fig04_phase_diagram":  # the phenomenon is there: cells that fit and cells that do not, both regimes
        rows = (tmp_path / "figures" / f"{chapter}.csv").read_text().split("\n")
        header, cells = rows[0].split(","), [row.split(",") for row in rows[1:] if row]
        ratio = [float(row[header.index("kernel_ratio")] or "nan") for row in cells]
        error = [row[header.index("error")] for row in cells]
        assert "" in error and any(error)
        assert min(r for r in ratio if r == r) < 1 < max(r for r in ratio if r == r)


def test_quick_and_paper_name_every_chapter():
    assert set(QUICK) == set(PAPER) == set(CHAPTERS)
    assert json.dumps(QUICK) and json.dumps(PAPER)


@pytest.mark.parametrize("sizes", [QUICK, PAPER], ids=["quick", "paper"])
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_sizes_of_a_file_are_taken(chapter, sizes):
    """There are as many images, and lists that go together have one length."""
    given = checked(chapters(project(BOOK))[chapter], sizes[chapter])
    if "right_narrowest" in given:
        assert len(given["right_narrowest"]) == len(given["right_alpha_tilde"])


def test_the_front_page_leads_to_every_chapter():
    cards = (BOOK / "intro.md").read_text().partition("## The chapters")[2].partition("\n## ")[0]
    assert set(re.findall(r"{doc}`[^<`]*<(\w+)>`", cards)) == set(CHAPTERS)
