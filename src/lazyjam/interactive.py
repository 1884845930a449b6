"""What a reader can scrub: the only module that imports plotly. Each picture has a static one beside it, for print."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from .plots import FEATURE
from .plots_stripe import MINUS, PLUS, arrows

PLOTLY = "_static/plotly/plotly.min.js"  # where the book keeps the script; a page that shows a picture loads it


FLOOR, CEILING = 1e-3, 10.0  # between these a loss is drawn: deeper valleys are narrower than a grid


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


def landscapes(slices: dict[str, tuple[np.ndarray, np.ndarray]]) -> Interactive:
    """Slices of a landscape side by side, as surfaces to turn: log10 of the loss over u and v.

    slices: by title, the axis of both (n,) and the loss (n, n). What is below FLOOR is drawn there.
    """
    from plotly import graph_objects as go
    from plotly.subplots import make_subplots

    titles = dict(specs=[[{"type": "scene"}] * len(slices)], subplot_titles=list(slices), horizontal_spacing=0.02)
    figure = make_subplots(1, len(slices), **titles)
    ends = [float(np.log10(end)) for end in (FLOOR, CEILING)]
    for column, (axis, loss) in enumerate(slices.values(), 1):
        line, height = axis.round(3).tolist(), np.log10(np.clip(loss, FLOOR, CEILING)).round(2).tolist()
        look = dict(colorscale="Viridis", showscale=False, cmin=ends[0], cmax=ends[1])
        surface = go.Surface(x=line, y=line, z=height, hovertemplate="log loss %{z}<extra></extra>", **look)
        figure.add_trace(surface, row=1, col=column)
    z, camera = dict(title="log loss", range=[ends[0] - 0.2, ends[1] + 0.2]), dict(eye=dict(x=1.2, y=-2.1, z=1.4))
    figure.update_scenes(xaxis_title="u", yaxis_title="v", zaxis=z, camera=camera, aspectratio=dict(x=1, y=1, z=0.7))
    figure.update_layout(template="plotly_white", height=400, margin=dict(l=0, r=0, t=30, b=0))
    return Interactive(figure, "landscapes")
