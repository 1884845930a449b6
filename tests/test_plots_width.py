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
