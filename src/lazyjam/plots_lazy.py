"""The drawing of Section 4: where nets are lazy, and why."""

from collections.abc import Mapping
from itertools import cycle

import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from .plots import FEATURE, JAMMED, LAZY, _log_widths, power

SCALE = r"$\tilde\alpha=\sqrt{h}\,\alpha$"


def lines(ax: Axes, x: str, curves: Mapping[str, xr.DataArray], *, guides: Mapping[str, float] = {}) -> Axes:
    """Curves over the coordinate x, in logarithms: the mean over seeds, with the smallest and largest seed as a band.

    guides: by label, the slope of a dotted line above the last point of the curve of that label.
    """
    styles = zip(sns.color_palette("colorblind", len(curves)), cycle("os^Dv"), strict=False)
    for (label, values), (colour, marker) in zip(curves.items(), styles, strict=True):
        mean, at = values.mean("seed"), values[x].values
        ax.fill_between(at, values.min("seed"), values.max("seed"), color=colour, alpha=0.25, lw=0)
        ax.plot(at, mean, color=colour, marker=marker, ms=4, label=label)
        if label in guides:
            end = mean.dropna(x).isel({x: -1})
            guide = 1.6 * float(end) * (at / float(end[x])) ** guides[label]
            inside = guide < 2 * float(values.max())
            ax.plot(at[inside], guide[inside], color=colour, ls=":", lw=1)
    ax.set(xscale="log", yscale="log")
    if x == "alpha_tilde":
        ax.set_xlabel(SCALE)
        ax.xaxis.set_major_locator(LogLocator(100))
        ax.xaxis.set_minor_formatter(NullFormatter())
    if x == "h":
        _log_widths(ax, values.h.values)
        ax.set_xlabel("width $h$")
    ax.legend()
    return ax


def losses(ax: Axes, table: xr.Dataset) -> Axes:
    """The training loss against flow time, over t_max and alpha_tilde; a curve ends where its run has fitted."""
    palette = sns.blend_palette([FEATURE, "#8C8C8C", LAZY], table.sizes["alpha_tilde"])
    for i, (colour, alpha_tilde) in enumerate(zip(palette, table.alpha_tilde.values, strict=True)):
        one = table.sel(alpha_tilde=alpha_tilde)
        going = (one.N_delta > 0).shift(t_max=1, fill_value=True)
        curve, width = one.train_loss.where(going), 1.2 + 0.6 * (table.sizes["alpha_tilde"] - 1 - i)
        ax.plot(one.t_end.where(going), curve, color=colour, lw=width, label=rf"$\tilde\alpha={power(alpha_tilde)}$")
    ax.set(xscale="log", xlabel="flow time $t$", ylabel=r"training loss $\mathcal{L}$")
    ax.legend()
    return ax


def near_jamming(ax: Axes, ratio: xr.DataArray, h_star: float) -> Axes:
    """The change of the kernel against the width at one alpha_tilde, with h* as a vertical line."""
    ax.plot(ratio.h, ratio, color=LAZY, marker="o", ms=4)
    ax.axvline(h_star, color=JAMMED, lw=1, ls=":")
    ax.set(yscale="log", ylabel=r"$\|\Delta\Theta\| \,/\, \|\Theta_0\|$")
    _log_widths(ax, ratio.h.values)
    ax.set_xlabel("width $h$")
    ax.annotate("$h^*$", (h_star, 0.95), xycoords=("data", "axes fraction"), xytext=(4, 0), textcoords="offset points")
    return ax
