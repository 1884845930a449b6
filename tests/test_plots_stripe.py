"""What the figures of Section 5 show is what was measured."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots_stripe, power_law, watched

P = [100, 200, 400]


def curves(slope: float, **coords) -> xr.DataArray:
    values = [[0.3 * (n / 100) ** slope * s for n in P] for s in (0.9, 1.1)]
    return xr.DataArray(values, dims=("seed_data", "P"), coords={"P": P, **coords})


def line(values: xr.DataArray):
    return power_law(P, values.values, (P[0], P[-1]))


def test_neurons_reach_the_edge_of_the_data(ax):
    x, y = np.array([[1.0, 2.0], [-3.0, 0.0]]), np.array([1.0, -1.0])
    story = xr.DataArray(np.array([[[1, 0, 0, 2], [0, 1, 0, 1]], [[4, 0, 0, -3], [0, 1, 0, 1]]], dtype=float),
                         dims=("level", "neuron", "number"), coords={"level": [1.0, 0.1]})  # fmt: skip
    plots_stripe.neurons(ax, x, y, story, [1.0, 0.1])
    plus, minus, first, last = (points.get_offsets() for points in ax.collections)
    assert plus.tolist() == [[1, 2]] and minus.tolist() == [[-3, 0]]
    assert np.asarray(first).tolist() == [[3, 0], [0, 1.5]]
    assert np.asarray(last).tolist() == [[3, 0], [0, 0.25]]


def test_learning_curves_and_their_exponents(ax):
    errors = {"net": curves(-0.7), "kernel at the start": curves(-0.4)}
    plots_stripe.learning_curves(ax, errors, {name: line(error) for name, error in errors.items()})
    assert ax.containers[0].lines[0].get_ydata() == pytest.approx([0.3, 0.3 * 2**-0.7, 0.3 * 4**-0.7])
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == [r"net, $\beta=0.70$", r"kernel at the start, $\beta=0.40$"]


def test_a_number_against_P(ax):
    plots_stripe.against_P(ax, curves(0.4), line(curves(0.4)), 0.5, "y")
    fit, guide = ax.lines[-2:]
    assert fit.get_ydata() == pytest.approx([0.3, 0.3 * 2**0.4, 0.3 * 4**0.4])
    assert guide.get_ydata()[-1] / guide.get_ydata()[0] == pytest.approx(2)


def test_dimensions_and_local_exponents(ax):
    error = xr.concat([curves(-0.5), curves(-0.4)], xr.Variable("d", [2, 5]))
    fits = {d: line(error.sel(d=d)) for d in (2, 5)}
    plots_stripe.by_dimension(ax, error, fits)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [r"$d=2$, $\beta=0.50$", r"$d=5$, $\beta=0.40$"]
    ax.clear()
    plots_stripe.local_exponents(ax, P, fits, {2: 0.5, 5: 0.38})
    measured, expected = ax.lines[2:]
    assert measured.get_xdata() == pytest.approx([100 * 2**0.5, 200 * 2**0.5])
    assert measured.get_ydata() == pytest.approx([0.4, 0.4]) and expected.get_ydata() == [0.38, 0.38]


def test_errors_against_the_factor(ax):
    factors = np.array([1.0, 2.0, 4.0, 8.0])
    error = xr.DataArray([0.1 * factors**-0.5 * s for s in (0.9, 1.1)], dims=("seed_data", "factor"))
    fit = power_law(factors, error.values, (1, 4))
    plots_stripe.against_factor(ax, factors, error, fit, -0.6)
    line, guide = ax.lines[-2:]
    assert line.get_xdata().tolist() == [1, 4] and line.get_ydata() == pytest.approx([0.1, 0.05])
    assert guide.get_ydata()[-1] / guide.get_ydata()[0] == pytest.approx(8**-0.6)


def test_a_predictor_in_the_plane(ax):
    f = watched.grid()[:, 0].numpy() - 1.0  # zero at x_1 = 1
    x, y = np.array([[1.0, 2.0], [-2.0, 0.0], [0.5, 0.5]]), np.array([1.0, -1.0, -1.0])
    plots_stripe.predictor(ax, f, x, y)
    (colour,), (zero, plus, minus) = ax.images, ax.collections
    assert colour.get_array().min() == -2 and colour.get_array().max() == pytest.approx(2)
    (border,) = zero.get_paths()
    assert border.vertices[:, 0] == pytest.approx(1.0)
    assert plus.get_offsets().tolist() == [[1, 2]] and minus.get_offsets().tolist() == [[-2, 0], [0.5, 0.5]]


def test_a_number_along_the_flow_ends_where_the_run_fits(ax):
    axes = {"alpha_tilde": [0.1, 1000.0], "t_max": [1.0, 10.0, 100.0]}
    table = xr.Dataset({"N_delta": (tuple(axes), [[5, 0, 0], [9, 7, 0]]),
                        "t_end": (tuple(axes), [[1, 3, 3], [1, 10, 70]]),
                        "loss": (tuple(axes), [[0.5, 0.1, 0.1], [0.9, 0.4, 0.2]])}, coords=axes)  # fmt: skip
    plots_stripe.along_the_flow(ax, table, "loss", "loss")
    feature, lazy = ax.lines
    np.testing.assert_array_equal(feature.get_ydata(), [0.5, 0.1, np.nan])
    np.testing.assert_array_equal(lazy.get_xdata(), [1, 10, 70])


def test_ranks(ax):
    values = xr.DataArray(np.arange(12.0).reshape(2, 2, 3), dims=("seed", "when", "rank"))
    plots_stripe.by_rank(ax, values, label="y")
    start, end = ax.lines
    assert start.get_ydata().tolist() == [3, 4, 5] and end.get_ydata().tolist() == [6, 7, 8]
    assert start.get_xdata().tolist() == [1, 2, 3]
