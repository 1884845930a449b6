"""Numbers read off curves: power laws, crossings and rank correlations, each with what it is worth.

A curve is measured several times (seeds, training sets): `y` has shape (samples, n), and the error of a number read off
the mean curve is its spread when samples are drawn anew from those measured. NaN stands for a run that is left out.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike

ROUNDING = 1e-9  # by so much a point may miss a window that it is meant to be in
EXACT = 8  # up to so many points all permutations are visited


class PowerLaw(NamedTuple):
    """y = prefactor x^slope over the points with x in `window`, both ends included.

    error: of the slope, by bootstrap over the samples. n_points: points in the window that have a sample.
    local_slopes: (n - 1,), between neighbouring points of the whole curve, in and outside the window.
    excluded: share of NaN among the samples in the window.
    """

    slope: float
    error: float
    prefactor: float
    window: tuple[float, float]
    n_points: int
    local_slopes: np.ndarray
    excluded: float

    def at(self, x: ArrayLike) -> np.ndarray:
        """The fitted line."""
        return self.prefactor * np.asarray(x, dtype=float) ** self.slope


def power_law(
    x: ArrayLike,
    y: ArrayLike,
    window: tuple[SupportsFloat, SupportsFloat],
    *,
    log_mean: bool = True,
    draws: int = 1000,
    seed: int = 0,
) -> PowerLaw:
    """Least-squares slope of log y against log x for y (samples, n) at x (n,) > 0, averaged over the samples.

    log_mean: the logarithm of the mean over samples; if False, the mean of their logarithms, for heavy tails.
    A curve with fewer than two points in the window, or a mean that is not positive, gives NaN, and so does the error
    of a single sample: such a measurement is out of reach, it is no mistake.

    Raises ValueError for shapes that do not agree, x that is not positive and ascending, or a window without width.
    """
    x, y, (low, high) = np.asarray(x, dtype=float), np.asarray(y, dtype=float), window
    if y.ndim != 2 or x.shape != y.shape[1:]:
        raise ValueError(f"a power law needs x (n,) and y (samples, n), got the shapes {x.shape} and {y.shape}.")
    if not ((x > 0).all() and (np.diff(x) > 0).all()):
        raise ValueError(f"x must be positive and ascending, got {x.tolist()}.")
    if not low < high:
        raise ValueError(f"a window is (low, high) with low < high, got {window}.")
    inside = (x >= low * (1 - ROUNDING)) & (x <= high * (1 + ROUNDING))
    log_x, seen = np.log(x[inside]), y[:, inside]
    slope, error = bootstrap(lambda some: _line(log_x, _log_average(some, log_mean))[0], seen, draws, seed)
    intercept = _line(log_x, _log_average(seen, log_mean))[1]
    there = ~np.isnan(seen)
    with np.errstate(invalid="ignore"):  # between two averages that are not positive
        local_slopes = np.diff(_log_average(y, log_mean)) / np.diff(np.log(x))
    excluded = float(1 - there.mean()) if there.size else 0.0
    return PowerLaw(
        float(slope), float(error), float(np.exp(intercept)), (float(low), float(high)), int(there.any(0).sum()),
        local_slopes, excluded,
    )


def bootstrap(
    statistic: Callable[[np.ndarray], ArrayLike], samples: ArrayLike, draws: int = 1000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The statistic of the samples, and its standard error by drawing them anew (Efron, Ann. Statist. 7 (1979) 1).

    statistic: a function of an array whose first axis is samples. It must not depend on their order, because the same
    samples are evaluated once. One of several arrays takes samples = np.arange(n) and uses them as indices. The error
    carries the factor sqrt(n / (n - 1)) that makes that of a mean the usual one, which matters for a handful of seeds.
    It is NaN for a single sample or fewer than two draws, and where a drawing gives NaN.
    """
    samples = np.asarray(samples)
    value, n = np.asarray(statistic(samples), dtype=float), len(samples)
    if n < 2 or draws < 2:
        return value, np.full_like(value, np.nan)
    rng = np.random.Generator(np.random.PCG64(seed))
    known: dict[tuple[int, ...], Any] = {}  # two samples can be drawn in three ways, three in ten

    def of(drawn: np.ndarray) -> Any:
        key = tuple(sorted(drawn.tolist()))
        if key not in known:
            known[key] = statistic(samples[drawn])
        return known[key]

    values = np.array([of(rng.integers(n, size=n)) for _ in range(draws)], dtype=float)
    with np.errstate(invalid="ignore"):
        return value, np.asarray(values.std(axis=0, ddof=1) * np.sqrt(n / (n - 1)))


def over_seeds(statistic: Callable[[Any], ArrayLike], table: Any, draws: int = 200) -> tuple[float, float]:
    """A number read off a table with the dimension `seed`, and its bootstrap error over the seeds: see `bootstrap`."""
    value, error = bootstrap(lambda seeds: statistic(table.isel(seed=seeds)), np.arange(table.sizes["seed"]), draws)
    return float(value), float(error)


def over_halves(
    statistic: Callable[[Any], ArrayLike], table: Any, dim: str, halves: int = 40, seed: int = 0
) -> tuple[float, float]:
    """A number read off a table, and its standard error from random halves of a dimension: a jackknife that leaves out
    half (Shao, Wu, Ann. Statist. 17 (1989) 1176). For numbers that drawing the same sample twice would bias."""
    rng, size = np.random.Generator(np.random.PCG64(seed)), table.sizes[dim]
    drawn = [rng.choice(size, size // 2, replace=False) for _ in range(halves)]
    values = [float(statistic(table.isel({dim: some}))) for some in drawn]
    return float(statistic(table)), float(np.std(values, ddof=1))


def crossing(x: ArrayLike, y: ArrayLike, level: SupportsFloat) -> np.ndarray:
    """Where curves y (..., n) over x (n,) > 0 first cross a level > 0, by linear interpolation of the logarithms.

    Shape (...). NaN for a curve that does not cross; a point that is NaN or not positive belongs to no segment.
    """
    if not level > 0:
        raise ValueError(f"the level of a crossing is positive, because logarithms are interpolated, got {level}.")
    log_x, y = np.log(np.asarray(x, dtype=float)), np.asarray(y, dtype=float)
    above = np.log(np.where(y > 0, y, np.nan)) - np.log(level)
    left, right = above[..., :-1], above[..., 1:]
    crosses = left * right <= 0  # false where either is NaN
    rise = right - left
    share = np.where(rise == 0, 0.0, -left / np.where(rise == 0, 1.0, rise))
    where = np.exp(log_x[:-1] + share * np.diff(log_x))
    first = crosses.argmax(-1)[..., None]
    return np.where(crosses.any(-1), np.take_along_axis(where, first, -1)[..., 0], np.nan)


def spearman(x: ArrayLike, y: ArrayLike, *, draws: int = 10_000, seed: int = 0) -> tuple[float, float]:
    """Rank correlation of x (n,) and y (n,), and the chance of one at least as large if their order meant nothing.

    One-sided: pass -y to ask for a decrease. Over all permutations up to n = 8, else over `draws` random ones, the
    measured one counted among them. Ties get their mean rank; NaN where x or y does not vary or is not a number.
    """
    from scipy.stats import rankdata  # here, because it costs a second of every start of the command line

    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"a rank correlation needs x (n,) and y (n,), got the shapes {x.shape} and {y.shape}.")
    a, b = (rankdata(values) - (len(x) + 1) / 2 for values in (x, y))
    norm = np.sqrt((a @ a) * (b @ b))
    if np.isnan(x).any() or np.isnan(y).any() or norm == 0:
        return float("nan"), float("nan")
    rho = a @ b / norm
    if len(x) <= EXACT:
        shuffled = np.array(list(itertools.permutations(b)))
    else:
        rng = np.random.Generator(np.random.PCG64(seed))
        shuffled = np.concatenate([b[None], rng.permuted(np.tile(b, (draws, 1)), axis=1)])
    return float(rho), float((shuffled @ a / norm >= rho - 1e-12).mean())


def _log_average(y: np.ndarray, log_mean: bool) -> np.ndarray:
    """Logarithm of the mean, or mean of the logarithms, over the samples that are there: NaN for none, -inf for what
    has no logarithm."""
    there = ~np.isnan(y)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = y if log_mean else np.log(np.maximum(y, 0))
        average = np.where(there, values, 0).sum(0) / there.sum(0)
        return np.log(np.maximum(average, 0)) if log_mean else average


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept through the points that are there, NaN for fewer than two."""
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    if len(x) < 2 or not np.isfinite(y).all():
        return np.nan, np.nan
    slope = (x - x.mean()) @ (y - y.mean()) / ((x - x.mean()) @ (x - x.mean()))
    return slope, y.mean() - slope * x.mean()
