"""What every command shares: errors as sentences, options of two words, aligned columns."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

WIDTH = 100  # characters of a line

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Folder = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The cache; data_cache of the project if not given.")
]


class Sentences(TyperGroup):
    """Commands whose errors are one sentence and exit code 2; Ctrl-C is 130."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # the reader has seen enough
            raise
        except (ValueError, OSError) as error:
            ours = isinstance(error, OSError) and error.strerror and not error.filename
            stop(error.strerror if ours else str(error), 2)
        except KeyboardInterrupt:
            stop("Stopped. The runs that were finished are kept: the same command goes on from there.", 130)


class Pairs(TyperCommand):
    """A command whose option -p takes two words, NAME VALUE; it gets them as NAME=VALUE."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        joined, words = [], iter(args)
        for word in words:
            joined.append(word)
            if word in ("-p", "--parameter"):
                name, value = next(words, ""), next(words, None)
                if value is None or "=" in name:
                    raise ValueError("-p takes two words, NAME VALUE, as in -p P 500.")
                joined.append(f"{name}={value}")
        return super().parse_args(ctx, joined)


def stop(sentence: str, code: int) -> NoReturn:
    """End the command with a sentence on stderr and an exit code."""
    typer.echo(sentence, err=True)
    raise typer.Exit(code)


def columns(rows: list[list[str]]) -> list[str]:
    """The rows as lines, each column as wide as its widest entry."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def cut(value: Any, most: int) -> str:
    """The value as text of at most that many characters, with an ellipsis where it was longer."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def wrapped(text: str, indent: int, first: str = "") -> str:
    """The text in lines of WIDTH characters, indented; `first` stands before it."""
    return textwrap.fill(text or " ", WIDTH, initial_indent=first.ljust(indent), subsequent_indent=" " * indent,
                         drop_whitespace=bool(text)).rstrip()


def print_json(value: Any) -> None:
    """Indented JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
