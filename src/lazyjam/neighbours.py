"""The curse of dimension, where it is exact: points drawn on a torus, and what their nearest neighbours tell."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.special import gammaln

SIZE = 1.0  # of the torus, [0, SIZE)^d with opposite faces joined: no point is near an edge


def torus_distance(x: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """Distances (P, Q) on the torus between the points x (P, d) and x2 (Q, d)."""
    squares = np.zeros((len(x), len(x2)))
    for one, two in zip(x.T, x2.T, strict=True):
        apart = np.abs(one[:, None] - two)
        squares += np.minimum(apart, SIZE - apart) ** 2
    return np.sqrt(squares)


def expected_distance(d: int, P: int) -> float:
    """The mean distance to the nearest of P points on the torus, as long as that is below half of its size.

    A ball of radius r is empty with the chance (1 - V_d r^d)^P, V_d the volume of the unit ball. Integrated over r,
    V_d^(-1/d) Gamma(1 + 1/d) Gamma(P + 1) / Gamma(P + 1 + 1/d), which falls as P^(-1/d).
    """
    log_V = d / 2 * np.log(np.pi) - gammaln(1 + d / 2)
    return float(np.exp(-log_V / d + gammaln(1 + 1 / d) + gammaln(P + 1) - gammaln(P + 1 + 1 / d)))


def curse(d: Sequence[int], P: Sequence[int], *, queries: int = 200, seed: Sequence[int] = range(10)) -> xr.Dataset:
    """What P points on the torus know of other points, over d, seed and P: training sets are nested in P.

    distance: mean distance from `queries` other points to their nearest neighbours. error: the rms error there of the
    prediction f(nearest neighbour) for f(x) = |x - x_0|, which is Lipschitz.
    Raises ValueError for a P that does not ascend.
    """
    P = list(P)
    if P != sorted({*P}) or P[0] < 1:
        raise ValueError(f"P must ascend, without repeats, got {P}.")
    shape = (len(d), len(seed), len(P))
    distance, error = np.empty(shape), np.empty(shape)
    for i, dimension in enumerate(d):
        for j, one in enumerate(seed):
            rng = np.random.Generator(np.random.PCG64([dimension, one]))
            asked, known = (SIZE * rng.random((count, dimension)) for count in (queries, P[-1]))
            f, f_known = (torus_distance(x, np.zeros((1, dimension)))[:, 0] for x in (asked, known))
            between = torus_distance(asked, known)
            for k, size in enumerate(P):
                nearest = between[:, :size].argmin(1)
                distance[i, j, k] = between[np.arange(queries), nearest].mean()
                error[i, j, k] = np.sqrt(np.mean((f_known[nearest] - f) ** 2))
    dims = ("d", "seed", "P")
    return xr.Dataset({"distance": (dims, distance), "error": (dims, error)}, {"d": list(d), "seed": seed, "P": P})
