"""Ensembles: the mean predictor <f> over initial weights, its test error, and how much its members differ."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from .cache import Cache, Record, key
from .experiment import grid_of, sweep
from .kernels import ntk
from .observables import N_delta, test_margin
from .setups import Setup
from .tangents import stack
from .training import training_data

VERSION = 1  # of the numbers below
HOW = ("executor", "device", "progress", "max_gradients", "method")  # what `sweep` takes besides the axes
HALVES = 40  # random halves of an ensemble, from whose spread error bars are read
SUBSETS = 100  # random subsets per size for the error as a function of the size


def ensemble(setup: Setup, cache: Cache, *, seed: Sequence[int], fitted: bool = True, **axes: Any) -> xr.Dataset:
    """Ensembles over `seed` on a grid of the other axes (those of `sweep`).

    fitted: average the nets with N_delta = 0 where at least half fit, and report NaN elsewhere; otherwise average all.
    A run that was broken off counts for neither.
    Variables: M, the number of nets averaged; error, the test error of <f>; jackknife, that of the ensembles that leave
    one net out, along `seed` (NaN for a net that is none of them); error_of_size, the mean test error of ensembles of
    1..M nets, along `size`; fluctuation, the unbiased root mean square of f - <f>; rms_mean, that of <f>.
    Ensembles are kept in the cache like runs; the outputs of single nets are needed only to make a new one.
    """
    rows, coords = _rows(setup, cache, seed, fitted, axes, "error")
    return _table(rows, coords)


def halves(setup: Setup, cache: Cache, *, seed: Sequence[int], fitted: bool = True, **axes: Any) -> xr.Dataset:
    """The same ensembles and random halves of them, along `part`: the whole is part 0.

    Variables: M, the number of nets; error, the test error of their <f>; single, the mean of their own errors.
    A number read off these errors has an error bar, its spread among the halves: see `over_halves`.
    """
    rows, coords = _rows(setup, cache, seed, fitted, axes, "parts")
    del coords["seed"]
    shape = (*map(len, coords.values()), HALVES + 1)
    empty = np.full((HALVES + 1, 2), np.nan)
    parts = np.array([row.get("parts", empty) for row in rows]).reshape(*shape, 2)
    M = np.array([[row["M"]] + [row["M"] // 2] * HALVES for row in rows]).reshape(shape)
    dims = (*coords, "part")
    variables = {"M": (dims, M), "error": (dims, parts[..., 0]), "single": (dims, parts[..., 1])}
    return xr.Dataset(variables, coords=coords)


def over_halves(statistic: Callable[[xr.Dataset], ArrayLike], table: xr.Dataset) -> tuple[float, float]:
    """A number read off `halves`, and its standard error over initial weights: a jackknife that leaves out half.

    A test error is a count. Leaving out one net changes it by a few test points, of which as many go either way, so the
    usual jackknife of an ensemble's error is noise; leaving out half of the nets is not (Shao, Wu, Ann. Statist. 17
    (1989) 1176).
    """
    values = np.array([float(statistic(table.isel(part=part))) for part in range(table.sizes["part"])])
    return values[0], float(values[1:].std(ddof=1))


def _rows(setup: Setup, cache: Cache, seed: Sequence[int], fitted: bool, axes: dict, needs: str) -> tuple[list, dict]:
    how = {name: axes.pop(name) for name in HOW if name in axes}
    members = sweep(setup, [N_delta], cache, **axes, seed=seed, **how)
    grid, coords = grid_of(setup, {**axes, "seed": list(seed)})
    cells: dict[tuple[int, ...], list[Setup]] = {}
    for index, one in grid.items():
        cells.setdefault(index[:-1], []).append(one)
    rows = []
    for index, runs in cells.items():
        N = members.N_delta.values[index]
        chosen = _chosen(N, fitted)
        enough = len(chosen) > 0 and len(chosen) >= np.count_nonzero(~np.isnan(N)) / 2
        numbers = _ensemble([runs[i] for i in chosen], cache, how, needs) if enough else {"M": len(chosen)}
        rows.append({**numbers, "members": chosen})
    return rows, coords


def mean_margin(setup: Setup, cache: Cache, *, seed: Sequence[int], fitted: bool = True, **how: Any) -> NDArray:
    """y <f> on the test set, (P_test,), of the ensemble over `seed` of the nets that fit, or of all.

    Raises ValueError where no net is left to average.
    """
    N = sweep(setup, [N_delta], cache, seed=seed, **how).N_delta.values
    runs = [setup.replace(seed=seed[i]) for i in _chosen(N, fitted)]
    if not runs:
        raise ValueError(f"none of {len(N)} nets fits, so there is no mean predictor: take fitted=False or wider ones.")
    return _ensemble(runs, cache, how, needs="mean_margin")["mean_margin"].astype(np.float64)


def _chosen(N_delta: NDArray, fitted: bool) -> NDArray:
    return np.flatnonzero(N_delta == 0 if fitted else ~np.isnan(N_delta))


def _ensemble(runs: list[Setup], cache: Cache, how: dict, needs: str) -> dict[str, Any]:
    address = {"ensemble": [run.key for run in runs], "of": "test_margin", "ensemble_version": VERSION}
    address = key(address | ({"margin_version": test_margin.version} if test_margin.version > 1 else {}))
    record = cache.get(address)
    if record is None or needs not in record.columns:
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
        "parts": errors_of_halves(margins),
    }


def errors_of_halves(margins: NDArray) -> NDArray:
    """Test error of <f> and mean test error, (HALVES + 1, 2), of all nets and of random halves of them."""
    M, single = len(margins), (margins <= 0).mean(1)
    generator = np.random.default_rng(M)
    parts = [np.arange(M)] + [generator.choice(M, M // 2, replace=False) for _ in range(HALVES if M > 1 else 0)]
    found = np.full((HALVES + 1, 2), np.nan)
    for i, part in enumerate(parts):
        found[i] = (margins[part].mean(0) <= 0).mean(), single[part].mean()
    return found


def error_of_size(margins: np.ndarray) -> np.ndarray:
    """Mean test error of ensembles of m = 1..M nets: exact for 1 and M, over SUBSETS random subsets in between."""
    M = len(margins)
    generator = np.random.default_rng(M)
    errors = [(margins <= 0).mean()]
    for m in range(2, M):
        subsets = (generator.choice(M, m, replace=False) for _ in range(SUBSETS))
        errors.append(np.mean([(margins[list(subset)].mean(0) <= 0).mean() for subset in subsets]))
    return np.array(errors + [(margins.mean(0) <= 0).mean()][: M > 1])


def infinite(table: xr.Dataset) -> xr.DataArray:
    """The test error of an ensemble of infinitely many nets, from `single`, `error` and `M` of `halves`.

    What m nets err more than infinitely many is c / m, because it is quadratic in the fluctuation (Section 3):
    eps = eps_M - (eps_1 - eps_M) / (M - 1).
    """
    return table.error - (table.single - table.error) / (table.M - 1)


def noisy_error(margins: ArrayLike, size: ArrayLike) -> NDArray:
    """The expected test error of a predictor with margins y f, (P_test,), when normal noise of a size is added to f.

    A test point of margin m is then missed with probability Phi(-m / size): no noise is drawn. Shape of `size`.
    """
    from scipy.special import ndtr  # here, because it costs a second of every start of the command line

    m = np.asarray(margins, dtype=float)
    sizes = np.asarray(size, dtype=float)
    return np.array([ndtr(-m / one).mean() if one > 0 else (m <= 0).mean() for one in sizes.flat]).reshape(sizes.shape)


def at_budget(table: xr.Dataset, cost: xr.DataArray, budget: float) -> xr.Dataset:
    """The largest ensembles that a budget pays for: M, their number of nets, and error, their test error.

    table: of `ensemble`. cost: of one net over some of its axes, in the units of the budget: parameters, operations, or
    seconds. Not more nets are used than the table has; NaN where one net is too dear.
    """
    M = np.minimum(budget // cost, table.M).astype(int)
    return xr.Dataset({"M": M, "error": table.error_of_size.sel(size=M.clip(min=1)).where(M >= 1)}).drop_vars("size")


def deviations(outputs: xr.DataArray, over: str = "test") -> xr.DataArray:
    """||f - <f>||^2 of every net of an ensemble, times M / (M - 1): the mean over the seeds is unbiased.

    outputs: over `seed` and the dimension `over` among others; a net that is NaN is left out.
    """
    there = outputs.notnull().any(over)
    M = there.sum("seed")
    return ((outputs - outputs.mean("seed")) ** 2).mean(over).where(there) * M / (M - 1)


def relative_deviations(outputs: xr.DataArray, over: str = "test") -> xr.DataArray:
    """||f - <f>||^2 / ||<f>||^2 of every net, unbiased as in `deviations`."""
    return deviations(outputs, over) / (outputs.mean("seed") ** 2).mean(over)


def kernels_at_start(setup: Setup, *, seed: Sequence[int], **axes: Iterable) -> xr.DataArray:
    """Theta_0, the kernel at the initial weights on the kernel set, over the axes, `seed` and `pair`, its P_kernel^2
    entries. Nothing is trained. Raises ValueError as `sweep` does.
    """
    grid, coords = grid_of(setup.replace(t_max=1.0), {**axes, "seed": list(seed)})
    rows = []
    for one in grid.values():
        w0 = stack([one.network.init(torch.Generator().manual_seed(one.seed))])
        rows.append(ntk(one.network, w0, training_data(one).kernel.x).flatten().numpy())
    values = np.reshape(rows, (*map(len, coords.values()), -1))
    return xr.DataArray(values, dims=(*coords, "pair"), coords=coords, name="kernel")


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
