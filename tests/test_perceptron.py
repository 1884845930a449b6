"""The perceptron against closed forms, and against a support vector machine."""

import numpy as np
import pytest
from scipy.integrate import quad
from sklearn.svm import SVC

from lazyjam.perceptron import gardner_margin, jam, largest_margin, regression_norm


@pytest.mark.parametrize("N, P", [(30, 120), (50, 300)])
def test_a_jammed_perceptron_is_isostatic(N, P):
    for seed in range(2):
        jammed = jam(N, P, seed)
        assert jammed.N_delta == N and jammed.kappa < 0
        assert np.linalg.norm(jammed.w) == pytest.approx(np.sqrt(N))
        x = np.random.Generator(np.random.PCG64(seed)).standard_normal((P, N))
        np.testing.assert_allclose(jammed.delta, jammed.kappa - x @ jammed.w / np.sqrt(N), atol=1e-14)
        ordered = np.sort(jammed.delta)
        assert 0 < ordered[-1] < 1e-5 and ordered[-N - 1] < -1e-5  # a gap of decades between touching and free
        forces = x.T @ np.maximum(jammed.delta, 0)  # balanced but along w
        radial = forces @ jammed.w / N * jammed.w
        assert np.linalg.norm(forces - radial) < 1e-3 * np.linalg.norm(np.maximum(jammed.delta, 0)) * np.sqrt(N)


def test_a_perceptron_with_too_few_patterns_is_refused():
    with pytest.raises(ValueError, match="N = 10 weights jams below kappa = 0 if P > 20, got 20"):
        jam(10, 20, 0)


def test_patterns_that_can_be_separated_do_not_jam():
    with pytest.raises(ValueError, match="3 patterns of seed 8 can be separated by 1 weights"):
        jam(1, 3, 8)


def test_the_largest_margin_is_that_of_a_support_vector_machine():
    N, P = 60, 80
    rng = np.random.Generator(np.random.PCG64(3))
    x, y = rng.standard_normal((P, N)), np.where(np.arange(P) % 2 == 0, 1, -1)
    # without bias: every pattern and its mirror image
    machine = SVC(kernel="linear", C=1e10, tol=1e-10).fit(np.concatenate([x, -x]), np.concatenate([y, -y]))
    assert largest_margin(N, P, 3) == pytest.approx(1 / np.linalg.norm(machine.coef_), rel=1e-5)


def test_what_cannot_be_separated_has_no_margin():
    assert np.isnan(largest_margin(20, 80, 0))
    assert largest_margin(1, 1, 0) > 0  # one pattern: the margin is its norm
    x = np.random.Generator(np.random.PCG64(0)).standard_normal((1, 1))
    assert largest_margin(1, 1, 0) == pytest.approx(abs(float(x[0, 0])))


@pytest.mark.parametrize("kappa", [0.05, 0.5, 2.0])
def test_gardner(kappa):
    weight = quad(lambda t: (t + kappa) ** 2 * np.exp(-t * t / 2) / np.sqrt(2 * np.pi), -kappa, np.inf)[0]
    assert gardner_margin(1 / weight) == pytest.approx(kappa, rel=1e-8)
    with pytest.raises(ValueError, match="0 < P / N < 2, got 2"):
        gardner_margin(2.0)


def test_margins_follow_gardner_and_norms_of_regression_the_closed_form():
    measured = np.mean([largest_margin(160, 200, seed) for seed in range(60)])
    assert measured == pytest.approx(gardner_margin(200 / 160), rel=0.05)
    squares = np.mean([regression_norm(160, 100, seed) ** 2 for seed in range(40)])
    assert squares == pytest.approx(1 / (160 - 100 - 1), rel=0.05)
