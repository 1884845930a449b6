"""A rehearsal: a chapter is executed here, without a kernel, and every run that it lacks is counted, not computed.

What a sweep would have to compute is taken to come out as a fitted run with zeros everywhere, so that the chapter goes
on to its later sweeps. Which runs those ask for may depend on what came out, so their number is a guess and is reported
apart; a cell that cannot live with such runs is left out. Nothing is written, to the cache or to the figures.
"""

from __future__ import annotations

import io
import math
import re
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import compression, experiment, keeping, plots
from .cache import Cache, Record
from .chapters import Chapter, on_gpu
from .observables import Observable
from .setups import Setup

FAMILY = ("dataset", "architecture", "L", "loss", "dynamics")  # that differ tell nothing of each other's cost


@dataclass
class Rehearsal:
    """What a chapter asked for.

    sure: missing runs of the first sweep that lacks some. guessed: those of later sweeps. keys: all that was looked up
    in a cache. caches: their folders. packings, diagnoses: how many are missing. left_out: the cells that failed for
    want of results, with their errors.
    """

    sure: list[Setup] = field(default_factory=list)
    guessed: list[Setup] = field(default_factory=list)
    keys: dict[str, None] = field(default_factory=dict)
    caches: dict[Path, None] = field(default_factory=dict)
    packings: int = 0
    diagnoses: int = 0
    left_out: list[str] = field(default_factory=list)

    @property
    def complete(self) -> bool:
        """Whether nothing is missing."""
        return not (self.sure or self.packings or self.diagnoses)


class ChapterError(Exception):
    """A cell fails, whatever is missing."""


def rehearse(chapter: Chapter, parameters: dict[str, Any]) -> Rehearsal:
    """Execute the cells of a chapter with these parameters and count.

    Raises ChapterError where a cell fails though nothing was missing so far.
    """
    found = Rehearsal()
    with _counting(found), redirect_stderr(io.StringIO()):
        for said, error in failures(chapter, parameters):
            if found.complete:
                raise ChapterError(f"{chapter.name}: {said}") from error
            found.left_out.append(said)
    return found


def failures(chapter: Chapter, parameters: dict[str, Any]) -> Iterator[tuple[str, Exception]]:
    """Execute the cells of a chapter here, with these parameters, and yield what fails: a sentence, and the error.

    Nothing is shown, and the figures are thrown away.
    """
    names: dict[str, Any] = {"__name__": "__main__", "display": lambda *shown, **options: None}
    with ExitStack() as stack:
        figures = stack.enter_context(tempfile.TemporaryDirectory()) + "/figures"
        stack.enter_context(_quiet())
        stack.enter_context(chdir(chapter.path.parent))
        for number, cell in enumerate(chapter.cells, 1):
            try:
                exec(compile(cell.source, f"<{chapter.name}, cell {number}>", "exec"), names)
            except Exception as error:
                said = re.split("Exception raised from|frame #", f"{error}")[0].strip()  # torch adds its own stack
                yield f"code cell {number} raises {type(error).__name__}: {said}", error
            if cell.is_parameters:
                names.update(parameters, **({"figures": figures} if "figures" in chapter.parameters else {}))


def cpu_seconds(setups: Iterable[Setup], caches: Iterable[Cache]) -> tuple[float, int]:
    """What the setups may cost, by the nearest kept runs and a cost that grows as P h^2, and how many have none near.

    The nearest are those on a CPU, of the same FAMILY, with the least change of log h, log P and, counting less,
    log alpha_tilde.
    """
    kept: dict[tuple, list[tuple[list[float], float]]] = {}
    for record in (cache.get(key) for cache in caches for key in cache.keys()):
        if record and {"cost", "fields"} <= record.meta.keys() and not on_gpu(record.meta):
            one = Setup(**record.meta["fields"])
            kept.setdefault(_family(one), []).append((_place(one), record.meta["cost"]["cpu_seconds"]))
    total, unlike = 0.0, 0
    for setup in setups:
        if _family(setup) not in kept:
            unlike += 1
            continue
        places, costs = (np.array(column) for column in zip(*kept[_family(setup)], strict=True))
        off = np.array(_place(setup)) - places
        distance = np.abs(off) @ (1.0, 1.0, 0.3)
        nearest = np.isclose(distance, distance.min())
        total += (costs * np.exp(2 * off[:, 0] + off[:, 1]))[nearest].mean()
    return total, unlike


def _family(setup: Setup) -> tuple:
    return tuple(getattr(setup, name) for name in FAMILY)


def _place(setup: Setup) -> list[float]:
    return [math.log(setup.h), math.log(setup.P), math.log(setup.alpha_tilde)]


@contextmanager
def _quiet() -> Iterator[None]:
    plots.plt.switch_backend("agg")
    with redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            plots.plt.close("all")


@contextmanager
def _counting(found: Rehearsal) -> Iterator[None]:
    """While it lasts, `sweep` counts instead of computing, and no cache is written to."""
    get = Cache.get

    def look_up(cache: Cache, key: str) -> Record | None:
        found.keys[key] = found.caches[cache.folder.resolve()] = None
        return get(cache, key)

    def count(batches: list[list[Setup]], observables: list[Observable], *_: Any) -> Iterator[dict[Setup, Record]]:
        setups = [setup for batch in batches for setup in batch]
        counted = {*found.sure, *found.guessed}
        (found.guessed if found.sure else found.sure).extend(setup for setup in setups if setup not in counted)
        yield {setup: pretended(setup, observables) for setup in setups}

    packings: dict[str, None] = {}

    def count_packings(task: Any, items: Iterable[tuple]) -> Iterator[dict[tuple, Record]]:
        items = list(items)
        packings.update((compression.address(item), None) for item in items)
        found.packings = len(packings)
        yield {item: compression.pretended(item) for item in items}

    def count_diagnosis(*_: Any) -> Record:
        found.diagnoses += 1
        return keeping.pretended()

    replaced = ((experiment, "_run", count), (compression, "spread", count_packings), (Cache, "get", look_up),
                (keeping, "measured", count_diagnosis),
                (Cache, "put", lambda cache, key, record: None), (Cache, "check_writable", lambda cache: None))
    with replacing(*replaced):
        yield


@contextmanager
def replacing(*replaced: tuple[Any, str, Any]) -> Iterator[None]:
    """Attributes of modules or classes, each as (owner, name, value), have these values while it lasts."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replaced]
    try:
        for owner, name, value in replaced:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in originals:
            setattr(owner, name, value)


def pretended(setup: Setup, observables: list[Observable]) -> Record:
    """The record of a run that fits at time 1, and of which all else is zero."""
    columns = {}
    for f in observables:
        if unknown := [dim for dim in f.dims if dim not in f.sizes]:
            raise LookupError(f"the size of the axis {unknown[0]!r} of {f.__name__} is known only after a run")
        shape = [size(setup) if callable(size) else size for size in f.sizes.values()]
        columns[f.__name__] = np.full(shape, float(f.__name__ == "t_end"))
    return Record({"cost": {"gradients": 0, "factorisations": 0, "cpu_seconds": 0.0}}, columns)
