"""The drawing of Section 4: where nets are lazy, why, and which architectures gain by learning features."""

from collections.abc import Mapping
from itertools import cycle

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from .fits import PowerLaw
from .plots import FEATURE, JAMMED, LAZY, _log_widths, _plain_ticks, power

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
    if x not in ("alpha_tilde", "h"):
        _plain_ticks(ax.xaxis, sorted({value for values in curves.values() for value in values[x].values.tolist()}))
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


def errors_by_scale(ax: Axes, error: xr.DataArray, uncertainty: xr.DataArray, single: xr.DataArray) -> Axes:
    """Test error against alpha_tilde: of the ensemble, full with its standard error, and of single nets, dashed."""
    ax.errorbar(error.alpha_tilde, error, uncertainty, color="0.15", marker="o", ms=4, label="ensemble")
    ax.plot(single.alpha_tilde, single, color="0.15", ls="--", marker="s", ms=3, mfc="white", label="single nets")
    ax.set(xscale="log", xlabel=SCALE, ylabel=r"test error $\epsilon$")
    ax.xaxis.set_major_locator(LogLocator(100))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.yaxis.set_major_formatter(PercentFormatter(1, 1))
    ax.legend()
    return ax


def shade_regimes(ax: Axes, border: float) -> Axes:
    """Feature learning left of the cross-over, lazy training right of it, as a tint with a name."""
    low, high = ax.get_xlim()
    if low < border < high:
        for left, right, colour, name, x, side in (
            (low, border, FEATURE, "feature", 0.03, "left"), (border, high, LAZY, "lazy", 0.97, "right"),
        ):
            ax.axvspan(left, right, color=colour, alpha=0.08, lw=0)
            ax.text(x, 0.03, name, color="0.35", transform=ax.transAxes, ha=side)
    ax.set_xlim(low, high)
    return ax


def learning_curves(ax: Axes, error: xr.DataArray, fits: Mapping[str, PowerLaw], guides: Mapping[str, float]) -> Axes:
    """Test error against P in both regimes, mean and standard error over `seed_data`, with fits, full, and guides.

    error: over regime ("feature", "lazy"), P and seed_data. guides: the exponent of the paper by regime, dotted.
    """
    styles = {"feature": (FEATURE, "s"), "lazy": (LAZY, "o")}
    P = error.P.values
    for regime, (colour, marker) in styles.items():
        one, fit = error.sel(regime=regime), fits[regime]
        spread = one.std("seed_data", ddof=1) / np.sqrt(one.count("seed_data"))
        label = rf"{regime}, $\beta={-fit.slope:.2f}$"
        ax.errorbar(P, one.mean("seed_data"), spread, color=colour, marker=marker, ms=5, ls="", label=label)
        ax.plot(P, fit.at(P), color=colour)
        ax.plot(P, fit.at(P[:1]) * (P / P[0]) ** guides[regime], color=colour, ls=":", lw=1)
    ax.set(xscale="log", yscale="log", xlabel="training images $P$", ylabel=r"test error $\epsilon$")
    _plain_ticks(ax.xaxis, P)
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8)))
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return ax
