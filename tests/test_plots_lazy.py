"""The figures of Section 4: what is drawn is what the tables say."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots, plots_lazy

A = [0.01, 1.0, 100.0]


@pytest.fixture
def ax():
    return plots.subplots(1)[1][0]


def test_lines_are_means_with_a_band_of_seeds(ax):
    values = xr.DataArray([[1.0, 0.3, 0.1], [3.0, 0.5, 0.3]], dims=("seed", "alpha_tilde"), coords={"alpha_tilde": A})
    plots_lazy.lines(ax, "alpha_tilde", {"one": values, "two": 2 * values}, guides={"two": -1.0})
    one, two, guide = ax.lines
    assert one.get_ydata() == pytest.approx([2.0, 0.4, 0.2]) and two.get_ydata() == pytest.approx([4.0, 0.8, 0.4])
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.1, 3.0)
    x, y = guide.get_data()
    assert np.diff(np.log(y)) / np.diff(np.log(x)) == pytest.approx(-1.0) and guide.get_linestyle() == ":"
    assert y[-1] == pytest.approx(1.6 * 0.4)
    assert one.get_color() != two.get_color() and one.get_marker() != two.get_marker()


def test_no_curve_is_dropped(ax):
    values = xr.DataArray([[1.0, 0.3, 0.1]], dims=("seed", "alpha_tilde"), coords={"alpha_tilde": A})
    plots_lazy.lines(ax, "alpha_tilde", {f"{i}": values * i for i in range(1, 8)})
    assert len(ax.lines) == 7


def test_a_loss_ends_where_its_run_does(ax):
    table = xr.Dataset(
        {"train_loss": (("t_max", "alpha_tilde"), [[0.9, 0.8], [0.5, 0.1], [0.2, 0.1]]),
         "N_delta": (("t_max", "alpha_tilde"), [[9, 8], [5, 0], [1, 0]]),
         "t_end": (("t_max", "alpha_tilde"), [[1.0, 1.0], [2.0, 1.5], [3.0, 1.5]])},
        coords={"t_max": [1.0, 2.0, 3.0], "alpha_tilde": [1.0, 1e4]},
    )  # fmt: skip
    plots_lazy.losses(ax, table)
    slow, fast = ax.lines
    assert slow.get_ydata().tolist() == [0.9, 0.5, 0.2]
    assert fast.get_ydata()[:2].tolist() == [0.8, 0.1] and np.isnan(fast.get_ydata()[2])
    assert fast.get_xdata()[1] == 1.5


def test_jamming_is_marked(ax):
    ratio = xr.DataArray([2.0, 0.5, 0.1], dims="h", coords={"h": [4, 8, 64]})
    plots_lazy.near_jamming(ax, ratio, 4.0)
    curve, star = ax.lines
    assert curve.get_ydata().tolist() == [2.0, 0.5, 0.1] and star.get_xdata()[0] == 4.0
