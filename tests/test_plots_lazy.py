"""The figures of Section 4: what is drawn is what the tables say."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots_lazy, power_law

A = [0.01, 1.0, 100.0]


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


def test_errors_and_regimes(ax):
    error = xr.DataArray([0.3, 0.2, 0.25], dims="alpha_tilde", coords={"alpha_tilde": A})
    plots_lazy.errors_by_scale(ax, error, 0.1 * error, error + 0.1)
    plots_lazy.shade_regimes(ax, 10.0)
    bars = ax.containers[0]
    assert bars.lines[0].get_ydata().tolist() == [0.3, 0.2, 0.25]
    assert bars.lines[2][0].get_segments()[0][:, 1] == pytest.approx([0.27, 0.33])
    left, right = ax.patches
    assert left.get_x() + left.get_width() == pytest.approx(10.0) and right.get_x() == pytest.approx(10.0)
    assert [text.get_text() for text in ax.texts] == ["feature", "lazy"]
    before = len(ax.patches)
    plots_lazy.shade_regimes(ax, np.nan)
    assert len(ax.patches) == before, "a border that is not there is not drawn"


def test_learning_curves_with_their_fits_and_guides(ax):
    P = [100, 200, 400]
    rows = {"feature": -0.5, "lazy": -0.2}
    error = xr.DataArray([[[0.3 * (n / 100) ** slope * s for s in (0.9, 1.1)] for n in P] for slope in rows.values()],
                         dims=("regime", "P", "seed_data"), coords={"regime": [*rows], "P": P})  # fmt: skip
    fits = {regime: power_law(P, error.sel(regime=regime).values.T, (100, 400)) for regime in rows}
    plots_lazy.learning_curves(ax, error, fits, {"feature": -1 / 2, "lazy": -1 / 3})
    points = ax.containers[0].lines[0]
    assert points.get_ydata() == pytest.approx([0.3, 0.3 * 2**-0.5, 0.15])
    full, dotted = (line for line in ax.lines[-2:])
    assert full.get_ydata() == pytest.approx(0.3 * np.array([1, 2, 4]) ** -0.2)
    assert dotted.get_ydata() == pytest.approx(0.3 * np.array([1, 2, 4]) ** (-1 / 3))
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == [r"feature, $\beta=0.50$", r"lazy, $\beta=0.20$"]
