"""Batches of runs, trained and measured: from setups to records."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache as memoize
from functools import lru_cache

import numpy as np
import torch

from . import data as datasets
from .cache import Record
from .dynamics import BUDGETS as BUDGETS
from .dynamics import DYNAMICS, Start
from .observables import ALWAYS, Observable
from .precision import in_single_precision, precision_of
from .setups import Setup, Trained, bounded, margins
from .solver import dense
from .steppers import METHODS
from .tangents import stack, unflatten
from .types import Params

MAX_GRADIENTS = 1_000_000

GPU_PROCESSES = 16
"""Processes that share a GPU, each with a batch of its own: one alone cannot call its kernels as fast as they run."""

GPU_SHARE = 0.85 / (GPU_PROCESSES + 1)
"""Of the memory of a GPU, for each of them; one share is left for the process that started them."""


def default_method(setup: Setup) -> str:
    """The method that measures fastest: see benchmarks/flow.py and benchmarks/switching.py.

    Linearly implicit steps, unless a net of some width learns features far from the lazy regime: there the curvature of
    the network itself limits them. Stabilised explicit steps, which do not mind, come first, and implicit ones only
    while what is left is stiff. A convolutional net keeps its whole Jacobian, and implicit steps have the most of it.
    """
    if setup.dynamics != "flow":
        return setup.dynamics  # it has no other
    if setup.loss == "hinge":
        return "euler"  # it slides along its kink, where no other method has a derivative to use
    far = setup.architecture == "fc" and setup.alpha_tilde < 0.1
    return "switching" if far and setup.N > 300 else "implicit"


def train(
    setups: Sequence[Setup],
    *,
    device: str = "cpu",
    method: str | None = None,
    tol: float | None = None,
    max_gradients: int = MAX_GRADIENTS,
    precision: str = "double",
    init: Callable[[Params], Params] | None = None,
) -> Trained:
    """Train a batch of runs that differ in alpha_tilde, t_max and seed alone.

    method: a name in METHODS (None: `default_method`), tol: its tolerance, max_gradients: all of a gradient flow.
    precision: "double", or "single" where that serves all runs (`precision_of`). These are how, not what: they are
    recorded with the result but are no part of its key. init: what to make of the weights that a run drew before it
    starts, e.g. disturb them. Raises ValueError for setups that do not fit in one batch, and for a method where there
    is no flow.
    """
    if not setups:
        raise ValueError("a batch needs at least one setup, got none.")
    first = setups[0]
    if any(_batch_of(setup) != _batch_of(first) for setup in setups):
        raise ValueError("the setups of a batch may differ in alpha_tilde, t_max and seed alone.")
    if first.dynamics != "flow" and method not in (None, first.dynamics):
        raise ValueError(f"{first.dynamics!r} is no flow and has no other method, got {method!r}.")
    device = checked_device(device)
    data = training_data(first)
    data = datasets.Data(*(datasets.Split(*(part.to(device) for part in split)) for split in data[:3]), data.checksum)
    data = data._replace(train=bounded(first, data))
    network = first.network
    generators = [torch.Generator().manual_seed(setup.seed) for setup in setups]
    runs = [network.init(generator) for generator in generators]
    if init is not None:
        runs = [init(run) for run in runs]
    w0 = {name: w.to(device) for name, w in stack(runs).items()}
    alpha_tilde, t_max = (
        torch.tensor([getattr(setup, name) for setup in setups], dtype=torch.float64, device=device)
        for name in ("alpha_tilde", "t_max")
    )
    alpha = alpha_tilde / math.sqrt(first.h)
    how = dict(method=method or default_method(first), tol=tol, max_gradients=max_gradients)
    if how["method"] == "euler":
        how["first_dt"] = alpha_tilde / first.h  # the authors' first step, dt = 1 in the units of their code
    with torch.no_grad():
        kind = (first.decay, first.batch, first.rate, margins(first, data.train.y))
        (x, y), flowing = data.train, network
        if precision_of(setups, precision) == "single":
            x, flowing = x.float(), in_single_precision(network)
        start = Start(flowing, w0, (x, y), first.loss, alpha, t_max, *kind, generators)
        end = DYNAMICS[first.dynamics](start, **how)
    return Trained(
        setups, network, data, alpha, w0, unflatten(end.w, w0), end.f, end.t, end.state, end.N_delta, end.N_delta_at,
        end.gradients, end.factorisations, None if end.w_tenth is None else unflatten(end.w_tenth, w0),
    )


def compute(setups: list[Setup], observables: list[Observable], how: dict) -> dict[Setup, Record]:
    """Train one batch and measure it. Runs in a worker: one thread, because processes are the parallelism.

    A batch that is too large for the memory of a GPU is computed in halves: how many patterns are stiff, and so how
    much it takes, shows on the way. What was spent until then is not counted. Raises MemoryError where one run alone is
    too large.
    """
    records = None
    try:
        records = _computed(setups, observables, how)
    except torch.OutOfMemoryError as error:
        half = len(setups) // 2
        if not half:
            run = f"a run with P = {setups[0].P} and h = {setups[0].h}"
            raise MemoryError(f"{run} does not fit into what this process may have of the GPU: use the CPU.") from error
    if how["device"].startswith("cuda"):
        torch.cuda.empty_cache()  # for the other processes
    return records or {**compute(setups[:half], observables, how), **compute(setups[half:], observables, how)}


def _computed(setups: list[Setup], observables: list[Observable], how: dict) -> dict[Setup, Record]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    keep_memory()
    start = time.process_time()
    try:
        with torch.no_grad():
            trained = train(setups, **how)
            columns = {f.__name__: f(trained).cpu().numpy() for f in {*observables, *ALWAYS}}
    finally:
        torch.set_num_threads(threads)
    seconds = (time.process_time() - start) * trained.gradients / trained.gradients.sum()
    versions = {f.__name__: f.version for f in {*observables, *ALWAYS}}
    precision = precision_of(setups, how.get("precision", "double"))
    records = {}
    for r, setup in enumerate(setups):
        cost = {"gradients": int(trained.gradients[r]), "factorisations": int(trained.factorisations[r]),
                "cpu_seconds": round(float(seconds[r]), 3)}
        provenance = {"checksum": trained.data.checksum, "torch": torch.__version__, "numpy": np.__version__}
        if trained.alpha.is_cuda:
            provenance["gpu"] = torch.cuda.get_device_name(trained.alpha.device)
        method = how["method"] or default_method(setup)
        tol = METHODS[method].tol if method in METHODS else None
        way = {**how, "method": method, "tol": tol, "precision": precision}
        meta = {"fields": setup.fields, "versions": versions, "how": way, "cost": cost, "provenance": provenance}
        records[setup] = Record(meta, {name: values[r] for name, values in columns.items()})
    return records


def _batch_of(setup: Setup) -> Setup:
    return setup.replace(alpha_tilde=1.0, t_max=1.0, seed=0)


def training_data(setup: Setup) -> datasets.Data:
    """The training, test and kernel set of a run. The last few are kept: more images would fill the memory."""
    sizes = (setup.P, setup.P_test, setup.d, setup.seed_data, setup.P_kernel)
    return _load(setup.dataset, *sizes, setup.preprocessing, setup.pca_on, stamp(setup.dataset))


def stamp(dataset: str) -> str:
    """A name says what the data are, but a path does not: the checksum of a file, if it is there."""
    with suppress(FileNotFoundError):
        return datasets.checksum(dataset) if dataset.startswith("file:") else ""
    return ""


@lru_cache(maxsize=4)
def _load(dataset, P, P_test, d, seed, P_kernel, preprocessing, pca_on, stamp) -> datasets.Data:
    return datasets.load(dataset, P, P_test, d, seed, P_kernel=P_kernel, preprocessing=preprocessing, pca_on=pca_on)


BATCH_ELEMENTS = {"cpu": 160_000, "cuda": 6_400_000}
"""Patterns times width times runs: what stays in the cache of one core; a GB of a GPU, which several batches share."""

BATCH_PAIRS = 125_000_000
"""Pairs of patterns, or of the parameters of a narrow net, times runs: an implicit step keeps four matrices of so many
numbers, 4 GB, if all patterns are stiff."""


def batches_of(setups: Sequence[Setup], device: str = "cpu", method: str | None = None) -> list[list[Setup]]:
    """Runs with the same shapes and method (None: the default), few enough for the device. The longest first.

    They have the same output scale, too, because runs that take as long as each other share the work best.
    """
    kind, together = device.split(":")[0], {}
    for setup in setups:
        together.setdefault((_batch_of(setup), method or default_method(setup), setup.alpha_tilde), []).append(setup)
    found = []
    for group in together.values():
        one, P, h = group[0], group[0].P, group[0].h
        alone = one.dynamics == "descent" or one.architecture != "fc"  # these go run by run anyway
        side = max(P, one.N) if dense(one.N, P) else P
        size = 1 if alone else max(1, min(BATCH_ELEMENTS[kind] // (P * h), BATCH_PAIRS // side**2))
        found += [group[i : i + size] for i in range(0, len(group), size)]
    return sorted(found, key=lambda batch: _expected(batch, kind), reverse=True)


CALL = {"cpu": 1e-4, "cuda": 2e-4}
"""Seconds of a gradient, however small it is."""

WORK = {"cpu": 2e-10, "cuda": 4e-13}
"""Seconds of a gradient for every weight of every run and every pattern."""


def _expected(batch: Sequence[Setup], kind: str) -> float:
    """What a batch takes, up to a common factor. In Figure 4 gradients grow in number as alpha_tilde^-0.45 below 10."""
    one = batch[0]
    gradients = max(1.0, 10.0 / one.alpha_tilde) ** 0.45
    return gradients * (CALL[kind] + WORK[kind] * len(batch) * one.P * one.N)


def share_gpu(device: str) -> None:
    """Take no more than GPU_SHARE of the memory of a GPU in this process, so that what it has freed goes to others."""
    torch.cuda.set_per_process_memory_fraction(GPU_SHARE, torch.device(device).index)


def checked_device(device: str) -> str:
    """The device, if it is here. Raises ValueError for one that is none, and for a GPU that torch does not see."""
    kind = str(device).split(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {device!r}.")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} needs a GPU that torch can see, and there is none here: use device='cpu'.")
    return device


@memoize
def keep_memory() -> None:
    """Ask the C library to reuse freed memory instead of returning it: page faults took half of a gradient's time."""
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            for option, value in ((-3, 2**30), (-1, 2**31 - 1), (-2, 2**26)):  # mmap and trim thresholds, padding
                libc.mallopt(option, value)
        except (OSError, AttributeError):  # another C library
            return
