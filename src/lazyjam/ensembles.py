"""Ensembles: the mean predictor <f> over initial weights, its test error, and how much its members differ."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import xarray as xr

from .cache import Cache, Record, key
from .experiment import grid_of, sweep
from .observables import N_delta, test_margin
from .setups import Setup

VERSION = 1  # of the numbers below
HOW = ("executor", "device", "progress", "max_gradients", "method")  # what `sweep` takes besides the axes
SUBSETS = 100  # random subsets per size for the error as a function of the size


def ensemble(
    setup: Setup, cache: Cache, *, seed: Sequence[int], fitted: bool = True, **axes: Any
) -> xr.Dataset:
    """Ensembles over `seed` on a grid of the other axes (those of `sweep`).

    fitted: average the nets with N_delta = 0 where at least half fit, and report NaN elsewhere; otherwise average all.
    A run that was broken off counts for neither.
    Variables: M, the number of nets averaged; error, the test error of <f>; jackknife, that of the ensembles that leave
    one net out, along `seed` (NaN for a net that is none of them); error_of_size, the mean test error of ensembles of
    1..M nets, along `size`; fluctuation, the unbiased root mean square of f - <f>; rms_mean, that of <f>.
    Ensembles are kept in the cache like runs; the outputs of single nets are needed only to make a new one.
    """
    how = {name: axes.pop(name) for name in HOW if name in axes}
    members = sweep(setup, [N_delta], cache, **axes, seed=seed, **how)
    grid, coords = grid_of(setup, {**axes, "seed": list(seed)})
    cells: dict[tuple[int, ...], list[Setup]] = {}
    for index, one in grid.items():
        cells.setdefault(index[:-1], []).append(one)
    rows = []
    for index, runs in cells.items():
        N = members.N_delta.values[index]
        chosen = np.flatnonzero(N == 0 if fitted else ~np.isnan(N))
        enough = len(chosen) > 0 and len(chosen) >= np.count_nonzero(~np.isnan(N)) / 2
        numbers = _ensemble([runs[i] for i in chosen], cache, how) if enough else {"M": len(chosen)}
        rows.append({**numbers, "members": chosen})
    return _table(rows, coords)


def _ensemble(runs: list[Setup], cache: Cache, how: dict) -> dict[str, Any]:
    address = {"ensemble": [run.key for run in runs], "of": "test_margin", "ensemble_version": VERSION}
    address = key(address | ({"margin_version": test_margin.version} if test_margin.version > 1 else {}))
    record = cache.get(address)
    if record is None:
        margins = np.stack([_margin(run, cache, how) for run in runs]).astype(np.float64)
        meta = {"fields": runs[0].fields, "versions": {}, "ensemble": [run.key for run in runs]}
        record = Record(meta, summary(margins))
        cache.put(address, record)
    return {"M": len(runs), **record.columns}


def _margin(run: Setup, cache: Cache, how: dict) -> np.ndarray:
    return sweep(run, [test_margin], cache, seed=[run.seed], **how).test_margin.values[0]


def summary(margins: np.ndarray) -> dict[str, np.ndarray | np.float64]:
    """The numbers of one ensemble from the margins y f of its members on the test set, shape (M, P_test)."""
    M = len(margins)
    mean = margins.mean(0)
    others = (margins.sum(0) - margins) / (M - 1) if M > 1 else np.full_like(margins, np.nan)
    fluctuation = np.sqrt(margins.var(0, ddof=1).mean()) if M > 1 else np.nan
    return {
        "error": np.float64((mean <= 0).mean()),
        "jackknife": np.where(np.isfinite(others).all(1), (others <= 0).mean(1), np.nan),
        "error_of_size": error_of_size(margins),
        "fluctuation": np.float64(fluctuation),
        "rms_mean": np.sqrt((mean**2).mean()),
        "mean_margin": mean.clip(-6e4, 6e4).astype(np.float16),
    }


def error_of_size(margins: np.ndarray) -> np.ndarray:
    """Mean test error of ensembles of m = 1..M nets: exact for 1 and M, over SUBSETS random subsets in between."""
    M = len(margins)
    generator = np.random.default_rng(M)
    errors = [(margins <= 0).mean()]
    for m in range(2, M):
        subsets = (generator.choice(M, m, replace=False) for _ in range(SUBSETS))
        errors.append(np.mean([(margins[list(subset)].mean(0) <= 0).mean() for subset in subsets]))
    return np.array(errors + [(margins.mean(0) <= 0).mean()][: M > 1])


def deviations(outputs: xr.DataArray) -> xr.DataArray:
    """||f - <f>||^2 of every net of an ensemble, times M / (M - 1): the mean over the seeds is unbiased.

    outputs: over `seed` and `test` among others; a net that is NaN is left out.
    """
    there = outputs.notnull().any("test")
    M = there.sum("seed")
    return ((outputs - outputs.mean("seed")) ** 2).mean("test").where(there) * M / (M - 1)


def jackknife(statistic: Callable[[xr.DataArray], xr.DataArray | float], table: xr.Dataset) -> tuple[float, float]:
    """A number read off the ensemble errors, and its standard error over initial weights.

    statistic: a function of the test errors over the grid. It is evaluated once more for each seed that is left out of
    all ensembles; a cell without that seed keeps its value. For a statistic that is not smooth, a minimum or a rank,
    the error is too large rather than too small.
    """
    value = float(statistic(table.error))
    left_out = table.jackknife.where(table.jackknife.notnull(), table.error)
    values = np.array([float(statistic(left_out.isel(seed=m))) for m in range(table.sizes["seed"])])
    M = len(values)
    return value, float(np.sqrt((M - 1) / M * ((values - values.mean()) ** 2).sum())) if M > 1 else float("nan")


def _table(rows: list[dict[str, Any]], coords: dict[str, list]) -> xr.Dataset:
    seeds = coords.pop("seed")
    shape = tuple(len(values) for values in coords.values())
    variables: dict[str, Any] = {"M": (tuple(coords), np.array([row["M"] for row in rows]).reshape(shape))}
    for name in ("error", "fluctuation", "rms_mean"):
        values = np.array([row.get(name, np.nan) for row in rows], dtype=float)
        variables[name] = (tuple(coords), values.reshape(shape))
    jackknife, error_of_size = np.full((2, len(rows), len(seeds)), np.nan)
    for i, row in enumerate(rows):
        if "error" in row:
            jackknife[i, row["members"]], error_of_size[i, : row["M"]] = row["jackknife"], row["error_of_size"]
    variables["jackknife"] = (*coords, "seed"), jackknife.reshape(*shape, -1)
    variables["error_of_size"] = (*coords, "size"), error_of_size.reshape(*shape, -1)
    return xr.Dataset(variables, coords={**coords, "seed": seeds, "size": range(1, len(seeds) + 1)})
