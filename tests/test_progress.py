"""A chapter that fails says so where one looks: the cell and the message are in the output of the build."""

import subprocess
import sys
from pathlib import Path

import nbformat
import yaml

ROOT = Path(__file__).parent.parent
BUILD = "from jupyter_book.cli.main import main; main()"


def chapter(path, *cells):
    parts = [nbformat.v4.new_markdown_cell(f"# {path.stem}"), *map(nbformat.v4.new_code_cell, cells)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(nbformat.v4.new_notebook(cells=parts, metadata={"kernelspec": kernel}), path)


def test_a_chapter_that_fails_names_its_cell_and_the_message(tmp_path):
    (tmp_path / "intro.md").write_text("# Intro\n")
    chapter(tmp_path / "good.ipynb", "1 + 1")
    chapter(tmp_path / "bad.ipynb", "1 + 1", "h = -1\nraise ValueError(f'h must be positive, got {h}.')", "2")
    toc = {"format": "jb-book", "root": "intro", "chapters": [{"file": "good"}, {"file": "bad"}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    settings = yaml.safe_load((ROOT / "_config.yml").read_text())
    own = {"execute": settings["execute"], "sphinx": {"local_extensions": {"progress": str(ROOT / "book/_ext")}}}
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(own))
    built = subprocess.run([sys.executable, "-c", BUILD, "build", ".", "-W", "-n", "--keep-going", "--all"],
                           cwd=tmp_path, capture_output=True, text=True)  # fmt: skip
    assert built.returncode
    assert "2 chapters executed in" in built.stdout
    where = "in cell [2], `h = -1`: ValueError: h must be positive, got -1."
    assert built.stdout.count(where) == 2 and "bad failed after" in built.stdout
    assert "good failed" not in built.stdout and "without encryption" not in built.stdout + built.stderr
