"""Random features against closed forms, and against regression written out."""

import numpy as np
import pytest
import xarray as xr

from lazyjam.random_features import (
    Regression,
    exact_variance,
    mean_prediction,
    predictions,
    regression,
    square_errors,
)

rng = np.random.default_rng(0)
X, X_TEST = rng.standard_normal((12, 4)), rng.standard_normal((30, 4))
Y = X[:, 0] + X[:, 1] * X[:, 2]
PROBLEM = regression(X, Y, X_TEST)


def test_the_kernel_is_the_gaussian_one():
    expected = np.exp(-((X[3] - X_TEST[5]) ** 2).sum() / 8)
    assert PROBLEM.kernel[3, 12 + 5] == pytest.approx(expected, rel=1e-12)
    K, k, own = PROBLEM.parts
    assert K.shape == (12, 12) and k.shape == (12, 30) and own == pytest.approx(np.ones(30), abs=1e-9)


@pytest.mark.parametrize("N", [3, 11, 12, 40])
def test_predictions_are_the_least_norm_solution(N):
    """Features drawn in the same order, and the pseudo-inverse in place of the two cases."""
    found = predictions(PROBLEM, N, 3, seed=5)
    again, root = np.random.Generator(np.random.PCG64(5)), np.linalg.cholesky(PROBLEM.kernel)
    for f in found:
        z = root @ again.standard_normal((42, N)) / np.sqrt(N)
        assert f == pytest.approx(z[12:] @ (np.linalg.pinv(z[:12]) @ Y), rel=1e-5, abs=1e-5)


def test_the_variance_over_features_is_exact():
    """Far from N = P + 1, where it is not too broad to be measured: 4000 draws, 30 test points, within 3 %."""
    f = predictions(PROBLEM, 40, 4000, seed=1)
    assert f.var(0, ddof=1).sum() / exact_variance(PROBLEM, 40).sum() == pytest.approx(1, abs=0.03)
    assert np.corrcoef(f.var(0, ddof=1), exact_variance(PROBLEM, 40))[0, 1] > 0.99
    with pytest.raises(ValueError, match="finite for N > P \\+ 1 = 13, got N = 13"):
        exact_variance(PROBLEM, 13)


def test_enough_features_predict_like_the_kernel_on_the_mean():
    K, k, _ = PROBLEM.parts
    kernel = k.T @ np.linalg.solve(K, Y)
    assert mean_prediction(PROBLEM, 12) == pytest.approx(kernel, rel=1e-6) == mean_prediction(PROBLEM, 500)
    f = predictions(PROBLEM, 60, 3000, seed=2)
    assert np.abs(f.mean(0) - kernel).max() < 5 * np.sqrt(exact_variance(PROBLEM, 60).max() / 3000)


def test_few_features_act_as_a_ridge():
    """The ridge solves its equation, and the mean prediction is that of the features where both are large."""
    points = rng.standard_normal((150, 6))
    large = regression(points[:100], points[:100, 0] ** 2, points[100:])
    f = predictions(large, 50, 400, seed=3)
    known = mean_prediction(large, 50)
    plain = mean_prediction(large, 100)
    assert ((f.mean(0) - known) ** 2).mean() < 0.1 * ((plain - known) ** 2).mean()
    identity = Regression(np.ones(10), np.eye(12))  # K = 1: N = 10 / (1 + ridge)
    shifted = Regression(np.ones(10), np.eye(12) + 0.5)
    K, k, _ = shifted.parts
    values = np.linalg.eigvalsh(K)
    ridge = next(r for r in np.geomspace(1e-3, 10, 200_001) if (values / (values + r)).sum() <= 4)
    by_hand = k.T @ np.linalg.solve(K + ridge * np.eye(10), np.ones(10))
    assert mean_prediction(shifted, 4) == pytest.approx(by_hand, rel=1e-3)
    assert mean_prediction(identity, 4) == pytest.approx(np.zeros(2), abs=1e-12)


def test_no_features_are_refused():
    with pytest.raises(ValueError, match="at least one feature, got N = 0"):
        predictions(PROBLEM, 0, 1, seed=0)


def test_several_targets_are_predicted_as_each_alone():
    both = PROBLEM._replace(y=np.stack([Y, Y**2], 1))
    for N in (5, 30):
        f = predictions(both, N, 2, seed=4)
        assert f.shape == (2, 30, 2) and np.allclose(f[..., 0], predictions(PROBLEM, N, 2, seed=4), atol=1e-8)
        assert np.allclose(mean_prediction(both, N)[:, 0], mean_prediction(PROBLEM, N), atol=1e-10)


def test_square_errors_of_one_and_of_infinitely_many():
    """Predictions with a known mean and variance: the infinite ensemble has the error of the mean."""
    N, target = [5, 12, 40], xr.DataArray(np.linspace(-1, 1, 30), dims="x")
    noise = np.random.default_rng(1).standard_normal((3, 4000, 30)) * 0.5
    f = xr.DataArray(0.8 * target.values + noise, dims=("N", "draw", "x"), coords={"N": N})
    table = square_errors(f, target, 12)
    bias = float((0.04 * target**2).mean())
    assert table.infinite.values[[0, 2]] == pytest.approx([bias, bias], abs=1e-3)
    assert table.single.values[[0, 2]] == pytest.approx([bias + 0.25] * 2, rel=0.02)
    assert np.isnan(table.single[1]) and np.isnan(table.infinite[1])
