"""The verb: sweep runs a grid of setups, keeps the results, and returns them as a table with named axes."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import xarray as xr
from tqdm import tqdm

from .cache import Cache, Record
from .losses import LOSSES
from .observables import Observable
from .precision import checked_precision
from .setups import Setup
from .training import GPU_PROCESSES, MAX_GRADIENTS, batches_of, checked_device, compute, share_gpu, stamp
from .workers import spread

MOST = 100_000  # runs of a sweep; more are a slip of the finger


def sweep(
    setup: Setup,
    observables: Sequence[Observable],
    cache: Cache | None = None,
    *,
    executor: Executor | None = None,
    device: str = "cpu",
    method: str | None = None,
    max_gradients: int = MAX_GRADIENTS,
    precision: str = "double",
    progress: bool = True,
    **axes: Iterable,
) -> xr.Dataset:
    """The observables over a grid of setups, as a table with named axes. What the cache lacks is computed and kept.

    axes: names of fields of Setup with the values to visit, e.g. `h=[8, 16], seed=range(10)`; a DataArray over some of
    the axes sets a field that depends on them, e.g. t_max over alpha_tilde; where it is NaN there is no run, and NaN in
    the table. executor: any concurrent.futures.Executor; without one, long work is shared among one process per core,
    or GPU_PROCESSES on a GPU (see `workers.spread`). precision: "double", or "single" for the runs that it serves
    (`precision_of`). progress shows what is missing and the time left, and nothing if nothing is.
    Every finished batch is on disk before the next one starts, so an interruption loses at most the batches in flight.
    A run stopped by max_gradients is kept, flagged `capped`, and computed again when max_gradients is raised, or when
    it was made in single precision and double is asked for. A run on `file:PATH` is computed again when the file has
    changed.

    Raises, before the first run starts, ValueError for a bad value anywhere in the grid, or a setup of which an
    observable cannot be asked, and OSError for a cache that cannot be written to. Raises MemoryError for a run that
    turns out to be too large for a GPU.
    """
    grid, coords = grid_of(setup, axes)
    if executor is None:
        checked_device(device)  # else the workers know
    checked_precision(precision)
    wanted = {f.__name__: f for f in observables}
    for needs in filter(None, (f.needs for f in observables)):
        for one in grid.values():
            needs(one)
    records: dict[Setup, Record] = {}
    kept = {one: cache.get(one.key) for one in grid.values()} if cache is not None else {}
    for one, record in kept.items():
        if record is not None and _has(record, wanted.values(), max_gradients, precision):
            records[one] = record
    todo = [one for one in dict.fromkeys(grid.values()) if one not in records]
    how = dict(device=device, method=method, max_gradients=max_gradients, precision=precision)
    with tqdm(total=len(todo), desc="runs", unit="run", disable=not (progress and todo), file=sys.stderr) as bar:
        for batch in _run(batches_of(todo, device, method), list(wanted.values()), cache, executor, how):
            records.update(batch)
            bar.update(len(batch))
    return _table(grid, coords, records, wanted)


def census(**tables: xr.Dataset) -> str:
    """How many runs each table holds, how many fit, and how many were broken off, as lines of text.

    What is NaN in all columns, after tables with different seeds were joined, is no run.
    """
    lines = [
        f"{name}: {int(table.cpu_seconds.count())} runs, {int((table.N_delta == 0).sum())} fitted, "
        f"{int(((table.N_delta > 0) & (table.capped != 1)).sum())} jammed, "
        f"{int((table.capped == 1).sum())} broken off, "
        f"{table.cpu_seconds.sum() / 3600:.1f} CPU hours"
        for name, table in tables.items()
    ]
    return "\n".join(lines)


def missing(setup: Setup, observables: Sequence[Observable], cache: Cache, **axes: Any) -> list[Setup]:
    """The runs that `sweep` would have to compute."""
    kept = ((one, cache.get(one.key)) for one in dict.fromkeys(grid_of(setup, axes)[0].values()))
    return [one for one, record in kept if record is None or not _has(record, observables, MAX_GRADIENTS)]


def grid_of(setup: Setup, axes: dict[str, Any]) -> tuple[dict[tuple[int, ...], Setup], dict[str, list]]:
    """The setups of a grid by their index along the axes, less those that are left out, and the values of the axes.

    See `sweep`.
    """
    for name, v in axes.items():
        if isinstance(v, str) or not isinstance(v, Iterable):
            raise ValueError(f"an axis is a list of values, got {name} = {v!r}: put a single value in the setup.")
    coords = {name: [*itertools.islice(v, MOST + 1)] for name, v in axes.items() if not isinstance(v, xr.DataArray)}
    if math.prod(map(len, coords.values())) > MOST:
        raise ValueError(f"a sweep has at most {MOST:,} runs, got more: make several of it.")
    dependent = {name: v for name, v in axes.items() if isinstance(v, xr.DataArray)}
    for name, values in coords.items():
        if not values:
            raise ValueError(f"the axis {name} is empty: give at least one value.")
        if len({*values}) < len(values):
            raise ValueError(f"the values of an axis differ, got {name} = {values}.")
    grid = {}
    for index in itertools.product(*(range(len(values)) for values in coords.values())):
        point = {name: values[i] for (name, values), i in zip(coords.items(), index, strict=True)}
        for name, array in dependent.items():
            point[name] = array.sel({dim: point[dim] for dim in array.dims}).item()
        if any(isinstance(point[name], float) and math.isnan(point[name]) for name in dependent):
            continue
        grid[index] = one = setup.replace(**point)
        if LOSSES[one.loss].ends == "never" and math.isinf(one.t_max):
            raise ValueError(f"the loss {one.loss!r} never comes to an end: give a finite t_max.")
    if not grid:
        raise ValueError(f"no run is left: {' and '.join(dependent)} is NaN everywhere.")
    return grid, coords


def _has(
    record: Record, observables: Iterable[Observable], max_gradients: int, precision: str = "double"
) -> bool:
    versions = record.meta["versions"]
    if any(versions.get(f.__name__) != f.version for f in observables):
        return False
    dataset = record.meta["fields"].get("dataset", Setup.dataset)
    if stamp(dataset) not in ("", record.meta["provenance"]["checksum"]):
        return False
    how = record.meta["how"]
    finer = precision == "double" and how.get("precision") == "single"
    return not (record.columns["capped"].item() and (finer or how["max_gradients"] < max_gradients))


def _run(batches, observables, cache, executor, how) -> Iterator[dict[Setup, Record]]:
    yield from collect(partial(compute, observables=observables, how=how), batches, cache, executor, how)


def collect(
    task: Callable[[list[Setup]], dict[Setup, Record]], batches: list[list[Setup]], cache: Cache | None,
    executor: Executor | None, how: dict[str, Any],
) -> Iterator[dict[Setup, Record]]:
    """The records that task(batch) returns for every batch, as they come. They are kept here: workers need no disk."""
    if cache is not None and batches:
        cache.check_writable()
    sharing = {}
    if how["device"].startswith("cuda"):
        sharing = dict(processes=GPU_PROCESSES, initializer=share_gpu, initargs=(how["device"],))
    for records in spread(task, batches, executor, **sharing):
        for setup, record in records.items() if cache is not None else ():
            cache.put(setup.key, record)
        yield records


def _table(grid, coords, records: dict[Setup, Record], wanted: dict[str, Observable]) -> xr.Dataset:
    shape = tuple(len(values) for values in coords.values())

    def whole(rows: np.ndarray) -> np.ndarray:
        """Rows in the order of the grid, and NaN where there is no run."""
        if len(rows) == math.prod(shape):
            return rows.reshape(shape + rows.shape[1:])
        every = np.full((math.prod(shape), *rows.shape[1:]), np.nan)
        every[np.ravel_multi_index(np.array([*grid]).T, shape)] = rows
        return every.reshape(shape + rows.shape[1:])

    variables = {}
    for name, f in wanted.items():
        rows = np.stack([np.asarray(records[setup].columns[name]) for setup in grid.values()])
        variables[name] = ((*coords, *f.dims), whole(rows))
    for name in ("gradients", "cpu_seconds"):
        values = np.array([records[setup].meta["cost"][name] for setup in grid.values()])
        variables[name] = (tuple(coords), whole(values))
    return xr.Dataset(variables, coords=coords)
