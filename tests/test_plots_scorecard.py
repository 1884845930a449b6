"""The drawing of the conclusion shows every number once, in the order of the chapters."""

import pandas as pd
import pytest

from lazyjam import plots, plots_scorecard


def test_deviations():
    numbers = pd.DataFrame(
        {"id": ["B-1", "A-1", "B-2"], "chapter": ["b", "a", "b"], "off": [4.0, -0.5, 0.2],
         "error": [0.1, 0.3, float("nan")], "verdict": ["not reproduced", "reproduced", "out of reach"]}
    )  # fmt: skip
    ax = plots.subplots()[1][0]
    plots_scorecard.deviations(ax, numbers, {"a": "Figure 1: one", "b": "Two words"})
    assert [label.get_text() for label in ax.get_xticklabels()] == ["A-1", "B-1", "B-2"]
    drawn = {bars.get_label(): bars.lines[0].get_xydata().tolist() for bars in ax.containers}
    assert drawn == {"reproduced (1)": [[0, -0.5]], "not reproduced (1)": [[1, 4.0]], "out of reach (1)": [[2, 0.2]]}
    (bar,) = ax.containers[0].lines[2][0].get_segments()
    assert bar[:, 1] == pytest.approx([-0.8, -0.2])
    assert [(text.get_text(), text.get_rotation()) for text in ax.texts] == [("Fig. 1", 90), ("Two words", 90)]


def test_names_of_chapters_are_broken_between_words_where_there_is_room():
    rows = [{"id": f"A-{i}", "chapter": "a", "off": 0.0, "error": 0.1, "verdict": "reproduced"} for i in range(6)]
    ax = plots.subplots()[1][0]
    plots_scorecard.deviations(ax, pd.DataFrame(rows), {"a": "Extraordinarily long words"})
    assert [(text.get_text(), text.get_rotation()) for text in ax.texts] == [("Extraordinarily\nlong words", 0)]
