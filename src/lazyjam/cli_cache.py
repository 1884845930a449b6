"""The commands on kept results: `lazyjam cache ls | verify | pack | merge | audit`."""

from __future__ import annotations

import secrets
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from . import audit as auditing
from .cache import Cache
from .chapters import Chapter, chapter, held, project
from .setups import Setup
from .terminal import AsJson, Folder, columns, print_json

BULKY = ("test_margin", "test_output")  # outputs of single runs, which stay loose
REPEAT = "Repeat for more."

store = typer.Typer(help="The kept results.", no_args_is_help=True, rich_markup_mode=None)


@store.command()
def ls(folder: Folder = None, as_json: AsJson = False) -> None:
    """List the packs and the loose records."""
    rows = _cache(folder).ls()
    if as_json:
        return print_json(rows)
    for line in columns([[row["name"], f"{row['records']} records", f"{row['bytes'] / 1e6:.2f} MB"] for row in rows]):
        typer.echo(line)


@store.command()
def verify(folder: Folder = None) -> None:
    """Read every record from disk, and name those that are damaged."""
    records, damaged = _cache(folder).verify()
    for name in damaged:
        typer.echo(f"{name} is damaged")
    typer.echo(f"{records} records, {len(damaged)} damaged")
    raise typer.Exit(1 if damaged else 0)


@store.command()
def pack(
    name: str,
    of: Annotated[list[str] | None, typer.Option("--chapter", help=f"Only what a chapter reads. {REPEAT}")] = None,
    dataset: Annotated[list[str] | None, typer.Option(help=f"Only runs on a data set. {REPEAT}")] = None,
    drop: Annotated[list[str] | None, typer.Option(help=f"A column to leave out, not {' and '.join(BULKY)}.")] = None,
    folder: Folder = None,
) -> None:
    """Gather loose records in the pack NAME.zip, beside what it holds; those that another pack holds are left out."""
    cache = _cache(folder)
    where = held(cache)
    mine, loose = where.pop(f"{name}.zip", set()), where.pop("loose")
    keys = loose.difference(*where.values())
    if of:
        keys &= set().union(*(_keys_of(chapter(project(), one)) for one in of))
    if dataset:
        keys = {key for key in keys if _dataset(cache, key) in dataset}
    if not keys:
        raise ValueError(f"there is nothing to pack in {name!r}: none of the {len(loose)} loose records is asked for.")
    path = cache.pack(sorted(keys | mine), name, drop=BULKY if drop is None else drop)
    size = path.stat().st_size / 1e6
    typer.echo(f"{path} holds {len(keys | mine)} records, {len(keys - mine)} of them new, in {size:.2f} MB")


@store.command()
def merge(other: Annotated[Path, typer.Argument(metavar="FOLDER")], folder: Folder = None) -> None:
    """Copy the records that the cache FOLDER has and this one lacks, or broke off."""
    typer.echo(f"{_cache(folder).merge(other)} records are new or have new columns")


@store.command()
def audit(
    n: Annotated[int, typer.Option("-n", min=1, help="How many runs.")] = 20,
    seed: Annotated[int | None, typer.Option(min=0, help="Draws the sample; without it, one is drawn.")] = None,
    folder: Folder = None,
    as_json: AsJson = False,
) -> None:
    """Compute a random sample of the kept runs again, and compare.

    The exit code is 0 if none disagrees and at least one could be compared.
    """
    cache, outcomes = _cache(folder), []
    seed = secrets.randbelow(2**32) if seed is None else seed
    typer.echo(f"a sample of {n}, drawn by --seed {seed}", err=as_json)
    for outcome in auditing.audit(cache, n, seed):
        outcomes.append(outcome)
        if not as_json:
            typer.echo(_line(outcome))
    if as_json:
        print_json({"seed": seed, "runs": [outcome._asdict() for outcome in outcomes]})
    counts = Counter(outcome.verdict for outcome in outcomes)
    said = ", ".join(f"{verdict}: {count}" for verdict, count in counts.items())
    typer.echo(said or "there is no run to compare", err=as_json)
    records = [record for key in cache.keys() if (record := cache.get(key))]
    for kind, name in (("packing", "packings"), ("diagnosis", "diagnoses")):
        if many := sum(kind in record.meta for record in records):
            typer.echo(f"{many} {name} are not audited", err=as_json)
    raise typer.Exit(0 if counts[auditing.AGREES] and not counts[auditing.DISAGREES] else 1)


def _line(outcome: auditing.Outcome) -> str:
    off = "" if outcome.difference is None else f"off by {outcome.difference:.1e}, allowed {outcome.allowed:.1e}"
    said = "; ".join(filter(None, [off, outcome.reason]))
    return f"{outcome.verdict:<9}  {outcome.run} ({outcome.stratum})\n           {said}"


def _cache(folder: Path | None) -> Cache:
    folder = folder or project() / "data_cache"
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no cache folder {str(folder)!r}: correct --folder.")
    return Cache(folder)


def _keys_of(one: Chapter) -> set[str]:
    from .rehearsal import rehearse  # it imports what draws, which is slow

    found = rehearse(one, {})
    if not found.complete:
        lacks = len(found.sure) + found.packings + found.diagnoses
        raise ValueError(f"{one.name} lacks {lacks} runs or more: use `lazyjam run {one.name}` first.")
    return set(found.keys)


def _dataset(cache: Cache, key: str) -> str | None:
    record = cache.get(key)
    return record.meta["fields"].get("dataset", Setup.dataset) if record and "fields" in record.meta else None
