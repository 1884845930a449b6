"""The command line: `lazyjam chapters | run | sweep | claims | cache`.

Errors of a person are one sentence and exit code 2, found before a kernel starts. A chapter that fails, damaged records
and an audit that disagrees are exit code 1, Ctrl-C is 130.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from .cache import Cache
from .chapters import Chapter, chapter, chapters, kept, project
from .cli_cache import store
from .parameters import checked, from_file
from .scorecard import VERDICTS, scorecard
from .spelling import nearest
from .terminal import AsJson, Pairs, Sentences, columns, cut, print_json, stop, wrapped

Name = Annotated[str, typer.Argument(metavar="CHAPTER")]
Given = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME VALUE", help="A parameter; a list is 4,8,16. Repeat for more."),
]
File = Annotated[
    Path | None, typer.Option("-f", "--file", metavar="FILE.yml", help="Parameters, or chapter: parameters.")
]

app = typer.Typer(
    cls=Sentences, no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False,
)
app.add_typer(store, name="cache")


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"lazyjam {metadata.version('lazyjam')}")
        raise typer.Exit
    return asked


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """An executable companion to 'Landscape and training regimes in deep learning'."""


@app.command("chapters")
def list_chapters(
    name: Annotated[str | None, typer.Argument(metavar="CHAPTER", help="Only this one, with whole lists.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the chapters: title, kept results and what they took, parameters with type, default and help."""
    root, rows, costs = project(), [], []
    for one in [chapter(root, name)] if name else chapters(root).values():
        costs.append(kept(one, Cache(root / "data_cache")))
        rows.append({"name": one.name, "title": one.title, **costs[-1]._asdict(),
                     "parameters": [parameter._asdict() for parameter in one.parameters.values()]})
    if as_json:
        return print_json(rows)
    for row, cost in zip(rows, costs, strict=True):
        typer.echo(f"{row['name']}: {row['title']}\n  {cost}")
        lines = columns([[p["name"], p["type"], cut(p["default"], 24), ""] for p in row["parameters"]])
        indent = max(map(len, lines), default=0) + 6
        for line, parameter in zip(lines, row["parameters"], strict=True):
            typer.echo(wrapped(parameter["help"], indent, f"    {line}"))
            if name and "…" in line:
                typer.echo(wrapped(json.dumps(parameter["default"]), 8))
        typer.echo()


@app.command(cls=Pairs)
def run(
    name: Name,
    parameter: Given = None,
    file: File = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT.ipynb", help="Default: CHAPTER.out.ipynb, here.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the missing runs and the minutes.")] = False,
) -> None:
    """Execute a chapter, with other parameters than its own where they are given.

    It runs in the folder book/, from which relative paths are taken. A run with other than the default parameters
    leaves figures/ alone: its figures are written beside OUT.ipynb.
    """
    one, changed = _chosen(name, parameter, file)
    if dry_run:
        return _rehearse(one, changed)
    out = out or Path(f"{one.name}.out.ipynb")
    if out.suffix != ".ipynb" or not out.resolve().parent.is_dir():
        raise ValueError(f"-o must be a notebook in a folder that exists, like folder/name.ipynb, got {out}.")
    if out.resolve() in {other.path.resolve() for other in chapters(project()).values()}:
        raise ValueError(f"{out} is a chapter of the book: choose another -o.")
    changed |= _figures_aside(one, changed, out)
    _execute(one, changed, out)
    if changed:
        _label(one, changed, out)
    typer.echo(f"{out} is written" + (f", its figures are in {changed['figures']}" if "figures" in changed else ""))


@contextmanager
def _processes(scheduler: str | None) -> Iterator[None]:
    if scheduler:
        raise ValueError("--scheduler goes with --executor dask.")
    yield


@contextmanager
def _dask(scheduler: str | None) -> Iterator[Executor]:
    """Jobs for the workers of the scheduler at this address."""
    try:
        from distributed import Client
    except ImportError:
        raise ValueError("--executor dask needs dask.distributed: pip install 'lazyjam[cluster]'.") from None
    if not scheduler:
        raise ValueError("--executor dask needs --scheduler ADDRESS, like tcp://host:8786.")
    try:
        client = Client(scheduler, timeout=5)
    except (OSError, ValueError, TypeError, ImportError, RuntimeError) as error:  # it depends on the protocol
        raise ValueError(f"no dask scheduler answers at {scheduler!r} ({error}): correct --scheduler.") from error
    with client:
        yield client.get_executor()


EXECUTORS = {"processes": _processes, "dask": _dask}


@app.command(cls=Pairs)
def sweep(
    name: Name,
    parameter: Given = None,
    file: File = None,
    budget: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="No batch of runs begins later than this.")
    ] = math.inf,
    shard: Annotated[
        str | None, typer.Option(metavar="K/N", help="Of N machines that share nothing, this is number K.")
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="|".join(EXECUTORS), help="What computes: the cores here, or workers of dask.")
    ] = "processes",
    scheduler: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Of dask, like tcp://host:8786.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    precision: Annotated[
        str | None, typer.Option(metavar="double|single", help="Single serves fully connected nets at small alpha.")
    ] = None,
) -> None:
    """Compute the runs that a chapter lacks, without its notebook. The same command goes on where it was stopped."""
    from .filling import ChapterError, Share, fill  # they import what draws, which is slow

    one, changed = _chosen(name, parameter, file)
    share = Share(shard) if shard else None
    if executor not in EXECUTORS:
        raise ValueError(f"unknown executor {executor!r}{nearest(executor, EXECUTORS)}")
    with EXECUTORS[executor](scheduler) as pool:
        try:
            filled = fill(one, changed, executor=pool, device=device, precision=precision, minutes=budget, share=share)
        except ChapterError as error:
            stop(str(error), 1)
    typer.echo(f"{len(filled.computed)} runs computed, {len(filled.left)} left for want of time, "
               f"{len(filled.others)} left to other machines")


def _chosen(name: str, parameter: list[str] | None, file: Path | None) -> tuple[Chapter, dict[str, Any]]:
    """The chapter of that name, and the parameters that are given for it, checked."""
    root = project()
    one = chapter(root, name)
    given = from_file(one, file, chapters(root)) if file else {}
    return one, checked(one, given | dict(pair.split("=", 1) for pair in parameter or []))


def _figures_aside(one: Chapter, changed: dict[str, Any], out: Path) -> dict[str, str]:
    """Another folder for the figures of a run with other parameters, unless it names one itself."""
    if not changed or "figures" not in one.parameters:
        return {}
    published = one.path.parent / one.parameters["figures"].default
    chosen = one.path.parent / changed.get("figures", published)
    return {"figures": f"{out.resolve().with_suffix('')}_figures"} if chosen.resolve() == published.resolve() else {}


def _execute(one: Chapter, changed: dict[str, Any], out: Path) -> None:
    import papermill  # slow to import
    from nbclient.exceptions import DeadKernelError

    on_terminal = sys.stderr.isatty()
    typer.echo(f"Executing {one.name}, {len(one.cells)} cells of code.", err=True)
    try:
        papermill.execute_notebook(
            one.path, out.resolve(), changed, cwd=one.path.parent, kernel_name="python3", language="python",
            progress_bar=on_terminal, stderr_file=sys.stderr if on_terminal else None,  # where sweep shows its progress
            extra_arguments=["--log-level=CRITICAL"],  # the kernel's own words, not the chapter's
        )
    except papermill.PapermillExecutionError as error:
        said = f"in cell [{error.exec_count}]: {error.ename}: {cut(' '.join(error.evalue.split()), 300)}"
    except DeadKernelError:
        said = "because its kernel died, perhaps for lack of memory."
    else:
        return
    stop(f"{one.name} failed {said}\nWhat was done until then is in {out}, and finished runs are kept.", 1)


def _label(one: Chapter, changed: dict[str, Any], out: Path) -> None:
    """Say in the executed copy that its text was written for other parameters, and let it show its own figures."""
    import nbformat

    notebook = nbformat.read(out, 4)
    given = ", ".join(f"`{name} = {value!r}`" for name, value in changed.items() if name != "figures")
    text = "The outputs are of this run. Numbers in the text are not: they belong to the parameters of the book."
    banner = f"> Executed with {given or 'another folder of figures'}. {text}"
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(banner))
    shown = Path(os.path.relpath(one.path.parent / changed.get("figures", "../figures"), out.resolve().parent))
    for cell in notebook.cells[1:]:
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("../figures/", f"{shown.as_posix()}/")
    nbformat.write(notebook, out)


def _rehearse(one: Chapter, changed: dict[str, Any]) -> None:
    from .rehearsal import ChapterError, cpu_seconds, rehearse  # it imports what draws, which is slow

    typer.echo(f"Going through {one.name} without running it: half a minute, or minutes for very many runs.", err=True)
    try:
        found = rehearse(one, changed)
    except ChapterError as error:
        stop(str(error), 1)
    missing = [*found.sure, *found.guessed]
    if found.complete:
        return typer.echo("0 runs are missing: the chapter only reads kept results.")
    if found.packings:
        typer.echo(f"{found.packings} packings are missing, each about half a minute of one core for 100 particles.")
    if found.diagnoses:
        typer.echo(f"{found.diagnoses} diagnoses are missing. How long their nets train is not known.")
    if not missing:
        return None
    typer.echo(f"{len(found.sure)} runs are missing in the first sweep that lacks some.")
    if found.guessed:
        typer.echo(f"About {len(found.guessed)} more follow in later sweeps; which, may depend on what comes out.")
    if found.left_out:
        typer.echo(f"More may follow: {len(found.left_out)} cells need results, and were left out. The first: "
                   + cut(found.left_out[0], 200))
    seconds, unlike = cpu_seconds(missing, [Cache(folder) for folder in found.caches])
    if unlike == len(missing):
        return typer.echo("No estimate of the time, because no kept run is like these.")
    without = f". It leaves out {unlike} runs, because none like them is kept" if unlike else ""
    typer.echo(f"Expect {seconds / 60:.1f} minutes of one core, judging by the nearest kept runs{without}.")


@app.command("claims")
def list_claims(
    name: Annotated[str | None, typer.Option("--chapter", metavar="CHAPTER", help="Those of one chapter.")] = None,
    verdict: Annotated[str | None, typer.Option(metavar="VERDICT", help=f"One of: {', '.join(VERDICTS)}.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the paper's claims: expected, measured, error and verdict, as the notebooks of the book hold them.

    A verdict by another rule than that of the registry does not count: such a claim is not run.
    """
    card = scorecard(project() / "book")
    score = card.of(verdict).rows if verdict else card.rows
    if name:
        of = chapter(project(), name).name
        score = [row for row in score if row.claim.chapter == of]
    rows = [{"id": row.claim.id, "chapter": row.claim.chapter, "statement": row.claim.statement,
             "expected": row.claim.expectation, "measured": row.measured, "error": row.error, "verdict": row.verdict,
             "reason": row.reason} for row in score]
    if as_json:
        return print_json(rows)
    names = ("id", "chapter", "expected", "measured", "error", "verdict")
    table = [["-" if row[name] is None else str(row[name]) for name in names] for row in rows]
    head, *lines = columns([list(names), *table])
    typer.echo(head)
    for row, line in zip(rows, lines, strict=True):
        typer.echo(f"{line}\n{wrapped(row['statement'], 4)}")
    counts = Counter(row.verdict for row in score)
    typer.echo(", ".join(f"{counts[one]} {one}" for one in VERDICTS))
