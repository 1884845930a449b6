"""Regression on random features, where the second descent is known exactly (Section 3, last paragraph).

A predictor f(x) = theta . z(x) / sqrt(N) on N features z_i, which are drawn once and kept: a network of which the last
layer alone is trained. Here every feature is a Gaussian process with the kernel K, so its values at any points are
normal, with the covariance K. theta interpolates the labels with the least norm, or is the least-squares solution where
N < P. The features are the initial weights: an ensemble averages over them at the same data.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import brentq
from scipy.spatial.distance import cdist

JITTER = 1e-10  # added to the diagonal of the kernel, so that it can be factorised


class Regression(NamedTuple):
    """Labels y (P,), or several kinds of them (P, k), and the kernel K over training and test set, (P + Q, P + Q)."""

    y: NDArray
    kernel: NDArray

    @property
    def parts(self) -> tuple[NDArray, NDArray, NDArray]:
        """K on the training set, (P, P), between it and the test set, (P, Q), and K(x, x) on the test set, (Q,)."""
        P = len(self.y)
        return self.kernel[:P, :P], self.kernel[:P, P:], np.diag(self.kernel)[P:]


def regression(x: NDArray, y: NDArray, x_test: NDArray) -> Regression:
    """A regression with the kernel exp(-|x - x'|^2 / 2 d), whose features are smooth functions."""
    points = np.concatenate([x, x_test])
    kernel = np.exp(-cdist(points, points, "sqeuclidean") / (2 * x.shape[1]))
    kernel[np.diag_indices(len(points))] += JITTER
    return Regression(y, kernel)


def predictions(problem: Regression, N: int, draws: int, seed: int) -> NDArray:
    """f on the test set for so many draws of N features, (draws, Q), or (draws, Q, k).

    Raises ValueError for a number of features that is not positive.
    """
    if N < 1:
        raise ValueError(f"a regression needs at least one feature, got N = {N}.")
    rng, P = np.random.Generator(np.random.PCG64(seed)), len(problem.y)
    root, found = np.linalg.cholesky(problem.kernel), []
    for _ in range(draws):
        z = root @ rng.standard_normal((len(root), N)) / np.sqrt(N)
        theta = np.linalg.lstsq(z[:P], problem.y)[0] if N < P else z[:P].T @ np.linalg.solve(z[:P] @ z[:P].T, problem.y)
        found.append(z[P:] @ theta)
    return np.array(found)


def exact_variance(problem: Regression, N: int) -> NDArray:
    """Variance of f over the features at every test point, (Q,) for labels (P,), for N > P + 1: exact at any size.

    Given the features at the training points, those at x are normal, with the mean that kernel regression predicts and
    the variance K(x|X) = K(x, x) - K(x, X) K^(-1) K(X, x). So f(x) is its kernel regression plus theta . xi / sqrt(N)
    with noise xi of that variance. |theta|^2 = y (Z Z^T / N)^(-1) y, and the mean of an inverse Wishart matrix gives
    Var f(x) = K(x|X) y K^(-1) y / (N - P - 1). Raises ValueError where the variance does not exist.
    """
    if not N > len(problem.y) + 1:
        raise ValueError(f"the variance over features is finite for N > P + 1 = {len(problem.y) + 1}, got N = {N}.")
    K, k, own = problem.parts
    factor = cho_factor(K)
    conditional = own - (k * cho_solve(factor, k)).sum(0)
    return conditional * (problem.y @ cho_solve(factor, problem.y)) / (N - len(problem.y) - 1)


def mean_prediction(problem: Regression, N: int) -> NDArray:
    """The mean of f over the features on the test set, (Q,): kernel regression with the ridge that few features act as.

    The ridge solves N = tr K (K + ridge)^(-1), and is zero for N >= P. Exact there, and for N < P as both become large
    (Jacot, Simsek, Spadaro, Hongler, Gabriel, ICML 2020).
    """
    K, k, _ = problem.parts
    values, vectors = np.linalg.eigh(K)
    ridge = 0.0
    if N < len(K):
        low, high = np.log(values.max() * 1e-16), np.log(values.max() * len(K))
        ridge = np.exp(brentq(lambda log: (values / (values + np.exp(log))).sum() - N, low, high))
    return k.T @ (vectors @ ((vectors.T @ problem.y).T / (values + ridge)).T)


def square_errors(f: xr.DataArray, y_test: xr.DataArray, P: int) -> xr.Dataset:
    """Mean square errors of predictions f over N, draw and x, where y_test are the targets at x.

    Variables over N: single, of one draw; infinite, of the mean over infinitely many, which is that of the mean over
    those measured less their variance over their number. NaN at N = P and one beside it, where the variance over the
    features is infinite.
    """
    variance = f.var("draw", ddof=1).mean("x")
    many = ((f.mean("draw") - y_test) ** 2).mean("x") - variance / f.sizes["draw"]
    table = xr.Dataset({"single": ((f - y_test) ** 2).mean(["draw", "x"]), "infinite": many})
    return table.where(np.abs(f.N - P) > 1)
