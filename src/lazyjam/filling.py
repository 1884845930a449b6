"""The runs of a chapter computed without its notebook: all of them, or as many as there is time for, or a share.

The cells are executed here as in a rehearsal, but `sweep` computes. What is left for later, or for another machine,
is taken to come out as in a rehearsal, so that the chapter goes on to its later sweeps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from . import compression, experiment, jamming, keeping
from .cache import Cache, Record
from .chapters import Chapter
from .precision import checked_precision
from .rehearsal import ChapterError, failures, pretended, replacing
from .setups import Setup
from .training import batches_of, checked_device, compute
from .workers import spread

SILENT = 2.0  # seconds after which a sweep shows progress; those that only read kept runs are many


class Share:
    """The part of the runs that one of several machines computes. Text: "2/3" is the second of three."""

    def __init__(self, text: str):
        part, _, of = text.partition("/")
        if not (part.isdecimal() and of.isdecimal() and 1 <= int(part) <= int(of)):
            raise ValueError(f"a shard is the number of this machine and of all machines, like 2/3, got {text!r}.")
        self.part, self.of = int(part) - 1, int(of)

    def __contains__(self, key: str) -> bool:
        return int(key, 16) % self.of == self.part


@dataclass
class Filled:
    """What was done. left: runs for which there was no time. others: runs that other machines compute.

    broken: the error that a run, a packing or a diagnosis ended with, if one did.
    """

    computed: set[str] = field(default_factory=set)
    left: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    broken: Exception | None = None


def fill(
    chapter: Chapter, parameters: dict[str, Any], *, executor: Executor | None = None, device: str = "cpu",
    precision: str | None = None, minutes: float = math.inf, share: Share | None = None,
) -> Filled:
    """Compute what a chapter lacks. No batch begins after so many minutes; those that have begun are finished.

    Which runs are needed follows from the times in which the widest nets fit, so every machine computes those.
    precision: as in `sweep`, or None for what the chapter asks for. Raises ChapterError where a run fails, or a cell
    though all its runs are there, and ValueError for an unknown precision, or a device that is not here, unless an
    executor computes.
    """
    filled = Filled()
    if executor is None:
        checked_device(device)
    if precision is not None:
        checked_precision(precision)
    with _Filling(filled, executor, device, precision, time.time() + 60 * minutes, share).standing_in():
        for said, error in failures(chapter, parameters):
            if filled.broken or not (filled.left or filled.others):  # else it fails for want of results
                raise ChapterError(f"{chapter.name}: {said}") from error
    return filled


def in_time(deadline: float, task: Callable[[Any], dict[Any, Record]], item: Any) -> dict[Any, Record]:
    """task(item), or nothing after the deadline (seconds since 1970)."""
    return task(item) if time.time() < deadline else {}


@dataclass
class _Filling:
    """What stands in for the words of the library while a chapter is filled: in time and in the share they compute.

    Everything else they pretend. deadline: seconds since 1970.
    """

    filled: Filled
    executor: Executor | None
    device: str
    precision: str | None
    deadline: float
    share: Share | None
    for_all: bool = False  # whether every machine computes what is asked for now

    def mine(self, keys: dict[Any, str]) -> list[Any]:
        """Those of the keyed things that this machine computes."""
        return [one for one, key in keys.items() if self.share is None or self.for_all or key in self.share]

    def note(self, keys: dict[Any, str], mine: Iterable, done: set) -> None:
        self.filled.computed |= {keys[one] for one in done}
        self.filled.left |= {keys[one] for one in mine if one not in done}
        self.filled.others |= {keys[one] for one in keys.keys() - set(mine)}

    def sound(self, results: Iterator[Any]) -> Iterator[Any]:
        """The results; an error on the way is noted."""
        try:
            yield from results
        except Exception as error:
            self.filled.broken = error
            raise

    def run(self, batches: Any, observables: Any, cache: Cache, _: Any, how: dict) -> Iterator[dict[Setup, Record]]:
        """In place of experiment._run."""
        keys = {setup: setup.key for batch in batches for setup in batch}
        how = {**how, "device": self.device, "precision": self.precision or how["precision"]}
        mine, done = self.mine(keys), set()
        task = partial(in_time, self.deadline, partial(compute, observables=observables, how=how))
        parts = batches_of(mine, self.device, how["method"])
        for records in self.sound(experiment.collect(task, parts, cache, self.executor, how)):
            done |= records.keys()
            yield records
        self.note(keys, mine, done)
        yield {setup: pretended(setup, observables) for setup in keys if setup not in done}

    def has(
        self, has: Callable, record: Record, observables: Any, max_gradients: int, precision: str = "double"
    ) -> bool:
        """In place of experiment._has, in the precision that is asked for here."""
        return has(record, observables, max_gradients, self.precision or precision)

    def pack(self, task: Callable[[tuple], dict[tuple, Record]], items: Iterable[tuple]) -> Iterator[dict]:
        """In place of compression.spread."""
        keys = {item: compression.address(item) for item in items}
        mine, done = self.mine(keys), set()
        for records in self.sound(spread(partial(in_time, self.deadline, task), mine, self.executor)):
            done |= records.keys()
            yield records
        self.note(keys, mine, done)
        yield {item: compression.pretended(item) for item in keys if item not in done}

    def diagnose(self, measured: Callable[..., Record], measure: Callable[[], Any], depends: dict[str, Any]) -> Record:
        """In place of keeping.measured, with which it computes."""
        keys = {"the diagnosis": keeping.address(depends)}
        mine = self.mine(keys)
        done = set(mine) if time.time() < self.deadline else set()
        record = next(self.sound(self.here(measured, measure, depends))) if done else keeping.pretended()
        self.note(keys, mine, done)
        return record

    def here(self, measured: Callable[..., Record], *of: Any) -> Iterator[Record]:
        if self.executor is not None or self.device != "cpu":
            raise ValueError("the nets of a diagnosis are trained by code of the chapter, in this process and on its "
                             "CPU: leave out --executor and --device.")  # fmt: skip
        yield measured(*of)

    def fit_time(self, fit_time: Callable, *args: Any, **how: Any) -> Any:
        """In place of jamming.fit_time: what every machine needs."""
        before, self.for_all = self.for_all, True
        try:
            return fit_time(*args, **how)
        finally:
            self.for_all = before

    def put(self, put: Callable, cache: Cache, key: str, record: Record) -> None:
        """In place of Cache.put: what is pretended has no meta, and a mean with a pretended part is none."""
        unreal = (self.filled.left | self.filled.others).intersection(record.meta.get("ensemble", ()))
        if record.meta and not unreal:
            put(cache, key, record)

    def standing_in(self) -> AbstractContextManager[None]:
        """The context in which it does."""
        put, measured = Cache.put, keeping.measured
        return replacing(
            (experiment, "_run", self.run),
            (experiment, "_has", partial(self.has, experiment._has)), (compression, "spread", self.pack),
            (jamming, "fit_time", partial(self.fit_time, jamming.fit_time)),
            (Cache, "put", lambda cache, key, record: self.put(put, cache, key, record)),
            (keeping, "measured", partial(self.diagnose, measured)),
            (experiment, "tqdm", partial(experiment.tqdm, delay=SILENT)),
        )  # fmt: skip
