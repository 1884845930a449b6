"""What the pages tell people to type runs, in the order of the page, and its shell commands are known."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lazyjam.cli import app
from lazyjam.data import DATASETS

BOOK = Path(__file__).parent.parent / "book"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (BOOK / page).read_text(), re.DOTALL)


@pytest.mark.parametrize(
    "page, numbers",
    [
        ("rerun.md", r"kernel_change.*\d\.\d.*test_error.*0\.\d"),
        ("extend.md", r"growth.*1\.00\d.*unsatisfied 0 at .*kernel torch\.Size\(\[1, 200, 200\]\).*\[0\.\d"),
        ("../README.md", r"kernel_change.*5 nets of N = 3301 parameters.*margins below 1"),
    ],
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, numbers, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lazyjam.data.DATASETS", DATASETS.copy())
    code = "\n".join(blocks(page, "python"))
    exec(compile(code, page, "exec"), {"__name__": page})
    assert re.search(numbers, capsys.readouterr().out, re.DOTALL)


@pytest.mark.parametrize("page", ["rerun.md", "cluster.md", "../README.md"])
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
