"""What a reader can scrub: the only module that imports plotly. Each picture has a static one beside it, for print."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from .fits import crossing
from .plots import ERROR_MAP, FEATURE, JAMMED, LAZY, NAMES, UNKNOWN, _edges
from .plots_stripe import MINUS, PLUS, arrows

PLOTLY = "_static/plotly/plotly.min.js"  # where the book keeps the script
PAGE = Path(__file__).with_name("interactive.html")
OBSERVABLES = {
    "test error": ("error", [[t, "rgb({:.0f},{:.0f},{:.0f})".format(*(255 * np.array(ERROR_MAP(t)[:3])))]
                             for t in np.linspace(0, 1, 9).tolist()]),
    "kernel change": ("kernel_ratio", [[0, LAZY], [0.5, "#F7F7F7"], [1, FEATURE]]),
    "unsatisfied": ("unsatisfied", [[0, "#F7F7F7"], [1, JAMMED]]),
}  # fmt: skip
"""What the phase diagram can show: the column, and its colours from low to high."""


FLOOR, CEILING = 1e-3, 10.0  # between these a loss is drawn: deeper valleys are narrower than a grid


class Interactive:
    """A plotly figure as a notebook shows it: on a page behind a button, for JupyterLab as its JSON.

    The button has the words `ask`, and only who presses it loads PLOTLY. Menus and sliders of the figure are ordinary
    controls of a page there, which keys reach. says: what the figure is, for who cannot see it.
    """

    def __init__(self, figure: Any, name: str, says: str, ask: str):
        self.figure, self.name, self.says, self.ask = figure, name, says, ask

    def __repr__(self) -> str:
        return f"Interactive({self.name!r})"

    def html(self) -> str:
        """The part of a page, which stays light until the button is pressed."""
        figure = self.figure.to_json().replace("</", r"<\/")
        page, words = Template(PAGE.read_text(encoding="utf-8")), dict(ask=escape(self.ask), says=escape(self.says))
        return page.substitute(words, name=self.name, figure=figure, script=PLOTLY)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        return {
            "text/plain": repr(self), "text/html": self.html(),
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
        w = arrows(story.sel(level=level), x).round(3).astype(np.float32)  # half the weight on a page
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
    says = "The plane of the data, with the weights of the neurons as points that move as the loss falls"
    ask = "Watch the neurons as the loss falls (loads 4.5 MB)"
    return Interactive(go.Figure([*dots, *frames[0].data], layout, frames), "neurons", says, ask)


def phase_diagram(cells: pd.DataFrame) -> Interactive:
    """Fig. 4 with its numbers under the pointer. Menus choose the data set and the observable.

    cells: rows with the columns of `crossover.cells`. White is where the kernel changes as much as itself; the black
    line is where it does so by interpolation. Grey is where nothing is known.
    """
    from plotly import graph_objects as go

    tables = {name: some.set_index(["alpha_tilde", "h"]) for name, some in cells.groupby("dataset", sort=False)}
    looks = {label: [_look(table, label) for table in tables.values()] for label in OBSERVABLES}
    maps, blanks, lines, axes = [], [], [], []
    for i, table in enumerate(tables.values()):
        ratio = table.kernel_ratio.unstack("h")
        h, alpha_tilde = ratio.columns.values, ratio.index.values
        hover = table.reset_index().apply(_says, axis=1).set_axis(table.index).unstack("h").values.tolist()
        x, y = (_edges(values.astype(float)).tolist() for values in (h, alpha_tilde))
        maps.append(go.Heatmap(x=x, y=y, text=hover, hovertemplate="%{text}<extra></extra>", visible=i == 0,
                               colorbar=dict(thickness=14), **looks["test error"][i]))  # fmt: skip
        nothing = [[0 if nets == 0 else None for nets in row] for row in table.nets.unstack("h").values]
        blanks.append(go.Heatmap(x=x, y=y, z=nothing, hoverinfo="skip", showscale=False, visible=i == 0,
                                 colorscale=[[0, UNKNOWN], [1, UNKNOWN]]))  # fmt: skip
        star = [crossing(alpha_tilde, column, 1.0) for column in ratio.values.T]
        lines.append(go.Scatter(x=h.tolist(), y=[None if np.isnan(a) else a for a in star], line=dict(color=JAMMED),
                                mode="lines", hoverinfo="skip", showlegend=False, visible=i == 0))  # fmt: skip
        axes.append({f"{axis}.range": np.log10([edges[0], edges[-1]]).tolist() for axis, edges in
                     (("xaxis", x), ("yaxis", y))})  # fmt: skip
    both = list(range(len(tables)))
    data_sets = [
        dict(label=NAMES.get(name, name), method="update",
             args=[{"visible": [i == chosen for i in both] * 3}, axes[chosen]]) for chosen, name in enumerate(tables)
    ]  # fmt: skip
    observables = [
        dict(label=label, method="restyle", args=[{key: [look[key] for look in some] for key in some[0]}, both])
        for label, some in looks.items()
    ]  # fmt: skip
    menu = dict(type="buttons", direction="right", x=0, xanchor="left", yanchor="bottom", pad=dict(b=4))
    axis = dict(type="log", showgrid=False, fixedrange=True)
    layout = go.Layout(
        template="plotly_white", height=520, margin=dict(l=60, r=10, t=90, b=50), plot_bgcolor=JAMMED, dragmode=False,
        xaxis=dict(title="width h", tickvals=[2**i for i in range(1, 11)], **axis),
        yaxis=dict(title="output scale α̃", exponentformat="power", dtick=1, **axis),
        updatemenus=[dict(menu, name="data set", buttons=data_sets, y=1.09),
                     dict(menu, name="what is shown", buttons=observables, y=1.0)],
    )  # fmt: skip
    figure = go.Figure([*maps, *blanks, *lines], layout).update_layout(axes[0])
    says = "The phase diagram, with the numbers of every cell under the pointer"
    return Interactive(figure, "phase-diagram", says, "Read off every cell (loads 4.5 MB)")


def _look(table: pd.DataFrame, label: str) -> dict[str, Any]:
    """Values, limits, colours and bar of the heat map of one observable; the change of the kernel as a logarithm."""
    column, colours = OBSERVABLES[label]
    z = table[column].unstack("h").values.astype(float)
    ticks = {"tickformat": ".1%", "tickprefix": "", "ticksuffix": ""}
    if logarithmic := column == "kernel_ratio":
        z, ticks = np.log10(z), {"tickformat": "d", "tickprefix": "10<sup>", "ticksuffix": "</sup>"}
    low, high = float(np.nanmin(z)), float(np.nanmax(z))
    if logarithmic:  # one is in the middle
        low, high = -max(-low, high), max(-low, high)
    bar = {f"colorbar.{name}": value for name, value in ticks.items()} | {"colorbar.title.text": label}
    values = [[None if np.isnan(one) else one for one in row] for row in z.tolist()]
    return {"z": values, "zmin": low, "zmax": high, "colorscale": colours} | bar


def _says(cell: pd.Series) -> str:
    if not cell.nets:
        return f"h = {cell.h}, α̃ = {cell.alpha_tilde:g}, P = {cell.P}<br>not run, or broken off"
    few = np.isnan(cell.error)
    error = "no mean, because fewer than half fit" if few else f"test error of their mean: {cell.error:.1%}"
    kernel = "" if np.isnan(cell.kernel_ratio) else f"<br>change of the kernel: {cell.kernel_ratio:.2g}"
    return (f"h = {cell.h}, α̃ = {cell.alpha_tilde:g}, P = {cell.P}<br>{cell.M} of {cell.nets} nets fit<br>{error}"
            f"{kernel}<br>unsatisfied: {cell.unsatisfied:.1%} of the images")  # fmt: skip


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
    says = "The logarithm of the loss over two directions, as surfaces side by side"
    return Interactive(figure, "landscapes", says, "Turn the surfaces (loads 4.5 MB)")
