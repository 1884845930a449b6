"""A packing in its box: what is drawn is what can be seen."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import plots_packings


def test_only_what_reaches_into_the_box_is_drawn(ax):
    """Two disks that touch; one reaches over the left border, and its image comes in on the right."""
    packing = xr.Dataset({"x": (("particle", "axis"), [[0.1, 0.5], [0.3, 0.5]]), "theta": ("particle", [0.0, 0.0]),
                          "a": ("particle", [0.12, 0.12]), "aspect": 1.0, "phi": 0.1})  # fmt: skip
    plots_packings.configuration(ax, packing, plots_packings.DISKS)
    centres = np.concatenate([one.get_offsets() for one in ax.collections])
    assert centres[:, 1] == pytest.approx(0.5) and sorted(centres[:, 0]) == pytest.approx([0.1, 0.3, 1.1])
    pieces = np.concatenate([line.get_xydata() for line in ax.lines])
    assert len(pieces) == 3 and sorted(pieces[:2, 0]) == pytest.approx([0.1, 0.3]) and np.isnan(pieces[2]).all()
