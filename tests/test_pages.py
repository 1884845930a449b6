"""What the pages tell people to type runs, in the order of the page, and its shell commands are known."""

import re
from pathlib import Path
from unittest.mock import patch

import pytest
import yaml
from pybtex.database import parse_string
from typer.testing import CliRunner

from lazyjam.cli import app
from lazyjam.data import DATASETS
from lazyjam.networks import NETWORKS

BOOK = Path(__file__).parent.parent / "book"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (BOOK / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page, numbers",
    [
        ("rerun.md", r"kernel_change.*\d\.\d.*test_error.*0\.\d"),
        ("cite.md", "^[0-9a-f]{32}\n$"),
        ("extend.md", r"growth.*1\.00\d.*unsatisfied 0 at .*torch\.Size\(\[1, 200, 200\]\)\n\[\S+ \S+\]\n\[0\.\d"),
        ("../README.md", r"kernel_change.*5 nets of N = 3301 parameters.*margins below 1"),
    ],
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, numbers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python"))
    with patch.dict(DATASETS), patch.dict(NETWORKS):  # what a page adds to them goes with it
        exec(compile(code, page, "exec"), {"__name__": page})
    assert re.search(numbers, capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize("page", ["rerun.md", "cluster.md", "numbers.md", "cite.md", "../README.md"])
def test_the_commands_of_a_page_exist(page):
    lines = [line.split("#")[0].split() for block in blocks(page, "bash") for line in block.split("\n")]
    commands = [line for line in lines if line[:1] == ["lazyjam"]]
    assert commands
    for _, *words in commands:
        verbs = words[:2] if words[0] == "cache" else words[:1]
        shown = CliRunner().invoke(app, [*verbs, "--help"])
        assert shown.exit_code == 0, verbs
        options = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}
        assert all(re.search(rf"(?<![\w-]){option}\b", shown.output) for option in options), (verbs, options)


def test_the_entries_of_the_page_on_citing_are_those_of_the_citation_file():
    citation = yaml.safe_load((BOOK.parent / "CITATION.cff").read_text())
    review, ours = (parse_string(block, "bibtex").entries for block in blocks("cite.md", "bibtex"))
    (review,), (ours,) = review.values(), ours.values()
    (cited,) = citation["references"]
    assert all(review.fields[name] == cited[name] for name in ("title", "journal", "doi"))
    assert review.fields["volume"] == str(cited["volume"]) and review.fields["year"] == str(cited["year"])
    assert review.fields["pages"] == f"{cited['start']}--{cited['end']}"
    names = [" ".join(person.last_names) for person in review.persons["author"]]
    assert names == [author["family-names"] for author in cited["authors"]]
    assert all(ours.fields[name] == citation[name] for name in ("title", "version", "license"))
    assert f"lazyjam {citation['version']}" in (BOOK / "cite.md").read_text()
