"""What Figure 3 shows is what was measured."""

import numpy as np
import pytest
import torch
import xarray as xr

from lazyjam import plots_width
from lazyjam.infinite_width import Patch


def test_the_manifold_is_drawn_above_its_plane(ax):
    s, t = torch.meshgrid(torch.linspace(-1, 1, 5).double(), torch.linspace(-1, 1, 5).double(), indexing="ij")
    flat = torch.stack([s, t, s + t], dim=2)[None]
    solid = plots_width.manifold(ax, Patch(flat + 0.3 * torch.tensor([0.0, 0.0, 1.0]) * (s**2)[None, :, :, None], flat))
    lines = np.array(solid.collections[1]._segments3d)
    assert lines[..., 2].min() == pytest.approx(0) and lines[..., 2].max() == pytest.approx(0.3)
    assert lines[..., 2] == pytest.approx(0.3 * lines[..., 0] ** 2)
    assert solid.name == "3d" and ax.figure is None


def test_the_density_counts_the_neurons_of_the_wide_net(ax):
    wide = xr.DataArray(np.random.default_rng(0).normal(size=(1000, 4)), dims=("neuron", "number"))
    plots_width.density(ax, wide, wide[:7])
    mesh, dots = ax.collections
    assert 980 < np.asarray(mesh.get_array()).sum() <= 1000
    assert np.asarray(dots.get_offsets()) == pytest.approx(wide.values[:7, :2])


def test_a_predictor_its_linearisation_and_the_training_points_are_drawn(ax):
    x, both = np.linspace(-1, 1, 5), xr.DataArray([[1.0, 2, 3, 4, 5], [5.0, 4, 3, 2, 1]], dims=("which", "pixel"))
    plots_width.over_line(ax, x, both, (np.array([-0.5, 0.5]), np.array([-1.0, 1.0])))
    start, f, linear, points = ax.lines
    assert list(start.get_ydata()) == [0, 0] and list(f.get_xdata()) == list(x)
    assert list(f.get_ydata()) == [1, 2, 3, 4, 5] and list(linear.get_ydata()) == [5, 4, 3, 2, 1]
    assert list(points.get_ydata()) == [-1, 1]
