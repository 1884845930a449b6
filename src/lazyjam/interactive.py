"""What a reader can scrub: the only module that imports plotly. Each picture has a static one beside it, for print."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from .plots import FEATURE
from .plots_stripe import MINUS, PLUS, arrows

PLOTLY = "_static/plotly/plotly.min.js"  # where the book keeps the script; a page that shows a picture loads it


class Interactive:
    """A plotly figure as a notebook shows it: as a part of a page that loads PLOTLY, or for JupyterLab as its JSON."""

    def __init__(self, figure: Any, name: str):
        self.figure, self.name = figure, name

    def __repr__(self) -> str:
        return f"Interactive({self.name!r})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        how = dict(full_html=False, include_plotlyjs=False, auto_play=False, div_id=f"plotly-{self.name}")
        page = self.figure.to_html(config={"displayModeBar": False, "responsive": True}, **how)
        return {
            "text/plain": repr(self), "text/html": f'<script src="{PLOTLY}"></script>\n{page}',
            "application/vnd.plotly.v1+json": self.figure.to_plotly_json(),
        }  # fmt: skip


def neurons(x: np.ndarray, y: np.ndarray, story: xr.DataArray) -> Interactive:
    """The left panel of Fig. 9 as a film: weights W1 of the neurons times |W2| over the data, by the loss.

    x (P, 2), y (P,) of +-1. story: over level, neuron and number, see `watched.neurons_by_loss`. Losses that were not
    reached are left out.
    """
    from plotly import graph_objects as go  # here, because it costs half a second of every start

    edge = float(np.abs(x).max())
    dots = [
        go.Scatter(x=x[y == label, 0].round(3), y=x[y == label, 1].round(3), mode="markers", name=f"y = {label:+d}",
                   marker=dict(color=colour, size=4, symbol=symbol), hoverinfo="skip")
        for label, colour, symbol in ((1, PLUS, "circle"), (-1, MINUS, "x-thin-open"))
    ]  # fmt: skip
    frames = []
    for level in story.level.values[~np.isnan(story[:, 0, 0])]:
        w = arrows(story.sel(level=level), x).round(3)
        moving = go.Scatter(x=w[:, 0], y=w[:, 1], mode="markers", name="neurons", marker=dict(color=FEATURE, size=5),
                            hoverinfo="skip")  # fmt: skip
        frames.append(go.Frame(data=[moving], traces=[2], name=f"{level:g}"))
    at_once = dict(mode="immediate", frame=dict(duration=0))
    steps = [dict(method="animate", label=frame.name, args=[[frame.name], at_once]) for frame in frames]
    axis = dict(range=[-1.05 * edge, 1.05 * edge], zeroline=False, fixedrange=True, constrain="domain")
    layout = go.Layout(
        template="plotly_white", height=460, margin=dict(l=50, r=10, t=10, b=10), legend=dict(orientation="h", y=1.08),
        xaxis=dict(title="informative direction", **axis),
        yaxis=dict(title="the other direction", scaleanchor="x", **axis),
        sliders=[dict(steps=steps, currentvalue=dict(prefix="loss / first loss: "), pad=dict(t=40))],
    )  # fmt: skip
    return Interactive(go.Figure([*dots, *frames[0].data], layout, frames), "neurons")
