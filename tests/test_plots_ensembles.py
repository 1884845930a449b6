"""The figures of Section 3: what is drawn is what the tables say."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots, plots_ensembles, power_law

H = [4, 16, 64]
N = xr.DataArray([60.0, 432.0, 4800.0], dims="h", coords={"h": H})


def over_h(rows, **more):
    return xr.DataArray(np.array(rows, dtype=float), dims=("h", "seed"), coords={"h": H, **more})


def test_a_value_whose_sign_is_unsure_is_not_drawn(ax):
    value, error = (xr.DataArray(row, dims="h", coords={"h": H}) for row in ([0.3, 0.1, 0.1], [0.1, 0.01, 0.4]))
    fit = power_law(N.values, value.values[None], (60.0, 432.0))
    plots_ensembles.decaying(ax, N, {"lazy": (value, error)}, {"lazy": fit})
    drawn = ax.containers[0].lines[0].get_ydata()
    assert drawn[:2] == pytest.approx([0.3, 0.1]) and np.isnan(drawn[2])
    line = ax.lines[-1]
    assert line.get_xdata().tolist() == [60.0, 432.0] and line.get_ydata() == pytest.approx([0.3, 0.1])
    bars = ax.containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx([0.2, 0.4])
    plots_ensembles.kernel_fluctuation(ax, N, value)
    assert ax.lines[-1].get_ydata() == pytest.approx([0.3, 0.1, 0.1])


def test_single_nets_are_full_and_infinite_ensembles_dashed(ax):
    regimes = ["lazy", "feature"]
    errors = xr.DataArray(np.full((3, 2, 2), 0.2), dims=("h", "regime", "seed"), coords={"h": H, "regime": regimes})
    table = xr.Dataset({"test_error": errors}).assign_coords(h_star=("regime", [4.0, 16.0]))
    many = {regime: xr.DataArray([0.1, 0.1, 0.05], dims="h") for regime in regimes}
    plots_ensembles.without_a_second_descent(ax, table, many)
    lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
    assert [line.get_linestyle() for line in lines] == ["-", "--"] * 2
    assert lines[1].get_ydata().tolist() == [0.1, 0.1, 0.05]
    assert [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == ":"] == [4.0, 16.0]


def test_an_ensemble_starts_at_the_line_of_single_nets(ax):
    sizes = xr.DataArray([[0.3, 0.2], [0.2, np.nan], [0.1, 0.09]], dims=("h", "size"), coords={"h": H, "size": [1, 2]})
    plots_ensembles.budgets(ax, xr.Dataset({"error_of_size": sizes}), N, 16.0, [4, 64])
    narrow, wide, single, star = ax.lines
    assert narrow.get_xdata().tolist() == [60, 120] and narrow.get_ydata().tolist() == [0.3, 0.2]
    assert wide.get_ydata()[0] == single.get_ydata()[2] and single.get_xdata().tolist() == N.values.tolist()
    assert star.get_xdata()[0] == 432


def test_what_is_saved_is_a_share(ax):
    plots_ensembles.saved(ax, [16, 64], {"parameters": np.array([0.25, 0.1])})
    assert ax.lines[0].get_ydata() == pytest.approx([0.25, 0.1]) and ax.lines[0].get_xdata().tolist() == [16, 64]


def test_second_descent_and_noise(ax):
    columns = {"single": [1.0, 9.0, 0.5], "infinite": [0.9, 0.4, 0.3], "known": [0.9, 0.4, 0.3]}
    numbers = xr.Dataset({name: ("N", column) for name, column in columns.items()})
    plots_ensembles.second_descent(ax, np.array([0.5, 1.0, 2.0]), numbers)
    assert [line.get_label() for line in ax.lines[:3]] == ["one draw", "infinite ensemble", "known"]
    assert ax.get_yscale() == "log"
    s = np.array([0.1, 0.2, 0.4])
    fit = power_law(s, s[None] ** 2, (0.1, 0.4))
    noise = plots.subplots(1)[1][0]
    plots_ensembles.quadratic_cost(noise, s, {"feature": s**2}, {"feature": fit})
    assert noise.lines[0].get_label() == "feature, slope 2.00" and noise.lines[0].get_color() == plots.FEATURE


def test_regularisations_are_told_apart(ax):
    errors = over_h([[0.2, 0.4], [0.1, 0.1], [0.1, 0.3]])
    plots_ensembles.regularised(ax, {"to the end": errors, "stopped": errors / 2, "decay": errors / 4}, 16.0)
    drawn = [container.lines[0] for container in ax.containers]
    assert len({line.get_linestyle() for line in drawn}) == len({line.get_color() for line in drawn}) == 3
    assert drawn[1].get_ydata() == pytest.approx([0.15, 0.05, 0.1])
