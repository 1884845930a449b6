"""The verb: sweep runs a grid of setups, keeps the results, and returns them as a table with named axes."""

from __future__ import annotations

import ctypes
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from contextlib import suppress
from functools import cache as memoize
from typing import Any

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from . import data as datasets
from .cache import Cache, Record
from .flow import gradient_flow
from .losses import LOSSES
from .observables import ALWAYS, Observable
from .setups import Setup, Trained
from .steppers import METHODS
from .tangents import stack, unflatten
from .types import Params

BUDGETS = (0.01, 0.1, 1.0)
"""Fractions of t_max at which N_delta is recorded: 3, 30 and 300 tau of the phase diagram."""

MAX_GRADIENTS = 300_000


def default_method(setup: Setup) -> str:
    """The method that measures fastest: see benchmarks/flow.py.

    Linearly implicit steps, unless a wide net learns features far from the lazy regime: there the curvature of the
    network itself limits them, and the stabilised explicit method, which does not mind, wins.
    """
    if setup.loss == "hinge":
        return "euler"  # it slides along its kink, where no other method has a derivative to use
    return "rkc" if setup.alpha_tilde < 0.1 and setup.N > 600 else "implicit"


def train(
    setups: Sequence[Setup],
    *,
    device: str = "cpu",
    method: str | None = None,
    tol: float | None = None,
    max_gradients: int = MAX_GRADIENTS,
    init: Callable[[Params], Params] | None = None,
) -> Trained:
    """Train a batch of runs that differ in alpha_tilde, t_max and seed alone, by gradient flow.

    method: a name in METHODS (None: `default_method`), tol: its tolerance. These are how, not what: they are recorded
    with the result but are no part of its key. init: what to make of the weights that a run drew before it starts, e.g.
    disturb them. Raises ValueError for setups that do not fit in one batch.
    """
    if not setups:
        raise ValueError("a batch needs at least one setup, got none.")
    first = setups[0]
    if any(_batch_of(setup) != _batch_of(first) for setup in setups):
        raise ValueError("the setups of a batch may differ in alpha_tilde, t_max and seed alone.")
    device = _device(device)
    data = _load(*_data_of(first))
    data = datasets.Data(*(datasets.Split(*(part.to(device) for part in split)) for split in data[:3]), data.checksum)
    network, method = first.network, method or default_method(first)
    runs = [network.init(torch.Generator().manual_seed(setup.seed)) for setup in setups]
    if init is not None:
        runs = [init(run) for run in runs]
    w0 = {name: w.to(device) for name, w in stack(runs).items()}
    alpha_tilde, t_max = (
        torch.tensor([getattr(setup, name) for setup in setups], dtype=torch.float64, device=device)
        for name in ("alpha_tilde", "t_max")
    )
    alpha = alpha_tilde / math.sqrt(first.h)
    budgets = t_max[:, None] * torch.tensor(BUDGETS, dtype=torch.float64, device=device)
    counts = torch.full(budgets.shape, -1, dtype=torch.long, device=device)
    snapshots = gradient_flow(
        network, w0, data.train, first.loss, alpha,
        method=method, tol=tol, t_max=t_max, landmarks=budgets[:, :-1], max_gradients=max_gradients,
        # the authors' first step, dt = 1 in the units of their code
        first_dt=alpha_tilde / first.h if method == "euler" else None,
    )
    with torch.no_grad():
        for now in snapshots:
            passed = (now.t[:, None] >= budgets) & (counts < 0)
            counts = torch.where(passed, now.N_delta[:, None], counts)
    counts = torch.where(counts < 0, now.N_delta[:, None], counts)
    return Trained(
        setups, network, data, alpha, w0, unflatten(now.w, w0), now.f, now.t, now.state, now.N_delta, counts,
        now.gradients, now.factorisations,
    )


def sweep(
    setup: Setup,
    observables: Sequence[Observable],
    cache: Cache | None = None,
    *,
    executor: Executor | None = None,
    device: str = "cpu",
    method: str | None = None,
    max_gradients: int = MAX_GRADIENTS,
    progress: bool = True,
    **axes: Iterable,
) -> xr.Dataset:
    """The observables over a grid of setups, as a table with named axes. What the cache lacks is computed and kept.

    axes: names of fields of Setup with the values to visit, e.g. `h=[8, 16], seed=range(10)`; a DataArray over some of
    the axes sets a field that depends on them, e.g. t_max over alpha_tilde. executor: any concurrent.futures.Executor;
    without one the work is done here. progress shows what is missing and the time left, and nothing if nothing is.
    Every finished batch is on disk before the next one starts, so an interruption loses at most the batches in flight.
    A run stopped by max_gradients is kept, flagged `capped`, and computed again when max_gradients is raised. A run on
    `file:PATH` is computed again when the file has changed.

    Raises, before the first run starts, ValueError for a bad value anywhere in the grid, and OSError for a cache that
    cannot be written to.
    """
    grid, coords = grid_of(setup, axes)
    _device(device)
    wanted = {f.__name__: f for f in observables}
    records: dict[Setup, Record] = {}
    kept = {one: cache.get(one.key) for one in grid.values()} if cache is not None else {}
    for one, record in kept.items():
        if record is not None and _has(record, wanted.values(), max_gradients):
            records[one] = record
    todo = [one for one in dict.fromkeys(grid.values()) if one not in records]
    how = dict(device=device, method=method, max_gradients=max_gradients)
    with tqdm(total=len(todo), desc="runs", unit="run", disable=not (progress and todo), file=sys.stderr) as bar:
        for batch in _run(list(_batches(todo)), list(wanted.values()), cache, executor, how):
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
    """The setups of a grid by their index along the axes, and the values of the axes: see `sweep`."""
    for name, v in axes.items():
        if isinstance(v, str) or not isinstance(v, Iterable):
            raise ValueError(f"an axis is a list of values, got {name} = {v!r}: put a single value in the setup.")
    coords = {name: list(v) for name, v in axes.items() if not isinstance(v, xr.DataArray)}
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
        grid[index] = one = setup.replace(**point)
        if LOSSES[one.loss].ends == "never" and math.isinf(one.t_max):
            raise ValueError(f"the loss {one.loss!r} never comes to an end: give a finite t_max.")
    return grid, coords


def _has(record: Record, observables: Iterable[Observable], max_gradients: int) -> bool:
    versions = record.meta["versions"]
    if any(versions.get(f.__name__) != f.version for f in observables):
        return False
    dataset = record.meta["fields"].get("dataset", Setup.dataset)
    if _stamp(dataset) not in ("", record.meta["provenance"]["checksum"]):
        return False
    return not (record.columns["capped"].item() and record.meta["how"]["max_gradients"] < max_gradients)


def _batch_of(setup: Setup) -> Setup:
    return setup.replace(alpha_tilde=1.0, t_max=math.inf, seed=0)


def _data_of(setup: Setup) -> tuple:
    return (setup.dataset, setup.P, setup.P_test, setup.d, setup.seed_data, setup.P_kernel, setup.preprocessing,
            setup.pca_on, _stamp(setup.dataset))


def _stamp(dataset: str) -> str:
    """A name says what the data are, but a path does not: the checksum of a file, if it is there."""
    with suppress(FileNotFoundError):
        return datasets.checksum(dataset) if dataset.startswith("file:") else ""
    return ""


@memoize
def _load(dataset, P, P_test, d, seed, P_kernel, preprocessing, pca_on, stamp) -> datasets.Data:
    return datasets.load(dataset, P, P_test, d, seed, P_kernel=P_kernel, preprocessing=preprocessing, pca_on=pca_on)


BATCH_ELEMENTS = 160_000  # patterns times width times runs: what stays in the cache of one core


def _batches(setups: Sequence[Setup]) -> Iterator[list[Setup]]:
    """Runs with the same shapes and output scale, few enough to stay in the processor's cache."""
    together: dict[tuple, list[Setup]] = {}
    for setup in setups:
        together.setdefault((_batch_of(setup), setup.alpha_tilde), []).append(setup)
    for group in together.values():
        size = max(1, BATCH_ELEMENTS // (group[0].P * group[0].h))
        yield from (group[i : i + size] for i in range(0, len(group), size))


def _run(batches, observables, cache, executor, how) -> Iterator[dict[Setup, Record]]:
    if cache is not None:
        cache.check_writable()
    if executor is None:
        yield from (_compute(batch, observables, cache, how) for batch in batches)
        return
    futures = [executor.submit(_compute, batch, observables, cache, how) for batch in batches]
    try:
        yield from (future.result() for future in as_completed(futures))
    finally:
        for future in futures:
            future.cancel()


def _compute(setups: list[Setup], observables: list[Observable], cache: Cache | None, how: dict) -> dict[Setup, Record]:
    """Train one batch, measure it, and keep it. Runs in a worker: one thread, because processes are the parallelism."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    _keep_memory()
    start = time.process_time()
    try:
        with torch.no_grad():
            trained = train(setups, **how)
            columns = {f.__name__: f(trained).cpu().numpy() for f in {*observables, *ALWAYS}}
    finally:
        torch.set_num_threads(threads)
    seconds = (time.process_time() - start) * trained.gradients / trained.gradients.sum()
    versions = {f.__name__: f.version for f in {*observables, *ALWAYS}}
    records = {}
    for r, setup in enumerate(setups):
        cost = {"gradients": int(trained.gradients[r]), "factorisations": int(trained.factorisations[r]),
                "cpu_seconds": round(float(seconds[r]), 3)}
        provenance = {"checksum": trained.data.checksum, "torch": torch.__version__, "numpy": np.__version__}
        method = how["method"] or default_method(setup)
        way = {**how, "method": method, "tol": METHODS[method].tol}
        meta = {"fields": setup.fields, "versions": versions, "how": way, "cost": cost, "provenance": provenance}
        records[setup] = Record(meta, {name: values[r] for name, values in columns.items()})
        if cache is not None:
            cache.put(setup.key, records[setup])
    return records


def _table(grid, coords, records: dict[Setup, Record], wanted: dict[str, Observable]) -> xr.Dataset:
    shape = tuple(len(values) for values in coords.values())
    variables = {}
    for name, f in wanted.items():
        rows = np.stack([np.asarray(records[setup].columns[name]) for setup in grid.values()])
        variables[name] = ((*coords, *f.dims), rows.reshape(shape + rows.shape[1:]))
    for name in ("gradients", "cpu_seconds"):
        values = np.array([records[setup].meta["cost"][name] for setup in grid.values()])
        variables[name] = (tuple(coords), values.reshape(shape))
    return xr.Dataset(variables, coords=coords)


def _device(device: str) -> str:
    kind = str(device).split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} needs a GPU that torch can see, and there is none here: use device='cpu'.")
    return device


@memoize
def _keep_memory() -> None:
    """Ask the C library to reuse freed memory instead of returning it: page faults took half of a gradient's time."""
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            for option, value in ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**26)):  # mmap and trim thresholds, padding
                libc.mallopt(option, value)
        except (OSError, AttributeError):  # another C library
            return
