"""Chapters as the command line sees them: notebooks with one cell of parameters, read without running anything.

The cell is tagged `parameters` and holds annotated literals, each with a comment that is its help:

    h: list[int] = [4, 8, 16]  # widths
"""

from __future__ import annotations

import ast
import io
import json
import re
import tokenize
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from .cache import Cache
from .spelling import nearest

TYPES = ("int", "float", "str", "bool", "list[int]", "list[float]", "list[str]")


class Parameter(NamedTuple):
    """A name of the parameters cell. type: as annotated, one of TYPES."""

    name: str
    type: str
    default: Any
    help: str


class Cell(NamedTuple):
    """A code cell: its source, whether it is the parameters cell, and its committed outputs."""

    source: str
    is_parameters: bool
    outputs: list[dict[str, Any]]


class Chapter(NamedTuple):
    """A notebook of the book. title: its first heading, which names the section or figure."""

    name: str
    title: str
    path: Path
    parameters: dict[str, Parameter]
    cells: list[Cell]


def project(start: str | Path = ".") -> Path:
    """The root of the project: the folder at or above `start`, else at or above this file, that has book/_toc.yml."""
    for folder in (Path(start).resolve(), Path(__file__).resolve()):
        for candidate in (folder, *folder.parents):
            if (candidate / "book" / "_toc.yml").is_file():
                return candidate
    here = Path(start).resolve()
    raise FileNotFoundError(f"there is no book/_toc.yml at or above {here}: go to the folder of the project.")


def chapters(root: Path) -> dict[str, Chapter]:
    """All chapters by name, in the order of the book. Raises ValueError for a notebook that cannot be read."""
    found, contents = notebooks(root / "book"), root / "book/_toc.yml"
    order = re.findall(r"^ *- *file: *(\w+)", contents.read_text(encoding="utf-8"), re.M) if contents.is_file() else []
    return {name: found[name] for name in dict.fromkeys([*order, *found]) if name in found}


def notebooks(folder: Path) -> dict[str, Chapter]:
    """The notebooks of a folder by name, but for what `lazyjam run` writes. Raises ValueError as `chapters` does."""
    paths = sorted(path for path in folder.glob("*.ipynb") if not path.stem.endswith(".out"))
    return {path.stem: _read(path) for path in paths}


def chapter(root: Path, name: str) -> Chapter:
    """The chapter of that name; ValueError, with the nearest one, where there is none."""
    known = chapters(root)
    if name not in known:
        raise ValueError(f"unknown chapter {name!r}{nearest(name, known)}")
    return known[name]


class Kept(NamedTuple):
    """What is kept of a chapter: records, the CPU seconds that they took, and how many were made on a GPU."""

    records: int
    cpu_seconds: float
    on_gpu: int

    @property
    def beside(self) -> str:
        """What stands behind the time of a core where a GPU helped, else nothing."""
        return f" and, for {self.on_gpu} of them, a GPU" if self.on_gpu else ""

    def __str__(self) -> str:
        return f"{self.records} kept results, which took {self.cpu_seconds / 60:.1f} minutes of a core{self.beside}"


def kept(chapter: Chapter, cache: Cache) -> Kept:
    """What is in the packs that carry the chapter's name. Of a run on a GPU the core is the one that fed it."""
    keys = {key for name, keys in held(cache).items() if name.startswith(chapter.name) for key in keys}
    metas = [record.meta for key in keys if (record := cache.get(key))]
    seconds = sum((meta.get("cost", {}).get("cpu_seconds", 0.0) for meta in metas), 0.0)
    return Kept(len(metas), round(seconds, 1), sum(on_gpu(meta) for meta in metas))


def on_gpu(meta: dict[str, Any]) -> bool:
    """Whether the run of a record with this meta was made on a GPU."""
    return meta.get("how", {}).get("device", "cpu").startswith("cuda")


def held(cache: Cache) -> dict[str, set[str]]:
    """The keys in each pack, by its name, and in `loose`."""
    packs = {pack.path.name: set(pack.members) for pack in cache._packs()}
    return {**packs, "loose": {path.stem for path in cache._files()}}


def outputs(chapters: Iterable[Chapter], mime: str) -> list[Any]:
    """What the committed notebooks hold of one MIME type, in their order."""
    found = (output.get("data", {}) for one in chapters for cell in one.cells for output in cell.outputs)
    return [data[mime] for data in found if mime in data]


def _read(path: Path) -> Chapter:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = ["".join(cell["source"]) for cell in raw]
        headings = [line[2:] for cell, text in zip(raw, texts, strict=True) if cell["cell_type"] == "markdown"
                    for line in text.splitlines() if line.startswith("# ")]
        cells = [Cell(text, "parameters" in cell["metadata"].get("tags", []), cell.get("outputs", []))
                 for cell, text in zip(raw, texts, strict=True) if cell["cell_type"] == "code"]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is no notebook that can be read ({type(error).__name__}: {error}).") from error
    parameters = [one for cell in cells if cell.is_parameters for one in _parameters(cell.source, path)]
    return Chapter(path.stem, (headings or [path.stem])[0].strip(), path, {one.name: one for one in parameters}, cells)


def _parameters(source: str, path: Path) -> list[Parameter]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    helps = {token.start[0]: token.string.lstrip("# ") for token in tokens if token.type == tokenize.COMMENT}
    found = []
    for node in ast.parse(source).body:
        try:
            name, type_, default = node.target.id, ast.unparse(node.annotation), ast.literal_eval(node.value)
            if type_ not in TYPES:
                raise ValueError
        except (AttributeError, ValueError):
            rule = f"a parameter is `name: type = literal  # help` with a type of {', '.join(TYPES)}"
            raise ValueError(f"{path}: {rule}, got {ast.unparse(node)!r}.") from None
        lines = range(node.lineno, node.end_lineno + 1)
        found.append(Parameter(name, type_, default, next((helps[line] for line in lines if line in helps), "")))
    return found
