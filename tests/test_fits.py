"""Fits against closed forms."""

import math

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from lazyjam.fits import bootstrap, crossing, over_halves, power_law, spearman

X = np.array([4.0, 8.0, 16.0, 32.0, 64.0])
EVERYWHERE = (0.0, np.inf)


def noisy(samples: int, noise: float, slope: float = -0.5, seed: int = 0) -> np.ndarray:
    return 3 * X**slope * np.exp(noise * np.random.default_rng(seed).standard_normal((samples, len(X))))


# -- power laws --------------------------------------------------------------------------------------------------------


def test_an_exact_power_law():
    fit = power_law(X, np.tile(3 * X**-0.5, (4, 1)), EVERYWHERE)
    assert fit.slope == pytest.approx(-0.5, abs=1e-12) and fit.error == pytest.approx(0, abs=1e-12)
    assert fit.prefactor == pytest.approx(3) and fit.n_points == 5 and fit.excluded == 0
    np.testing.assert_allclose(fit.local_slopes, -0.5)
    np.testing.assert_allclose(fit.at(X), 3 * X**-0.5)


@pytest.mark.parametrize("log_mean", [True, False])
def test_the_slope_is_that_of_polyfit(log_mean):
    y = noisy(6, 0.5)
    curve = np.log(y.mean(0)) if log_mean else np.log(y).mean(0)
    fit = power_law(X, y, EVERYWHERE, log_mean=log_mean)
    slope, intercept = np.polyfit(np.log(X), curve, 1)
    assert (fit.slope, fit.prefactor) == pytest.approx((slope, np.exp(intercept)))
    np.testing.assert_allclose(fit.local_slopes, np.diff(curve) / np.log(2))


def test_the_error_is_that_of_least_squares():
    """With noise s in log y at each x, Var(slope) = s^2 / samples / sum (lx - <lx>)^2."""
    noise, samples = 0.3, 40
    lx = np.log(X) - np.log(X).mean()
    expected = noise / math.sqrt(samples * (lx @ lx))
    curves = (noisy(samples, noise, seed=seed) for seed in range(300))
    fits = [power_law(X, y, EVERYWHERE, log_mean=False, draws=50) for y in curves]
    assert np.std([fit.slope for fit in fits]) == pytest.approx(expected, rel=0.15)  # what the error means
    assert np.mean([fit.error for fit in fits]) == pytest.approx(expected, rel=0.05)


def test_a_common_factor_per_sample_leaves_no_error():
    """Samples are drawn as whole curves, so what moves a curve up and down does not blur its slope."""
    y = np.random.default_rng(0).lognormal(0, 1, (10, 1)) * X**-1.5
    assert power_law(X, y, EVERYWHERE).error < 1e-12


def test_the_window_holds_its_ends_and_local_slopes_do_not_feel_it():
    y = np.where(X < 8, 100.0, X**2) * np.ones((3, 1))
    fit = power_law(X, y, (8, 64))
    assert fit.slope == pytest.approx(2) and fit.n_points == 4 and fit.window == (8.0, 64.0)
    np.testing.assert_allclose(fit.local_slopes, [np.log(0.64) / np.log(2), 2, 2, 2])


def test_missing_runs_are_left_out_and_counted():
    y = np.tile(X**-1.0, (4, 1))
    y[0, 1], y[:, 2], y[1, 0] = np.nan, np.nan, np.nan
    fit = power_law(X, y, (8, 64))
    assert fit.slope == pytest.approx(-1) and fit.n_points == 3 and fit.excluded == 5 / 16
    assert np.isnan(fit.local_slopes).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("y", "window"),
    [
        (noisy(4, 0.1), (5, 9)),  # one point
        (noisy(4, 0.1), (100, 200)),  # none
        (np.full((4, 5), np.nan), EVERYWHERE),
        (-noisy(4, 0.1), EVERYWHERE),  # no logarithm
        (0 * noisy(4, 0.1), EVERYWHERE),
    ],
)
@pytest.mark.parametrize("log_mean", [True, False])
def test_too_little_to_fit_is_nan(y, window, log_mean):
    fit = power_law(X, y, window, log_mean=log_mean, draws=10)
    assert np.isnan([fit.slope, fit.error, fit.prefactor]).all() and fit.local_slopes.shape == (4,)


def test_a_single_sample_has_no_error():
    fit = power_law(X, noisy(1, 0.1), EVERYWHERE)
    assert np.isfinite(fit.slope) and np.isnan(fit.error)


def test_the_seed_is_the_drawing():
    fits = [power_law(X, noisy(5, 0.3), EVERYWHERE, draws=50, seed=seed) for seed in (0, 0, 1)]
    assert fits[0].error == fits[1].error != fits[2].error


@pytest.mark.parametrize(
    ("x", "y", "window", "sentence"),
    [
        (X, X, EVERYWHERE, "needs x (n,) and y (samples, n), got the shapes (5,) and (5,)."),
        (X[:4], noisy(2, 0.1), EVERYWHERE, "got the shapes (4,) and (2, 5)."),
        (X - 4, noisy(2, 0.1), EVERYWHERE, "x must be positive and ascending, got [0.0, 4.0, 12.0, 28.0, 60.0]."),
        (X[::-1], noisy(2, 0.1), EVERYWHERE, "x must be positive and ascending"),
        (X, noisy(2, 0.1), (8, 4), "a window is (low, high) with low < high, got (8, 4)."),
    ],
)
def test_a_power_law_refuses(x, y, window, sentence):
    with pytest.raises(ValueError) as refusal:
        power_law(x, y, window)
    assert sentence in str(refusal.value)


# -- bootstrap ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [3, 10, 100])
def test_the_error_of_a_mean_is_the_usual_one(n):
    samples = np.random.default_rng(n).standard_normal((n, 2))
    value, error = bootstrap(lambda s: s.mean(0), samples, draws=10_000)
    np.testing.assert_allclose(value, samples.mean(0))
    np.testing.assert_allclose(error, samples.std(0, ddof=1) / np.sqrt(n), rtol=0.03)


def test_a_statistic_of_several_arrays_by_their_indices():
    a, b = np.random.default_rng(0).standard_normal((2, 30))
    found = bootstrap(lambda i: (a[i] + b[i]).mean(), np.arange(30))
    np.testing.assert_allclose(found, bootstrap(np.mean, a + b))


def test_what_is_drawn_again_is_not_computed_again():
    calls = []
    value, error = bootstrap(lambda some: calls.append(1) or some.mean(), [1.0, 2.0, 4.0])
    assert len(calls) == 1 + 10, "three samples can be drawn in ten ways"
    assert value == pytest.approx(7 / 3) and error == pytest.approx(np.std([1, 2, 4], ddof=1) / 3**0.5, rel=0.1)


def test_no_error_without_a_second_sample_or_with_nan():
    assert np.isnan(bootstrap(np.mean, [1.0])[1])
    value, error = bootstrap(lambda s: np.nan if (s == 1).all() else 0.5, np.array([1, 2]), draws=100)
    assert value == 0.5 and np.isnan(error)


# -- crossings ---------------------------------------------------------------------------------------------------------


def test_a_power_law_crosses_where_it_should():
    x = np.geomspace(1e-3, 1e6, 10)
    levels = np.array([0.01, 1.0, 100.0])
    for level in levels:
        assert crossing(x, 15 / x, level) == pytest.approx(15 / level, rel=1e-12)
    curves = np.array([[1.0], [2.0], [4.0]])[..., None] * np.stack([x**-1, x**2])  # (3, 2, n)
    expected = np.array([[1, 1], [2, 2**-0.5], [4, 0.5]])
    np.testing.assert_allclose(crossing(x, curves, 1.0), expected)


def test_crossing_of_all_sorts_of_curves():
    curves = [
        [1.0, 4.0, 16.0, 64.0, 256.0],  # on a point
        [5.0, 5.0, 5.0, 5.0, 5.0],  # never
        [1.0, 2.0, 8.0, 2.0, 8.0],  # three times: the first
        [4.0, 4.0, 4.0, 4.0, 4.0],  # always
        [np.nan, 2.0, 8.0, 9.0, 9.0],
        [1.0, np.nan, 8.0, 9.0, 2.0],  # the gap is no crossing
        [0.0, 8.0, 9.0, 9.0, 9.0],  # no logarithm
    ]
    expected = [8, np.nan, 8 * 2**0.5, 4, 8 * 2**0.5, np.exp(np.interp(np.log(4), np.log([2, 9]), np.log([64, 32])))]
    np.testing.assert_allclose(crossing(X, curves, 4.0), [*expected, np.nan])
    with pytest.raises(ValueError, match="is positive, .* got 0.$"):
        crossing(X, curves, 0)


# -- rank correlation --------------------------------------------------------------------------------------------------


def test_a_perfect_order_has_one_chance_in_all_permutations():
    for n in (3, 6, 8):
        x = np.arange(n)
        assert spearman(x, np.exp(x)) == pytest.approx((1, 1 / math.factorial(n)))
        assert spearman(x, -x) == pytest.approx((-1, 1))


def test_rho_and_p_are_those_of_scipy():
    rng = np.random.default_rng(1)
    for n, resamples in ((6, np.inf), (12, 3000)):
        x, y = rng.integers(0, 6, (2, n)) + np.arange(n)  # with ties
        expected = stats.permutation_test(
            (y,), lambda y, x=x: stats.spearmanr(x, y).statistic,
            permutation_type="pairings", alternative="greater", n_resamples=resamples, rng=0,
        )  # fmt: skip
        rho, p = spearman(x, y)
        assert rho == pytest.approx(expected.statistic)
        assert p == pytest.approx(expected.pvalue, abs=1e-12 if resamples == np.inf else 0.01)


def test_independent_values_have_uniform_p():
    rng = np.random.default_rng(0)
    p = [spearman(*rng.standard_normal((2, 9)), draws=400)[1] for _ in range(200)]
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_what_does_not_vary_has_no_correlation():
    assert np.isnan(spearman([1, 2, 3], [1, 1, 1])).all()
    assert np.isnan(spearman([1, 2, 3], [1, np.nan, 2])).all()
    with pytest.raises(ValueError, match="needs x .* and y"):
        spearman([1, 2, 3], [1, 2])


def test_a_point_at_the_end_of_a_window_is_in_it_whatever_the_rounding():
    x = np.array([1.0, 2.0, 520 / 400 - 1 + 3])  # 3.3000000000000003
    assert power_law(x, x[None] ** 2, (1.0, 3.3)).n_points == 3
    assert power_law(x, x[None] ** 2, (1.0, 3.29)).n_points == 2


def test_halves_give_the_error_of_a_mean():
    ratios = []
    for seed in range(30):
        table = xr.DataArray(np.random.default_rng(seed).standard_normal(40), dims="draw")
        value, error = over_halves(lambda some: some.mean(), table, "draw")
        assert value == pytest.approx(float(table.mean()))
        ratios.append(error / float(table.std(ddof=1) / np.sqrt(40)))
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_no_draws_no_error():
    value, error = bootstrap(np.mean, [1.0, 2.0, 6.0], draws=0)
    assert value == 3 and np.isnan(error)
