"""Pictures that can be scrubbed: the frames hold what was measured, and no other host is asked for a script."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from lazyjam import interactive

FIGURES = Path(__file__).parent.parent / "figures"


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
    assert bundle["text/html"] == film.html() and bundle["application/vnd.plotly.v1+json"]["frames"]
    assert 'id="plotly-neurons"' in film.html() and "http" not in film.html()


H, ALPHA = [4, 16, 64], [0.1, 10.0, 1000.0]


@pytest.fixture
def cells():
    """Two data sets; the narrowest net fits nowhere, and the kernel changes by 100 / alpha_tilde where it is known."""
    rows = [
        {"h": h, "alpha_tilde": a, "error": np.nan if h == 4 else 0.1 + h / 1000, "M": 0 if h == 4 else 9,
         "kernel_ratio": np.nan if h == 4 else 100 / a, "nets": 10, "unsatisfied": 0.25 if h == 4 else 0.001,
         "dataset": dataset, "P": 500} for dataset in ("mnist", "cifar10") for h in H for a in ALPHA
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_every_cell_says_its_numbers(cells):
    figure = interactive.phase_diagram(cells).figure
    left, right = figure.data[:2]
    assert (left.visible, right.visible) == (True, False)
    assert left.text[1][2].split("<br>") == [
        "h = 64, α̃ = 10, P = 500", "9 of 10 nets fit", "test error of their mean: 16.4%", "change of the kernel: 10",
        "unsatisfied: 0.1% of the images",
    ]  # fmt: skip
    assert left.text[0][0].split("<br>")[1:] == [
        "0 of 10 nets fit", "no mean, because fewer than half fit", "unsatisfied: 25.0% of the images"
    ]  # fmt: skip
    assert [list(row) for row in left.z] == [[None, 0.116, 0.164]] * 3
    assert left.x[1] == pytest.approx(8.0) and left.y[1] == pytest.approx(1.0)


def test_the_menus_choose_what_is_seen(cells):
    figure = interactive.phase_diagram(cells).figure
    data_sets, observables = figure.layout.updatemenus
    assert [button.label for button in data_sets.buttons] == ["MNIST", "CIFAR-10"]
    assert data_sets.buttons[1].args[0]["visible"] == [False, True] * 3
    shown = {button.label: button.args[0] for button in observables.buttons}
    assert set(shown) == {"test error", "kernel change", "unsatisfied"}
    change, left = shown["kernel change"], shown["unsatisfied"]
    assert change["z"][0][0] == [None, 3.0, 3.0] and change["z"][0][2] == pytest.approx([None, -1.0, -1.0])
    assert (change["zmin"][0], change["zmax"][0]) == (-3.0, 3.0), "one is in the middle"
    assert left["z"][1][0] == [0.25, 0.001, 0.001]


def test_what_was_not_run_is_grey_and_says_so(cells):
    cells.loc[0, ["error", "kernel_ratio", "unsatisfied"]], cells.loc[0, ["M", "nets"]] = np.nan, 0
    figure = interactive.phase_diagram(cells).figure
    assert figure.data[0].text[0][0].endswith("<br>not run, or broken off")
    grey = figure.data[2]
    assert [one for row in grey.z for one in row].count(0) == 1 and grey.z[0][0] == 0
    assert {colour for _, colour in grey.colorscale} == {interactive.UNKNOWN}
    assert not any(one == 0 for row in figure.data[3].z for one in row)


def test_the_line_is_the_cross_over(cells):
    line = interactive.phase_diagram(cells).figure.data[4]
    assert list(line.x) == H and list(line.y) == pytest.approx([None, 100.0, 100.0])


def test_the_map_of_the_book_has_the_numbers_of_its_table():
    cells = pd.read_csv(FIGURES / "fig04_phase_diagram.csv")
    figure = interactive.phase_diagram(cells).figure
    said = [text for heat in figure.data[:2] for row in heat.text for text in row]
    assert len(said) == len(cells)
    for cell in cells.itertuples():
        parts = [f"h = {cell.h}, α̃ = {cell.alpha_tilde:g}, P = {cell.P}", f"{cell.M} of {cell.nets} nets fit",
                 f"test error of their mean: {cell.error:.1%}", f"change of the kernel: {cell.kernel_ratio:.2g}",
                 f"unsatisfied: {cell.unsatisfied:.1%} of the images"]  # fmt: skip
        if np.isnan(cell.error):
            parts[2:4] = ["no mean, because fewer than half fit"]
        if not cell.nets:
            parts[1:] = ["not run, or broken off"]
        assert "<br>".join(parts) in said


def test_the_script_is_loaded_on_demand_only(cells):
    html = interactive.phase_diagram(cells).html()
    assert re.findall(r'\bsrc\s*=\s*"([^"]*)"', html) == [interactive.PLOTLY], "set by the click, not in a tag"
    assert "<script src" not in html and "http" not in html and html.count("</script>") == 1
    figure = json.loads(re.search(r"figure = (\{.*\});\n", html)[1])
    assert figure["data"][0]["text"][1][2].startswith("h = 64")


def test_surfaces_to_turn():
    axis = np.linspace(-0.5, 1.5, 41)
    loss = np.full((41, 41), 1e-12)
    loss[:, 20:] = 100.0
    shown = interactive.landscapes({"h = 3": (axis, loss), "h = 12": (axis, loss.T)})
    one, two = shown.figure.data
    assert np.array(one.z)[0, [0, 40]].tolist() == [-3, 1] and np.array(two.z)[[0, 40], 0].tolist() == [-3, 1]
    assert list(one.x) == list(one.y) == axis.round(3).tolist()
    assert len(shown._repr_mimebundle_()["text/html"]) < 60_000
