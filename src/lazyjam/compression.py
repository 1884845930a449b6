"""Packings at jamming and beyond, as a table: what `sweep` is for networks, `compress` is for particles."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import scipy
import xarray as xr
from tqdm import tqdm

from .cache import Cache, Record, key
from .packings import DENSEST, Packing, check_box, contacts, gradient, hessian, jam, minimise, random_packing, rattlers
from .workers import spread

VERSION = 1  # of what a record holds: raise it when the protocol or the meaning of a column changes
SIZES = {
    "U": (), "phi": (), "N_delta": (), "N_free": (), "force": (), "Hp_top": (), "spectrum": ("mode",),
    "spectrum_0": ("mode",), "x": ("particle", "axis"), "theta": ("particle",), "a": ("particle",),
}  # fmt: skip


def compress(
    n: int, *, aspect: Sequence[float], excess: Sequence[float], seed: Iterable[int], cache: Cache,
    progress: bool = True,
) -> xr.Dataset:
    """Packings of n particles, jammed from random starts and then compressed, over aspect, seed and excess density.

    excess: ascending densities above that of jamming, 0 among them, in the order in which they are visited; a negative
    one is visited from jamming, where particles only lose touch. Kept in the cache by (n, aspect, seed, excess).
    Variables, of all particles: U, the energy; phi, the density; force, the root of what is left of the gradient, sum
    |grad U|^2 over sum Delta^2; x, theta, a: the configuration.
    Without rattlers: N_delta, the number of contacts; N_free, of particles; contact_ratio, contacts over degrees of
    freedom less one, which is one if isostatic (two translations cost nothing, and the balance of forces makes one
    contact redundant); Hp_top, the largest over the absolute smallest eigenvalue of Hp; spectrum and spectrum_0, the
    eigenvalues of H and of H0, along `mode`, NaN behind the last.

    Raises ValueError, before any work, for an n or aspect that `random_packing` or the box refuses, aspects that are
    equal, or an excess that does not ascend through 0.
    """
    excess, seeds, aspect = [float(value) for value in excess], list(seed), [float(one) for one in aspect]
    if excess != sorted({*excess}) or 0.0 not in excess:
        raise ValueError(f"excess must ascend, without repeats, and hold 0, jamming itself, got {excess}.")
    if len({*aspect}) < len(aspect):
        raise ValueError(f"the aspects must differ, and disks have 1, got {aspect}.")
    for one in aspect:
        check_box(random_packing(n, one).at(DENSEST + excess[-1]))
    tasks = [(n, one, int(s), tuple(excess)) for one in sorted(aspect, reverse=True) for s in seeds]  # disks are cheap
    found = {task: cache.get(address(task)) for task in tasks}
    todo = [task for task, record in found.items() if record is None]
    if todo:
        cache.check_writable()
    with tqdm(total=len(todo), desc="packings", disable=not (progress and todo), file=sys.stderr) as bar:
        for computed in spread(compressed, todo):
            for task, record in computed.items():
                found[task] = record
                if record.meta:  # what is pretended has none
                    cache.put(address(task), record)
            bar.update(len(computed))
    tasks = [(n, one, int(s), tuple(excess)) for one in aspect for s in seeds]
    shape = (len(aspect), len(seeds))
    variables = {}
    for name, dims in SIZES.items():
        rows = np.stack([found[task].columns[name] for task in tasks])
        variables[name] = (("aspect", "seed", "excess", *dims), rows.reshape(*shape, *rows.shape[1:]))
    table = xr.Dataset(variables, coords={"aspect": aspect, "seed": seeds, "excess": excess})
    freedom = table.N_free * xr.where(table.aspect == 1, 2, 3)
    return table.assign(contact_ratio=table.N_delta / (freedom - 1))


def address(task: tuple) -> str:
    """The key of one packing in the cache."""
    return key({"packing": VERSION, **_fields(task)})


def _fields(task: tuple) -> dict[str, Any]:
    n, aspect, seed, excess = task
    return {"n": n, "aspect": aspect, "seed": seed, "excess": list(excess)}


def compressed(task: tuple) -> dict[tuple, Record]:
    """One packing (n, aspect, seed, excess) through all densities."""
    n, aspect, seed, excess = task
    start = time.process_time()
    jammed = packing = jam(n, aspect, seed=seed)
    rows = []
    for more in excess:
        packing = jammed if more <= 0 else packing
        packing = packing if more == 0 else minimise(packing.at(jammed.phi + more))
        rows.append(_numbers(packing))
    columns = {name: np.stack([row[name] for row in rows]) for name in SIZES}
    meta = {
        "packing": _fields(task), "cost": {"cpu_seconds": round(time.process_time() - start, 3)},
        "provenance": {"numpy": np.__version__, "scipy": scipy.__version__},
    }  # fmt: skip
    return {task: Record(meta, columns)}


def pretended(task: tuple) -> Record:
    """A record of zeros, of the shape of the real one."""
    sizes = {"mode": 3 * task[0], "particle": task[0], "axis": 2}
    return Record({}, {name: np.zeros([len(task[3]), *(sizes[dim] for dim in dims)]) for name, dims in SIZES.items()})


def _numbers(packing: Packing) -> dict[str, np.ndarray]:
    held, (U, force) = ~rattlers(packing), gradient(packing)
    H0, Hp = hessian(packing)
    modes = np.full((2, 3 * len(held)), np.nan)
    top = np.nan
    if len(H0):
        modes[:, : len(H0)] = np.linalg.eigvalsh(H0 + Hp), np.linalg.eigvalsh(H0)
        bent = np.linalg.eigvalsh(Hp)
        top = bent[-1] / abs(bent[0])
    left = np.sqrt((force**2).sum() / (2 * U)) if U > 0 else np.nan
    numbers = {"U": U, "force": left, "phi": packing.phi, "N_delta": held[contacts(packing).pairs].all(1).sum(),
               "N_free": held.sum(), "Hp_top": top, "spectrum": modes[0], "spectrum_0": modes[1]}  # fmt: skip
    places = {"x": packing.x % 1, "theta": packing.theta, "a": packing.a}
    return {name: np.asarray(value, dtype=float) for name, value in numbers.items()} | places
