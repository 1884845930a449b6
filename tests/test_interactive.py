"""Pictures that can be scrubbed: the frames hold what was measured, and no other host is asked for a script."""

import re

import numpy as np
import pytest
import xarray as xr

from lazyjam import interactive


def test_a_film_of_neurons():
    x, y = np.array([[1.0, 2.0], [-3.0, 0.0]]), np.array([1.0, -1.0])
    first, last = [[1, 0, 0, 2], [0, 1, 0, 1]], [[4, 0, 0, -3], [0, 1, 0, 1]]
    story = xr.DataArray(np.array([first, last, np.full((2, 4), np.nan)], dtype=float),
                         dims=("level", "neuron", "number"), coords={"level": [1.0, 0.1, 0.01]})  # fmt: skip
    film = interactive.neurons(x, y, story)
    assert [frame.name for frame in film.figure.frames] == ["1", "0.1"], "what was not reached is left out"
    one, two = (frame.data[0] for frame in film.figure.frames)
    assert list(one.x) == [3, 0] and list(one.y) == [0, 1.5]
    assert list(two.x) == pytest.approx([3, 0]) and list(two.y) == pytest.approx([0, 0.25])
    assert list(film.figure.data[2].x) == [3, 0] and len(film.figure.layout.sliders[0].steps) == 2
    bundle = film._repr_mimebundle_()
    assert bundle["text/plain"] == "Interactive('neurons')"
    assert re.findall(r'src="([^"]*)"', bundle["text/html"]) == [interactive.PLOTLY]
    assert 'id="plotly-neurons"' in bundle["text/html"] and "http" not in bundle["text/html"]


def test_surfaces_to_turn():
    axis = np.linspace(-0.5, 1.5, 41)
    loss = np.full((41, 41), 1e-12)
    loss[:, 20:] = 100.0
    shown = interactive.landscapes({"h = 3": (axis, loss), "h = 12": (axis, loss.T)})
    one, two = shown.figure.data
    assert np.array(one.z)[0, [0, 40]].tolist() == [-3, 1] and np.array(two.z)[[0, 40], 0].tolist() == [-3, 1]
    assert list(one.x) == list(one.y) == axis.round(3).tolist()
    assert len(shown._repr_mimebundle_()["text/html"]) < 60_000
