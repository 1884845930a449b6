"""The perceptron, the simplest network: what is argued about jamming can be checked here, some of it exactly."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq, minimize, nnls

TOUCH = 1e-14  # energy per pattern at which a perceptron is jammed


class Jammed(NamedTuple):
    """A spherical perceptron at jamming: margin kappa, weights w (N,) of norm sqrt(N), overlaps delta (P,)."""

    kappa: float
    w: NDArray
    delta: NDArray

    @property
    def N_delta(self) -> int:
        """Number of unsatisfied patterns."""
        return int((self.delta > 0).sum())


def jam(N: int, P: int, seed: int) -> Jammed:
    """Lower the margin kappa of a spherical perceptron, P random patterns in N dimensions, until it just jams.

    U = sum max(0, Delta)^2 / 2 with Delta = kappa - x.w / sqrt(N) on the sphere |w|^2 = N (Franz, Parisi, J. Phys. A 49
    (2016) 145001). From random weights at kappa = 0 the energy is minimised, kappa is lowered by half of the root mean
    square overlap, and so on until U / P is below 1e-14 and not zero. P > 2 N makes kappa negative, the problem that is
    not convex.
    """
    if not P > 2 * N > 0:
        raise ValueError(f"a perceptron of N = {N} weights jams below kappa = 0 if P > {2 * N}, got {P}.")
    rng = np.random.Generator(np.random.PCG64(seed))
    x, w, kappa, step = rng.standard_normal((P, N)), rng.standard_normal(N), 0.0, 0.0
    while True:
        w = _minimum(x, w, kappa)
        delta = kappa - x @ w / np.sqrt(N)
        U = (np.maximum(delta, 0) ** 2).sum() / 2
        if U == 0 and step == 0:
            raise ValueError(f"{P} patterns of seed {seed} can be separated by {N} weights: take more patterns.")
        if 0 < U / P < TOUCH:
            return Jammed(kappa, w, delta)
        if U == 0:  # too far: half of the step back
            step /= 2
            kappa += step
        else:
            step = 0.5 * np.sqrt(2 * U / (delta > 0).sum())
            kappa -= step


def _minimum(x: NDArray, start: NDArray, kappa: float) -> NDArray:
    """A minimum of the energy on the sphere, from `start`. The energy is scaled so that its size is one."""
    P, N = x.shape
    scale = max((np.maximum(kappa - x @ start / np.linalg.norm(start), 0) ** 2).sum(), 1e-300)

    def energy(v: NDArray) -> tuple[float, NDArray]:
        norm = np.linalg.norm(v)
        u = v / norm
        delta = np.maximum(kappa - x @ u, 0)
        pull = -x.T @ delta
        return (delta**2).sum() / scale, 2 * (pull - (pull @ u) * u) / (norm * scale)

    options = {"maxiter": 20_000, "maxfun": 20_000, "ftol": 0, "gtol": 1e-9, "maxcor": 30}
    found = minimize(energy, start / np.linalg.norm(start), jac=True, method="L-BFGS-B", options=options).x
    return found * np.sqrt(N) / np.linalg.norm(found)


def largest_margin(N: int, P: int, seed: int) -> float:
    """kappa: the largest margin min y w.x / |w| of P random patterns with random labels; NaN if none is positive.

    The hard-margin SVM without bias: the least w with y w.x >= 1, which is a problem of least distance and solved by
    non-negative least squares (Lawson, Hanson 1974, chapter 23). The norm of that w is 1 / kappa.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    x, y = rng.standard_normal((P, N)), np.where(np.arange(P) % 2 == 0, 1.0, -1.0)
    signed = x * y[:, None]
    system, target = np.vstack([signed.T, np.ones(P)]), np.append(np.zeros(N), 1.0)
    left = system @ nnls(system, target, maxiter=100 * P)[0] - target
    w = -left[:N] / left[N] if left[N] else left[:N]
    margin = float((signed @ w).min() / np.linalg.norm(w))
    return margin if margin > 0 else float("nan")


def gardner_margin(ratio: float) -> float:
    """kappa(P / N) for N to infinity, P < 2 N: 1 = (P / N) int_{-kappa}^inf Dt (t + kappa)^2 (Gardner 1988)."""
    if not 0 < ratio < 2:
        raise ValueError(f"random labels can be separated with a margin for 0 < P / N < 2, got {ratio}.")

    def lacking(kappa: float) -> float:
        weight = quad(lambda t: (t + kappa) ** 2 * np.exp(-t * t / 2) / np.sqrt(2 * np.pi), -kappa, 40)[0]
        return 1 / ratio - weight

    return float(brentq(lacking, 0.0, 100.0))


def regression_norm(N: int, P: int, seed: int) -> float:
    """|w|: the norm of the least solution of x w = y, for P < N random patterns with labels +-1, over sqrt(P)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    x, y = rng.standard_normal((P, N)), np.where(np.arange(P) % 2 == 0, 1.0, -1.0)
    return float(np.sqrt(y @ np.linalg.solve(x @ x.T, y) / P))
