"""Figures: the same bytes on every run, and what is drawn is what the table says."""

import re

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots, power_law

H, SCALES = [4, 8, 16], [1.0, 10.0, 100.0, 1e3]


@pytest.fixture
def tables():
    rng = np.random.default_rng(1)
    dims, coords = ("h", "alpha_tilde", "seed"), {"h": H, "alpha_tilde": SCALES}
    N_delta = np.zeros((3, 4, 4))
    N_delta[0] = 9
    N_delta[1, :, 0] = 2
    change = (30 / np.array(SCALES))[None, :, None] * rng.lognormal(0, 0.1, (3, 4, 4))
    budgets = np.stack([N_delta, N_delta, N_delta], axis=-1)
    table = xr.Dataset(
        {"N_delta": (dims, N_delta), "N_delta_at": ((*dims, "budget"), budgets), "kernel_change": (dims, change),
         "test_error": (dims, rng.uniform(0.1, 0.2, (3, 4, 4)))}, coords=coords)
    error = np.full((3, 4), 0.1)
    error[0] = np.nan
    means = xr.Dataset({"error": (dims[:2], error), "M": (dims[:2], (N_delta == 0).sum(-1))}, coords=coords)
    return table, means


def draw(tables, folder):
    figure, (ax, bx, cx) = plots.subplots(3)
    plots.phase_diagram(ax, *tables, cuts=(10.0,))
    plots.double_descent(bx, tables[0].isel(alpha_tilde=[0, 1]), tables[1].isel(alpha_tilde=[0, 1]))
    plots.kernel_change(cx, tables[0], against="alpha")
    plots.save(figure, folder, "some", plots.rows(tables[1]))
    return ax, bx


def test_coordinates_of_a_drawing_are_short(tables, tmp_path):
    draw(tables, tmp_path)
    paths = re.findall(r' d="([^"]*)"', (tmp_path / "some.svg").read_text())
    assert len(paths) > 50 and not [path for path in paths if re.search(r"\.\d{3}", path)]


def test_same_bytes(tables, tmp_path):
    for name in ("one", "two"):
        draw(tables, tmp_path / name)
    for suffix in ("svg", "png", "csv"):
        first, second = ((tmp_path / name / f"some.{suffix}").read_bytes() for name in ("one", "two"))
        assert first == second and len(first) > 100


def test_the_map_shows_jammed_cells_hatched_cells_and_the_crossover(tables, tmp_path):
    ax, bx = draw(tables, tmp_path)
    mesh = ax.collections[0].get_array()
    assert mesh.mask[:, 0].all() and not mesh.mask[:, 1:].any()
    assert sum(patch.get_hatch() is not None for patch in ax.patches) == 4  # the width at which one seed failed
    assert [text.get_text() for text in ax.texts].count("3") == 4  # and three fit
    full = [line for line in ax.lines if line.get_color() == plots.JAMMED and line.get_linestyle() == "-"]
    assert np.allclose([line.get_ydata()[1:] for line in full], 30, rtol=0.3)
    assert len(bx.get_legend().get_texts()) == 4


def test_what_was_not_run_is_grey(tables, ax):
    table, means = tables
    table.N_delta[0, :2], table.N_delta_at[0, :2], means.M[0, :2] = np.nan, np.nan, 0
    plots.phase_diagram(ax, table, means)
    grey = ax.collections[1]
    assert np.argwhere(~grey.get_array().mask).tolist() == [[0, 0], [1, 0]], "scale by width"
    assert grey.get_cmap()(0.0) == plots.to_rgba(plots.UNKNOWN) and len(ax.patches) == 4
    star = [line.get_xdata() for line in ax.lines if line.get_label() == plots.BUDGET_LINES[-1][0]][0]
    assert np.isnan(star[:4]).all() and np.isfinite(star[4:]).all(), "nothing is known of the next narrower width"


def test_what_a_trend_in_P_shows(tmp_path):
    sizes, star = [100, 200, 400], np.array([[4.0, 8.0], [8.0, 12.0], [8.0, 16.0]])
    samples = np.array([[16.0, 8.0, 4.0], [16.1, 8.1, 4.1]])
    fit = power_law(sizes, samples, window=(100, 400))
    figure, (ax, bx) = plots.subplots(2)
    coords = {"P": sizes, "alpha_tilde": [1.0, 1e4]}
    plots.jamming_trend(ax, xr.DataArray(star, dims=tuple(coords), coords=coords))
    plots.learning_curve(bx, sizes, samples, fit, beyond=(800, 2.1, 0.1))
    figure.savefig(tmp_path / "some.svg")
    assert np.array_equal([line.get_ydata() for line in ax.lines], star.T)
    said = [text.get_text() for text in ax.get_legend().get_texts()]
    assert said == [r"$\tilde\alpha = 1$", r"$\tilde\alpha = 10^{4}$"]
    assert np.isclose(bx.lines[-1].get_ydata()[-1], 2, rtol=0.05)  # 1/P from 4 at 400 to 800


def test_csv_holds_the_numbers(tables, tmp_path):
    draw(tables, tmp_path)
    lines = (tmp_path / "some.csv").read_text().strip().split("\n")
    assert len(lines) == 13 and "error" in lines[0]
