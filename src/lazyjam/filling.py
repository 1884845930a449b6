"""The runs of a chapter computed without its notebook: all of them, or as many as there is time for, or a share.

The cells are executed here as in a rehearsal, but `sweep` computes. What is left for later, or for another machine,
is taken to come out as in a rehearsal, so that the chapter goes on to its later sweeps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from . import compression, experiment, jamming, keeping
from .cache import Cache, Record
from .chapters import Chapter
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
    minutes: float = math.inf, share: Share | None = None,
) -> Filled:
    """Compute what a chapter lacks. No batch begins after so many minutes; those that have begun are finished.

    Which runs are needed follows from the times in which the widest nets fit, so every machine computes those.
    Raises ChapterError where a run fails, or a cell though all its runs are there, and ValueError for a device that is
    not here, unless an executor computes.
    """
    filled = Filled()
    if executor is None:
        checked_device(device)
    with _filling(filled, executor, device, time.time() + 60 * minutes, share):
        for said, error in failures(chapter, parameters):
            if filled.broken or not (filled.left or filled.others):  # else it fails for want of results
                raise ChapterError(f"{chapter.name}: {said}") from error
    return filled


def in_time(deadline: float, task: Callable[[Any], dict[Any, Record]], item: Any) -> dict[Any, Record]:
    """task(item), or nothing after the deadline (seconds since 1970)."""
    return task(item) if time.time() < deadline else {}


@contextmanager
def _filling(
    filled: Filled, executor: Executor | None, device: str, deadline: float, share: Share | None
) -> Iterator[None]:
    """While it lasts, `sweep` computes in time what is in the share, and pretends the rest."""
    fit_time, put, measured, alike = jamming.fit_time, Cache.put, keeping.measured, []

    def keep(cache: Cache, key: str, record: Record) -> None:
        unreal = (filled.left | filled.others).intersection(record.meta.get("ensemble", ()))
        if record.meta and not unreal:  # what is pretended has no meta
            put(cache, key, record)

    def for_all(*args: Any, **how: Any) -> Any:
        alike.append(True)
        try:
            return fit_time(*args, **how)
        finally:
            alike.pop()

    def run(batches, observables, cache, _, how) -> Iterator[dict[Setup, Record]]:
        """In place of experiment._run."""
        setups, how = [setup for batch in batches for setup in batch], {**how, "device": device}
        mine = {setup for setup in setups if share is None or alike or setup.key in share}
        parts = batches_of([setup for setup in setups if setup in mine], device)
        task, done = partial(in_time, deadline, partial(compute, observables=observables, how=how)), set()
        for records in sound(experiment.collect(task, parts, cache, executor, how)):
            done |= records.keys()
            yield records
        note({setup: setup.key for setup in setups}, mine, done)
        yield {setup: pretended(setup, observables) for setup in setups if setup not in done}

    def pack(task: Callable[[tuple], dict[tuple, Record]], items: Iterable[tuple]) -> Iterator[dict[tuple, Record]]:
        """In place of compression.spread."""
        keys = {item: compression.address(item) for item in items}
        mine, done = [item for item in keys if share is None or keys[item] in share], set()
        for records in sound(spread(partial(in_time, deadline, task), mine, executor)):
            done |= records.keys()
            yield records
        note(keys, set(mine), done)
        yield {item: compression.pretended(item) for item in keys if item not in done}

    def diagnose(measure: Callable[[], Any], depends: dict[str, Any]) -> Record:
        """In place of keeping.measured."""
        address = keeping.address(depends)
        mine = {address} if share is None or address in share else set()
        done = mine if time.time() < deadline else set()
        record = next(sound(here(measure, depends))) if done else keeping.pretended()
        note({address: address}, mine, done)
        return record

    def here(measure: Callable[[], Any], depends: dict[str, Any]) -> Iterator[Record]:
        if executor is not None or device != "cpu":
            raise ValueError("the nets of a diagnosis are trained by code of the chapter, in this process and on its "
                             "CPU: leave out --executor and --device.")  # fmt: skip
        yield measured(measure, depends)

    def sound(results: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from results
        except Exception as error:
            filled.broken = error
            raise

    def note(keys: dict[Any, str], mine: set, done: set) -> None:
        filled.computed |= {keys[one] for one in done}
        filled.left |= {keys[one] for one in mine - done}
        filled.others |= {keys[one] for one in keys.keys() - mine}

    with replacing((experiment, "_run", run), (jamming, "fit_time", for_all), (Cache, "put", keep),
                   (compression, "spread", pack), (keeping, "measured", diagnose),
                   (experiment, "tqdm", partial(experiment.tqdm, delay=SILENT))):
        yield
