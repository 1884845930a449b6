"""Diagnoses of one's own networks, kept in the cache like runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from .cache import Cache, Record, key
from .diagnosis import Diagnosis

VERSION = 1  # of what a record holds: raise it when a number of a Diagnosis changes its meaning


def kept(cache: Cache, measure: Callable[[], Diagnosis], **depends: Any) -> Diagnosis:
    """measure(), or what it returned when the same was asked before.

    depends: all that the numbers depend on, as what JSON knows: widths, seeds, the data set, and a name of the code
    that trains. The code itself is not looked at, so whoever edits it gives it another name.
    """
    record = cache.get(address(depends))
    if record is None:
        cache.check_writable()
        cache.put(address(depends), record := measured(measure, depends))
    return Diagnosis(**{name: column if column.ndim else column.item() for name, column in record.columns.items()})


def address(depends: dict[str, Any]) -> str:
    """The key of a diagnosis in the cache."""
    return key({"diagnosis": VERSION, **depends})


def measured(measure: Callable[[], Diagnosis], depends: dict[str, Any]) -> Record:
    """The record of what `measure` returns, with its cost."""
    start = time.process_time()
    found = measure()
    cost = {"cpu_seconds": round(time.process_time() - start, 3)}
    meta = {"diagnosis": depends, "cost": cost, "provenance": {"torch": torch.__version__}}
    return Record(meta, {one.name: np.asarray(getattr(found, one.name)) for one in fields(Diagnosis)})


def pretended() -> Record:
    """A record of zeros, as of two nets, whose `meta` is empty."""
    shapes = dict.fromkeys(("kernel_change", "N_delta", "test_error", "gain", "fluctuation"), 2)
    kinds = {"N": int, "P": int}
    return Record({}, {one.name: np.zeros(shapes.get(one.name, ()), kinds.get(one.name)) for one in fields(Diagnosis)})
