"""What the figures of the question show is what was measured, and a network is drawn from its weights."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots, plots_paradoxes


def test_every_weight_is_a_link_and_every_neuron_a_node(ax):
    w = {"W1": np.array([[1.0, -0.1], [0.2, 0.3], [0.0, 2.0]]), "b1": np.zeros(3), "W2": np.array([[1.0, -2.0, 0.5]])}
    plots_paradoxes.network(ax, w)
    links = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    nodes = [line for line in ax.lines if line.get_marker() == "o"]
    assert len(links) == 6 + 3 and [len(line.get_xdata()) for line in nodes] == [2, 3, 1]
    assert [link.get_color() for link in links[:2]] == [plots.LAZY, plots.FEATURE]
    assert links[0].get_linewidth() > links[1].get_linewidth()
    assert links[1].get_xydata().tolist() == [[0, -0.5], [1, 1]], "from the second input to the first neuron"


def test_parameters_and_their_limit(ax):
    plots_paradoxes.parameters_by_width(ax, np.array([8, 16]), {1: np.array([1.0, 0.5]), 2: np.array([0.9, 0.7])})
    values, limit = ax.lines[2:]
    assert values.get_ydata().tolist() == [0.9, 0.7] and limit.get_ydata() == [0.5, 0.5]


def test_variances_and_scalings(ax):
    values = xr.DataArray([[[1.0, 1.2], [0.8, 1.0]]], dims=("h", "seed", "layer"), coords={"h": [8], "layer": [1, 2]})
    plots_paradoxes.variances(ax, values)
    assert [float(c.lines[0].get_ydata()[0]) for c in ax.containers] == pytest.approx([0.9, 1.1])
    ax.clear()
    names = ["1 / h", "1 / sqrt(h)", "1"]
    outputs = xr.DataArray([[[0.3, 0.4]], [[3.0, 4.0]], [[30.0, 40.0]]], dims=("scaling", "h", "seed"),
                           coords={"scaling": names, "h": [8]})  # fmt: skip
    plots_paradoxes.scalings(ax, outputs)
    rms = [line.get_ydata()[0] for line in ax.lines]
    assert rms == pytest.approx([12.5**0.5 / 10, 12.5**0.5, 12.5**0.5 * 10])


def test_curves_are_relative_to_their_first_point(ax):
    torus = xr.DataArray([[[0.4, 0.2], [0.6, 0.3]]], dims=("d", "seed", "P"), coords={"d": [2], "P": [10, 40]})
    images = xr.DataArray([[0.2, 0.05]], dims=("seed", "P"), coords={"P": [10, 40]})
    plots_paradoxes.curse(ax, torus, {"error": (images, plots.LAZY, "-")})
    grey, blue = ax.lines[:2]
    assert grey.get_ydata().tolist() == [1, 0.5] and blue.get_ydata().tolist() == [1, 0.25]


def test_losses_at_the_end_and_the_nets_that_fit(ax):
    dims = ("h", "seed")
    table = xr.Dataset({"train_loss": (dims, [[0.1, 0.2], [0.05, 1e-21]]), "N_delta": (dims, [[5, 6], [3, 0]]),
                        "certified": (dims, [[1, 0], [1, 0]])}, coords={"h": [2, 3]})  # fmt: skip
    plots_paradoxes.final_losses(ax, table, xr.DataArray([37.0, 61.0], dims="h", coords={"h": [2, 3]}))
    full, open_, fitted = (np.concatenate([line.get_ydata() for line in ax.lines[i::3]]) for i in range(3))
    assert full.tolist() == [0.1, 0.05] and open_.tolist() == [0.2] and fitted.tolist() == [plots_paradoxes.ZERO]
    assert [text.get_text() for text in ax.texts[:2]] == ["0%", "50%"]


def test_single_nets_ensembles_and_where_they_fit(ax):
    axes = {"alpha_tilde": [10.0], "h": [4, 8, 16], "seed": [0, 1]}
    table = xr.Dataset({"test_error": (tuple(axes), [[[0.2, 0.4], [0.3, 0.5], [0.1, 0.1]]])}, coords=axes)
    many = table.test_error.isel(seed=0, drop=True).copy(data=[[0.25, 0.2, 0.1]]).to_dataset(name="error")
    plots_paradoxes.beyond_the_fit(ax, table, many, xr.DataArray([8.0], dims="alpha_tilde"))
    assert ax.containers[0].lines[0].get_ydata() == pytest.approx([0.3, 0.4, 0.1])
    assert [0.25, 0.2, 0.1] in [list(line.get_ydata()) for line in ax.lines]


def test_errors_by_kind_of_labels(ax):
    tables = {name: xr.Dataset({"N_delta": ("seed", [0, 4]), "test_error": ("seed", [e, e])})
              for name, e in (("random", 0.5), ("images", 0.1))}  # fmt: skip
    plots_paradoxes.fitted_labels(ax, tables, 40)
    assert ax.lines[0].get_ydata().tolist() == [0, 0.1] and ax.lines[3].get_ydata().tolist() == [0.1, 0.1]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["random", "images"]


def test_a_slice_and_its_paths(ax):
    axis = np.linspace(-0.5, 1.5, 5)
    loss = np.broadcast_to(10.0 ** np.arange(-7, 3, 2), (5, 5))
    plots_paradoxes.slice_of_landscape(ax, axis, loss)
    plots_paradoxes.paths(ax)
    straight, bend, ends = ax.lines
    assert straight.get_xydata().tolist() == [[0, 0], [1, 0]] and bend.get_xydata()[1].tolist() == [0.5, 1]
    assert ax.collections[0].get_clim() == (-6, 2)


def test_barriers(ax):
    highest = xr.DataArray([[[1.0, 1e-8], [2.0, 1e-9]]], dims=("h", "seed", "path"), coords={"h": [8]})
    plots_paradoxes.barriers(ax, highest, xr.DataArray([241.0], dims="h", coords={"h": [8]}), 1e-6)
    assert ax.lines[0].get_ydata().tolist() == [1, 2] and ax.lines[1].get_ydata().tolist() == [1e-8, 1e-9]
