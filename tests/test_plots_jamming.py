"""Figure 7 and the figure of the chapter on jamming: what is drawn is what the tables say."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots_jamming, power_law

P = [100, 400]


@pytest.fixture
def bisected():
    """Two rounds at two P for two seeds: in the second round one search was over."""
    N = np.array([[[50.0, 50.0], [50.0, 50.0]], [[80.0, 30.0], [80.0, np.nan]]])
    N_delta = np.array([[[7.0, 0.0], [9.0, 0.0]], [[0.0, 3.0], [0.0, np.nan]]])
    dims, coords = ("round", "P", "seed"), {"P": P, "seed": [0, 1]}
    table = xr.Dataset({"N": (dims, N), "N_delta": (dims, N_delta)}, coords=coords)
    return table, xr.DataArray([[60.0, 40.0], [70.0, 50.0]], dims=("P", "seed"), coords=coords)


def test_every_net_of_a_bisection_is_a_dot_and_what_was_not_trained_is_none(bisected):
    table, N_star = bisected
    _, axes = plots_jamming.panels()
    plots_jamming.satisfiable(axes["A"], N_star, table)
    fitted, failed = axes["A"].lines
    assert sorted(fitted.get_ydata()) == [50, 50, 80, 80] and sorted(failed.get_ydata()) == [30, 50, 50]
    plots_jamming.jamming_line(axes["A"], N_star, "black", "N*")
    assert axes["A"].containers[0].lines[0].get_ydata().tolist() == [50, 60]
    plots_jamming.bound(axes["A"], xr.DataArray([0.5, 0.4], dims="P", coords={"P": P}), "black")
    assert axes["A"].lines[-1].get_ydata().tolist() == [200, 1000]


def test_minima_and_what_has_not_converged_are_told_apart():
    dims = ("P", "seed")
    table = xr.Dataset({
        "N_delta": (dims, [[0, 60], [80, 90]]), "certified": (dims, [[False, True], [False, True]]),
        "train_loss": (dims, [[1e-22, 1e-3], [2e-3, 3e-2]]),
    })  # fmt: skip
    _, axes = plots_jamming.panels()
    plots_jamming.contacts_at_the_end(axes["B"], table, 100)
    minima, lost, fitted = axes["B"].lines[:3]
    assert [y for y in minima.get_ydata() if y == y] == [0.6, 0.9]
    assert [y for y in lost.get_ydata() if y == y] == [0.8]
    assert fitted.get_label() == "fitted, 1 nets" and fitted.get_ydata().tolist() == [0]


def test_the_spectrum_adds_up_to_one():
    values = np.concatenate([np.zeros((2, 3)), np.array([[1e-4, 1.0], [4.0, 100.0]])], axis=1)
    _, axes = plots_jamming.panels()
    plots_jamming.spectrum_at_jamming(axes["C"], values, 1e-10)
    bar, steps = axes["C"].patches[1], axes["C"].patches[0]
    heights, edges = steps.get_data().values, steps.get_data().edges
    assert bar.get_height() == pytest.approx(0.6)
    assert (heights * np.diff(np.log10(edges))).sum() + bar.get_height() == pytest.approx(1)


def test_power_laws_are_drawn_where_they_were_fitted():
    N = np.array([100.0, 200.0, 400.0, 3200.0, 6400.0])
    square = 5 * N**-0.5
    far = power_law(N, np.stack([square, square]), (3000, 1e9))
    _, axes = plots_jamming.panels()
    plots_jamming.fluctuations(axes["D"], N, xr.DataArray(square, dims="h"), 100.0, far)
    dots, line = axes["D"].lines[:2]
    np.testing.assert_allclose(dots.get_ydata(), square)
    np.testing.assert_allclose(line.get_ydata(), 5 * line.get_xdata() ** -0.5, rtol=1e-9)
    assert line.get_xdata()[0] == 3000 and line.get_xdata()[-1] == pytest.approx(6400)


def test_the_figure_of_the_chapter():
    _, axes = plots_jamming.panels()
    delta = np.array([-0.5, 1e-7, 2e-7, -0.1])
    plots_jamming.isostatic(axes["A"], [delta], 2)
    assert axes["A"].lines[0].get_ydata().tolist() == [2e-7, 1e-7, 0.1, 0.5]
    assert axes["A"].lines[0].get_xdata().tolist() == [0.5, 1, 1.5, 2]
    x, norms = np.array([0.1, 0.2, 0.4]), np.array([[40.0, 20.0, 10.0]] * 2)
    fit = power_law(x, norms, (0.1, 0.4))
    plots_jamming.two_divergences(axes["B"], (x, norms, fit), (x, norms**0.5, fit), 1 / norms[0])
    assert axes["B"].lines[0].get_ydata() == pytest.approx([4, 2, 1])
    assert axes["B"].lines[0].get_label() == "classification, slope -1.00"
    assert axes["B"].lines[-1].get_ydata() == pytest.approx([4, 2, 1])
    full = xr.Dataset({"rms_output": (("P", "seed"), [[1.0, 4.0], [9.0, 9.0]])}, coords={"P": P})
    plots_jamming.regularised(axes["C"], {"to the end": full, "stopped early": full / 2}, 400.0)
    assert axes["C"].lines[0].get_ydata() == pytest.approx([2, 9])
    assert axes["C"].lines[1].get_ydata() == pytest.approx([1, 4.5])


def test_landau_line_goes_through_the_means():
    N_star = xr.DataArray([[50.0, 70.0], [80.0, 80.0], [np.nan, np.nan]], dims=("margin", "seed"),
                          coords={"margin": [0.0, 0.1, 0.2]})  # fmt: skip
    _, axes = plots_jamming.panels()
    plots_jamming.landau(axes["C"], N_star)
    line = axes["C"].lines[-1]
    assert line.get_xdata().tolist() == [0.0, 0.1] and line.get_ydata() == pytest.approx([60, 80])
