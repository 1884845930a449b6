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
HOW = ("executor", "device", "progress", "max_gradients", "method", "precision")  # what `sweep` takes besides the axes
HALVES, BLOCKS = 40, 20  # random halves of the nets, and blocks of the test set, by which error bars are read
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


def parts(setup: Setup, cache: Cache, *, seed: Sequence[int], fitted: bool = True, **axes: Any) -> xr.Dataset:
    """The same ensembles, and what is left of them, along `part`, so that a number read off them has an error bar.

    Part 0 is the whole. Then come HALVES random halves of the nets, then all nets on the test set without one of
    BLOCKS blocks of it: see `over_parts`.
    Variables: M, the number of nets; error, the test error of their <f>; single, the mean of their own errors;
    fluctuation, the root mean square of f - <f> over that of <f>, its square unbiased above and below.
    An ensemble of one net has no halves: their numbers are NaN.
    """
    rows, coords = _rows(setup, cache, seed, fitted, axes, "parts_of_ensemble")
    del coords["seed"]
    shape = (*map(len, coords.values()), 1 + HALVES + BLOCKS)
    empty = np.full((shape[-1], 3), np.nan)
    numbers = np.array([row.get("parts_of_ensemble", empty) for row in rows]).reshape(*shape, 3)
    M = np.array([[row["M"]] + [row["M"] // 2] * HALVES + [row["M"]] * BLOCKS for row in rows]).reshape(shape)
    dims = (*coords, "part")
    variables = {name: (dims, numbers[..., i]) for i, name in enumerate(("error", "single", "fluctuation"))}
    return xr.Dataset({"M": (dims, M), **variables}, coords=coords)


def over_parts(statistic: Callable[[xr.Dataset], ArrayLike], table: xr.Dataset) -> tuple[float, float]:
    """A number read off `parts`, and its standard error: from the initial weights and from the test set, added.

    From the weights, a jackknife that leaves out half: the spread among halves. A test error is a count, and leaving
    out one net moves a few test points, of which as many go either way, so the usual jackknife of an ensemble's error
    is noise (Shao, Wu, Ann. Statist. 17 (1989) 1176). From the test set, a jackknife over its blocks.
    """
    values = xr.DataArray([float(statistic(table.isel(part=i))) for i in range(table.sizes["part"])], dims="part")
    return float(values[0]), float(standard_error(values))


def standard_error(values: xr.DataArray) -> xr.DataArray:
    """The standard error of numbers that are known for every `part`: see `over_parts`. NaN where a part is."""
    halves, blocks = values.isel(part=slice(1, 1 + HALVES)), values.isel(part=slice(1 + HALVES, None))
    points = (BLOCKS - 1) / BLOCKS * ((blocks - blocks.mean("part")) ** 2).sum("part", skipna=False)
    return np.sqrt(halves.var("part", ddof=1, skipna=False) + points)


def _rows(setup: Setup, cache: Cache, seed: Sequence[int], fitted: bool, axes: dict, needs: str) -> tuple[list, dict]:
    how = {name: axes.pop(name) for name in HOW if name in axes}
    members = sweep(setup, [N_delta], cache, **axes, seed=seed, **how)
    grid, coords = grid_of(setup, {**axes, "seed": list(seed)})
    rows = []
    for index in np.ndindex(members.N_delta.shape[:-1]):
        N = members.N_delta.values[index]
        chosen = _chosen(N, fitted)
        enough = _enough(len(chosen), N)
        numbers = _ensemble([grid[*index, i] for i in chosen], cache, how, needs) if enough else {"M": len(chosen)}
        rows.append({**numbers, "members": chosen})
    return rows, coords


def mean_margin(setup: Setup, cache: Cache, *, seed: Sequence[int], fitted: bool = True, **how: Any) -> NDArray:
    """y <f> on the test set, (P_test,), of the ensemble over `seed` of the nets that fit, or of all.

    Raises ValueError where fewer than half are left to average.
    """
    N = sweep(setup, [N_delta], cache, seed=seed, **how).N_delta.values
    runs = [setup.replace(seed=seed[i]) for i in _chosen(N, fitted)]
    if not _enough(len(runs), N):
        said = f"only {len(runs)} of {len(N)} nets fit"
        raise ValueError(f"{said}, which is no ensemble: take fitted=False, or wider nets.")
    return _ensemble(runs, cache, how, needs="mean_margin")["mean_margin"].astype(np.float64)


def _chosen(N_delta: NDArray, fitted: bool) -> NDArray:
    return np.flatnonzero(N_delta == 0 if fitted else ~np.isnan(N_delta))


def _enough(chosen: int, N_delta: NDArray) -> bool:
    return chosen > 0 and 2 * chosen >= int(np.count_nonzero(~np.isnan(N_delta)))


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
        "parts_of_ensemble": parts_of_ensemble(margins),
    }


def parts_of_ensemble(margins: NDArray) -> NDArray:
    """What `parts` says of the ensemble with these margins y f, (M, P_test): shape (1 + HALVES + BLOCKS, 3)."""
    M, points = margins.shape
    generator = np.random.default_rng(M)
    halves = [generator.choice(M, M // 2, replace=False) for _ in range(HALVES if M > 1 else 0)]
    found = np.full((1 + HALVES + BLOCKS, 3), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):  # a single net has no variance
        for i, some in enumerate([np.arange(M), *halves]):
            whole = _point_by_point(margins[some])
            found[i] = _of_points(*whole, len(some))
            if i == 0:
                for j, block in enumerate(np.array_split(np.arange(points), BLOCKS)):
                    found[1 + HALVES + j] = _of_points(*(np.delete(values, block) for values in whole), M)
    return found


def _point_by_point(margins: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """<y f>, the variance over nets, and the share of nets that err, at every test point."""
    M = len(margins)
    variance = margins.var(0, ddof=1) if M > 1 else np.full(margins.shape[1], np.nan)
    return margins.mean(0), variance, (margins <= 0).mean(0)


def _of_points(mean: NDArray, variance: NDArray, wrong: NDArray, M: int) -> tuple[float, float, float]:
    square = (mean**2).mean() - variance.mean() / M
    return (mean <= 0).mean(), wrong.mean(), np.sqrt(variance.mean() / square)


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
    """The test error of an ensemble of infinitely many nets, from `single`, `error` and `M` of `parts`.

    What m nets err more than infinitely many is c / m, because it is quadratic in the fluctuation (Section 3):
    eps = eps_M - (eps_1 - eps_M) / (M - 1). NaN for a single net.
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


def at_budget(table: xr.Dataset, cost: xr.DataArray, budget: float) -> xr.DataArray:
    """The test error of as many nets as a budget pays for, by the law eps_m = eps + c / m of `infinite`.

    table: of `parts`, or one part of it. cost: of one net over some of its axes, in the units of the budget, which may
    be parameters, operations, or seconds. NaN where one net is too dear.
    """
    m = budget // cost
    return (infinite(table) + (table.single - infinite(table)) / m).where(m >= 1)


def deviations(outputs: xr.DataArray, over: str = "test") -> xr.DataArray:
    """||f - <f>||^2 of every net of an ensemble, times M / (M - 1): the mean over the seeds is unbiased.

    outputs: over `seed` and the dimension `over` among others; a net that is NaN is left out.
    """
    there = outputs.notnull().any(over)
    M = there.sum("seed")
    return ((outputs - outputs.mean("seed")) ** 2).mean(over).where(there) * M / (M - 1)


def relative_deviations(outputs: xr.DataArray, over: str = "test") -> xr.DataArray:
    """||f - <f>||^2 / ||<f>||^2 of every net; the numerator is unbiased, the mean of the nets stands for <f>."""
    return deviations(outputs, over) / (outputs.mean("seed") ** 2).mean(over)


def kernels_at_start(setup: Setup, *, seed: Sequence[int], **axes: Iterable) -> xr.DataArray:
    """Theta_0, the kernel at the initial weights on the kernel set, over the axes, `seed` and `pair`, its P_kernel^2
    entries. Nothing is trained. Raises ValueError as `sweep` does.
    """
    grid, coords = grid_of(setup.replace(t_max=1.0), {**axes, "seed": list(seed)})
    values = np.full((*map(len, coords.values()), setup.P_kernel**2), np.nan)
    for index, one in grid.items():
        w0 = stack([one.network.init(torch.Generator().manual_seed(one.seed))])
        values[index] = ntk(one.network, w0, training_data(one).kernel.x).flatten().numpy()
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
