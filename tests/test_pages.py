"""What the pages tell people to type runs, in the order of the page, and its shell commands are known."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lazyjam.cli import app
from lazyjam.data import DATASETS

BOOK = Path(__file__).parent.parent / "book"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (BOOK / f"{page}.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["rerun", "extend"])
def test_the_code_of_a_page_runs_from_top_to_bottom(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lazyjam.data.DATASETS", DATASETS.copy())
    code = "\n".join(blocks(page, "python"))
    exec(compile(code, f"{page}.md", "exec"), {"__name__": page})
    assert len(capsys.readouterr().out.split("\n")) > code.count("print(")


@pytest.mark.parametrize("page", ["rerun", "cluster"])
def test_the_commands_of_a_page_exist(page):
    lines = [line.split("#")[0].split() for block in blocks(page, "bash") for line in block.split("\n")]
    commands = [line for line in lines if line[:1] == ["lazyjam"]]
    assert commands
    for _, *words in commands:
        verbs = words[:2] if words[0] == "cache" else words[:1]
        shown = CliRunner().invoke(app, [*verbs, "--help"])
        assert shown.exit_code == 0, verbs
        options = {word for word in words if re.fullmatch(r"--?[a-z-]+", word)}
        assert all(option in shown.output for option in options), (verbs, options)
