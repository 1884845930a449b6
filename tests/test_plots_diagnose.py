"""The map of one's own networks: what is drawn is what the diagnoses say."""

from dataclasses import replace

import numpy as np
import pytest

from lazyjam import plots_diagnose
from lazyjam.diagnosis import Diagnosis
from lazyjam.plots import FEATURE, JAMMED, LAZY

FITS = Diagnosis(
    N=1000, P=100, margin=1.0, kernel_change=np.array([0.1, 0.2]), N_delta=np.zeros(2, int),
    test_error=np.array([0.05, 0.07]), ensemble_error=0.04, gain=np.array([0.02, 0.01]),
    fluctuation=np.array([0.3, 0.1]),
)  # fmt: skip
NARROW = replace(FITS, N=100, N_delta=np.array([30, 40]), kernel_change=np.array([20.0, 30.0]))
NETS = {"wide": FITS, "narrow": NARROW, "own": replace(FITS, N=2000, kernel_change=np.array([5.0, 6.0]))}


def test_every_net_is_a_point_in_the_colour_of_its_regime(ax):
    plots_diagnose.in_the_map(ax, NETS)
    points = [(line.get_color(), line.get_ydata().tolist()) for line in ax.lines[:3]]
    assert points == [(LAZY, [0.1, 0.2]), (JAMMED, [20, 30]), (FEATURE, [5, 6])]
    fits, narrow, own = (line.get_xdata() for line in ax.lines[:3])
    assert narrow.tolist() == [0.3, 0.4]
    assert fits[0] == fits[1] < own[0] == own[1] and abs(fits[0]) < 0.01 > abs(own[0]), "side by side within a pattern"
    assert len({line.get_marker() for line in ax.lines[:3]}) == 3
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["lazy", "jammed", "feature"]
    assert [text.get_text() for text in ax.texts] == list(NETS)
    assert ax.get_xlim()[0] < 0 and ax.get_xlim()[1] > 0.4 and ax.get_xscale() == "symlog"
    assert ax.lines[-1].get_ydata() == [1, 1], "the cross-over"


def test_errors_of_nets_and_of_their_ensembles(ax):
    plots_diagnose.errors(ax, NETS)
    one, many = (bars.lines[0] for bars in ax.containers)
    assert one.get_xdata().tolist() == [100, 1000, 2000] and one.get_ydata() == pytest.approx([0.06] * 3)
    assert many.get_ydata() == pytest.approx([0.04] * 3) and many.get_linestyle() == "--"
    assert [segment[:, 1].tolist() for segment in ax.containers[1].lines[2][0].get_segments()][0] == [0.03, 0.05]
    (shade,) = ax.patches
    assert 100 < shade.get_x() + shade.get_width() < 1000, "the nets that do not fit are shaded"


@pytest.mark.parametrize(
    ("missed", "first", "last"),
    [((), 0, 0), ((110,), 0, 0), ((100, 120), 100, 110), ((100, 110), 110, 120), ((100, 110, 120), 120, 999)],
)
def test_shaded_up_to_the_first_size_that_fits(ax, missed, first, last):
    nets = {f"{N}": replace(NARROW if N in missed else FITS, N=N) for N in (120, 100, 110)}
    plots_diagnose.errors(ax, nets)
    edges = [shade.get_x() + shade.get_width() for shade in ax.patches]
    assert len(edges) == (first > 0) and all(first < edge < last for edge in edges)


def test_a_row_for_every_net():
    table = plots_diagnose.rows({"1": NARROW, "8": FITS})
    assert table.N_delta.tolist() == [30, 40, 0, 0] and table.nets.tolist() == ["1", "1", "8", "8"]
    assert table.regime.tolist() == ["jammed", "jammed", "lazy", "lazy"]
