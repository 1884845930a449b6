"""What is known of the cells of the plane."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import Setup
from lazyjam.crossover import cells

NAN = np.nan


def test_cells():
    """Two widths at one scale: one net of the narrow pair was broken off, and the wide pair fits."""
    coords = {"h": [4, 16], "alpha_tilde": [1.0]}
    dims = ("h", "alpha_tilde", "seed")
    table = xr.Dataset({"N_delta": (dims, [[[20.0, NAN]], [[0.0, 0.0]]]),
                        "kernel_change": (dims, [[[1.0, 1.0]], [[0.1, 10.0]]])}, coords)  # fmt: skip
    ensembles = xr.Dataset({"error": (dims[:2], [[NAN], [0.2]]), "M": (dims[:2], [[0], [2]]),
                            "fluctuation": (dims[:2], [[NAN], [1.0]])}, coords)  # fmt: skip
    found = cells(table, ensembles, Setup(dataset="digits", P=50))
    assert set(found) == {"error", "M", "kernel_ratio", "nets", "unsatisfied", "dataset", "P"}
    assert found.nets.values.ravel().tolist() == [1, 2]
    assert found.unsatisfied.values.ravel() == pytest.approx([0.4, 0.0])
    assert found.kernel_ratio.values.ravel() == pytest.approx([NAN, 1.0], nan_ok=True)
    assert (found.dataset.item(), found.P.item()) == ("digits", 50)
