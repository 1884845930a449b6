"""The drawing of Section 3: what initial weights cost, and what an ensemble saves."""

from collections.abc import Sequence
from typing import SupportsFloat

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .fits import PowerLaw
from .plots import FEATURE, LAZY, _log_widths, _plain_ticks

REGIMES = {"lazy": (LAZY, "o"), "feature": (FEATURE, "s")}
GREY = "#6E6E6E"


def decaying(
    ax: Axes, N: xr.DataArray, values: dict[str, tuple[xr.DataArray, xr.DataArray]], fits: dict[str, PowerLaw]
) -> Axes:
    """A quantity of both regimes that falls with the number of parameters, and the fitted law.

    values: by regime, the quantity and its standard error over h. What is not larger than its error is not drawn.
    """
    for regime, (value, error) in values.items():
        colour, marker = REGIMES[regime]
        seen = value.where(value > error)
        low = np.minimum(error, 0.9 * seen)
        fit, window = fits[regime], np.minimum(fits[regime].window, float(N.max()))
        label = f"{regime}, $N^{{{fit.slope:.2f}}}$"
        ax.errorbar(N, seen, [low, error], color=colour, marker=marker, ms=4, ls="", label=label)
        ax.plot(window, fit.at(window), color=colour)
    ax.set(xscale="log", yscale="log", xlabel="parameters $N$")
    ax.legend()
    return ax


def kernel_fluctuation(ax: Axes, N: xr.DataArray, values: xr.DataArray) -> None:
    """The relative fluctuation of the kernel at the start, beside that of the predictor, in grey."""
    ax.plot(N, values, color=GREY, marker="^", ms=4, lw=1, ls=":", label="kernel")
    ax.legend()


def without_a_second_descent(ax: Axes, table: xr.Dataset, many: dict[str, xr.DataArray]) -> Axes:
    """Test error against width: single nets (full) and the infinite ensemble (dashed), with h* as a vertical line.

    table: over regime, h and seed, with h_star over the regimes. many: by regime, over h.
    """
    for regime, (colour, marker) in REGIMES.items():
        one = table.sel(regime=regime)
        ax.plot(one.h, one.test_error.mean("seed"), color=colour, marker=marker, ms=4, label=regime)
        ax.plot(one.h, many[regime], color=colour, marker=marker, ms=3, mfc="white", ls="--")
        ax.axvline(float(one.h_star), color=colour, lw=0.8, ls=":")
    ax.plot([], [], color="0.3", label="single nets")
    ax.plot([], [], color="0.3", ls="--", label="infinite ensemble")
    _log_widths(ax, table.h.values)
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set(xlabel="width $h$", ylabel=r"test error $\epsilon$")
    ax.legend()
    return ax


def second_descent(ax: Axes, ratio: np.ndarray, numbers: xr.Dataset) -> Axes:
    """Mean square error of regression on random features against N / P.

    numbers: along N, `single`, `infinite`, and `known`, that of the mean prediction, without a free parameter.
    """
    ax.plot(ratio, numbers.single, color=GREY, marker="o", ms=4, label="one draw")
    ax.plot(ratio, numbers.infinite, color=LAZY, marker="s", ms=4, ls="", label="infinite ensemble")
    ax.plot(ratio, numbers.known, color=LAZY, lw=1, ls="--", label="known")
    ax.axvline(1, color="0.3", lw=0.8, ls=":")
    ax.set(xscale="log", yscale="log", xlabel="features over data $N / P$", ylabel="mean square error")
    _plain_ticks(ax.xaxis, [v for v in (0.1, 0.2, 0.5, 1, 2, 4, 8) if ratio[0] <= v <= ratio[-1]])
    _plain_ticks(ax.yaxis, [0.25, 0.5, 1, 2, 4, 8])
    ax.legend()
    return ax


def quadratic_cost(ax: Axes, sizes: np.ndarray, costs: dict[str, np.ndarray], fits: dict[str, PowerLaw]) -> Axes:
    """What normal noise added to the mean predictor costs in test error, against its size, with the fitted law."""
    for regime, cost in costs.items():
        colour, marker = REGIMES[regime]
        fit, window = fits[regime], np.array(fits[regime].window)
        ax.plot(sizes, cost, color=colour, marker=marker, ms=4, ls="", label=f"{regime}, slope {fit.slope:.2f}")
        ax.plot(window, fit.at(window), color=colour)
    ax.set(xscale="log", yscale="log", xlabel=r"noise over rms of $\langle f \rangle$",
           ylabel=r"cost $\epsilon - \epsilon(\langle f\rangle)$")
    _plain_ticks(ax.xaxis, [s for s in (0.05, 0.1, 0.2, 0.4, 0.8) if sizes[0] <= s <= sizes[-1]])
    ax.legend()
    return ax


def budgets(ax: Axes, table: xr.Dataset, N: xr.DataArray, h_star: float, shown: Sequence[int]) -> Axes:
    """Test error against all parameters of an ensemble, M N: one line per width, from one net to all there are.

    table: of `ensemble` over h. The line of single nets is black; what lies below it is saved. shown: the widths drawn.
    """
    palette = sns.color_palette("flare", len(shown))
    for colour, h in zip(palette, shown, strict=True):
        errors = table.error_of_size.sel(h=h).dropna("size")
        ax.plot(errors["size"] * float(N.sel(h=h)), errors, color=colour, lw=1.3, label=f"$h = {h}$")
    one = table.error_of_size.isel(size=0)
    ax.plot(N, one, color="black", marker="o", ms=4, lw=1.6, label="one net")
    ax.axvline(float(N.sel(h=h_star)), color="0.3", lw=0.8, ls=":")
    ax.set(xscale="log", xlabel="parameters of all nets $M N$", ylabel=r"test error $\epsilon$")
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.legend(ncols=2, fontsize=8)
    return ax


def saved(ax: Axes, widths: Sequence[int], shares: dict[str, np.ndarray]) -> Axes:
    """The share of the error of one net that an ensemble of the same cost saves, against the width of that net.

    shares: by the kind of cost, at these widths.
    """
    for (kind, share), (colour, marker) in zip(shares.items(), ((LAZY, "o"), (FEATURE, "s")), strict=False):
        ax.plot(widths, share, color=colour, marker=marker, label=f"same {kind}")
    ax.axhline(0, color="0.3", lw=0.8)
    _log_widths(ax, np.array(widths))
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set(xlabel="width $h$ of the one net", ylabel="error saved by an ensemble")
    ax.legend()
    return ax


def regularised(ax: Axes, errors: dict[str, xr.DataArray], h_star: SupportsFloat) -> Axes:
    """Mean test error against width, to the end of the flow and under each regularisation; (h, seed) by name."""
    styles = (("black", "-", "o"), (FEATURE, "--", "s"), (LAZY, "-.", "^"))
    for (name, values), (colour, line, marker) in zip(errors.items(), styles, strict=False):
        mean, error = values.mean("seed"), values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
        ax.errorbar(values.h, mean, error, color=colour, ls=line, marker=marker, ms=4, label=name)
    ax.axvline(float(h_star), color="0.3", lw=0.8, ls=":")
    _log_widths(ax, values.h.values)
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set(xlabel="width $h$", ylabel=r"test error of single nets $\epsilon$")
    ax.legend()
    return ax
