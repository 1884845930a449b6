"""Values for the parameters of a chapter: from a file or from words, of the declared type, and in range.

All is checked before anything runs. The ranges are those of Setup: `h` and `left_h` are widths, because their
names end in that of its field.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from contextlib import chdir
from pathlib import Path
from typing import Any

import yaml

from .chapters import Chapter, Parameter
from .data import DATASETS, OWN_FILE
from .setups import Setup
from .sources import stamps
from .spelling import nearest


def from_file(chapter: Chapter, path: Path, known: Iterable[str]) -> dict[str, Any]:
    """The chapter's parameters in a YAML file that holds either parameters or chapter -> parameters.

    known: the names of all chapters. Raises ValueError for a file that is neither or says nothing on this chapter,
    FileNotFoundError without it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}: correct -f.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} must hold `parameter: value` or `chapter: {{parameter: value}}`, got {content!r}.")
    if not all(isinstance(value, dict) for value in content.values()):
        return content
    for name in content:
        if name not in set(known):
            raise ValueError(f"{path} names an unknown chapter {name!r}{nearest(name, known)}")
    if chapter.name not in content:
        raise ValueError(f"{path} has no parameters for {chapter.name}, only for {', '.join(content)}.")
    return content[chapter.name]


def checked(chapter: Chapter, given: dict[str, Any]) -> dict[str, Any]:
    """The values that differ from their defaults, each of its declared type. Words of a command line are converted.

    Raises ValueError for an unknown name, a wrong type, and what Setup would refuse, FileNotFoundError for images in a
    file that is not there.
    """
    for name in given:
        if name not in chapter.parameters:
            raise ValueError(f"{chapter.name} has no parameter {name!r}{nearest(name, chapter.parameters)}")
    values = {name: _converted(chapter.parameters[name], value) for name, value in given.items()}
    changed = {name: value for name, value in values.items() if value != chapter.parameters[name].default}
    if changed:
        _check_ranges(chapter, changed)
    return changed


def _check_ranges(chapter: Chapter, changed: dict[str, Any]) -> None:
    """Setup's own rules, for parameters alone and together; a count stays a count, and an axis in its order."""
    fields = {name: field for name, one in chapter.parameters.items() if (field := _field(one))}
    for name, value in changed.items():
        kind, default = chapter.parameters[name].type, chapter.parameters[name].default
        if value == [] and default:
            raise ValueError(f"{name} must have at least one value, got [].")
        if kind == "int" and default > 0 and value < 1:
            raise ValueError(f"{name} must be positive, got {value}.")
        for one in value if isinstance(value, list) else [value]:
            if fields.get(name) == "dataset" and one.startswith("file:"):
                with chdir(chapter.path.parent):  # where the notebook runs
                    stamps(one, OWN_FILE)
    same = [name for name in fields if fields[name] == name]
    views = [[name] for name in fields] + [same] + [[*same, name] for name in fields if name not in same]
    for view in views:
        before = {fields[name]: chapter.parameters[name].default for name in view}
        after = {fields[name]: changed.get(name, chapter.parameters[name].default) for name in view}
        for rest in ({}, {"preprocessing": "none"}):  # what the chapter may set by itself: as its defaults must pass
            if not _refusal(rest, before):
                if refusal := _refusal(rest, after):
                    raise ValueError(refusal if len(view) > 1 or view == [fields[view[0]]] else f"{view[0]}: {refusal}")
                break
    for name, value in changed.items():
        default = chapter.parameters[name].default
        if isinstance(default, list) and default == sorted({*default}) and value != sorted({*value}):
            raise ValueError(f"{name} must be ascending, without repeats, got {value}.")


def _field(parameter: Parameter) -> str | None:
    """The field of Setup that a parameter sets: `h` and `left_h` are h, and whatever names a data set is dataset."""
    if parameter.type == "str" and parameter.default in DATASETS:
        return "dataset"
    names = [field.name for field in dataclasses.fields(Setup)]
    return max((name for name in names if f"_{parameter.name}".endswith(f"_{name}")), key=len, default=None)


def _refusal(rest: dict[str, Any], values: dict[str, Any]) -> str:
    """What Setup says against any of the values; those of a list are tried one by one, at the first of every other.

    Where no data set is among them, sizes are checked against one of unknown size.
    """
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    first = {name: value[0] for name, value in lists.items()}
    for name, value in [(name, one) for name, several in lists.items() for one in several]:
        try:
            Setup(**{"dataset": "file:", **rest, **first, name: value})
        except ValueError as error:
            return str(error)
    return ""


def _converted(parameter: Parameter, value: Any) -> Any:
    is_list = parameter.type.startswith("list[")
    kind = parameter.type[5:-1] if is_list else parameter.type
    try:
        if not is_list:
            return KINDS[kind](value)
        return [KINDS[kind](one) for one in _several(value)]
    except (ArithmeticError, LookupError, TypeError, ValueError):
        example = {"int": "4,8,16", "float": "0.1,1e3", "bool": "true,false", "str": "mnist,cifar10"}[kind]
        hint = f", as in {example}" if is_list else ", true or false" if kind == "bool" else ""
        raise ValueError(f"{parameter.name} must be of type {parameter.type}{hint}, got {value!r}.") from None


def _several(value: Any) -> list[Any]:
    """`[4, 8]`, the words "4,8" and "[4, 8]", and a single 4."""
    if not isinstance(value, str):
        return value if isinstance(value, list) else [value]
    inside = value.strip().removeprefix("[").removesuffix("]").strip()
    return [word.strip().strip("'\"") for word in inside.split(",")] if inside else []


def _int(value: Any) -> int:
    number = _float(value)  # so that 1e4 is whole
    if not number.is_integer():
        raise ValueError
    return int(value) if isinstance(value, int) else int(number)


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if number != number:
        raise ValueError
    return number


def _bool(value: Any) -> bool:
    return value if isinstance(value, bool) else {"true": True, "false": False}[value.lower()]


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


KINDS: dict[str, Callable[[Any], Any]] = {"int": _int, "float": _float, "bool": _bool, "str": _str}
