"""The drawing of one's own networks: where they lie in the map, and what an ensemble of them gains."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, PercentFormatter

from .diagnosis import Diagnosis
from .plots import CUTS, FEATURE, JAMMED, LAZY

STYLES = {"jammed": (JAMMED, "X"), "unfinished": ("#6E6E6E", "P"), "lazy": (LAZY, "o"), "feature": (FEATURE, "s"),
          "cross-over": (CUTS[1], "D")}  # fmt: skip


BAND = 0.8  # half of the width of the band of nets that fit, in units of one pattern


def in_the_map(ax: Axes, nets: Mapping[str, Diagnosis]) -> Axes:
    """The change of the kernel against the share of unsatisfied margins: a point is a net, its look is its regime.

    nets: by a label, which is written above them. Nets that fit have a share of zero; there they stand side by side.
    """
    first = min(1 / one.P for one in nets.values())
    places = np.linspace(-BAND, BAND, len(nets) + 2)[1:-1] * first
    for place, (label, one) in zip(places, nets.items(), strict=True):
        colour, marker = STYLES[one.regime]
        x = np.where(one.N_delta == 0, place, one.N_delta / one.P)
        ax.plot(x, one.kernel_change, color=colour, marker=marker, ms=5, ls="", alpha=0.8, mew=0)
        ax.annotate(label, (np.median(x), one.kernel_change.max()), xytext=(0, 6), textcoords="offset points",
                    ha="center", fontsize=8)  # fmt: skip
    for name in dict.fromkeys(one.regime for one in nets.values()):
        ax.plot([], [], color=STYLES[name][0], marker=STYLES[name][1], ls="", label=name)
    ax.set_xscale("symlog", linthresh=first, linscale=2.5)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    right = 1.5 * max(first, *(one.N_delta.max() / one.P for one in nets.values()))
    low, high = min(low, 1.0), 2 * max(high, 1.0)
    ax.axhspan(low, 1, color=LAZY, alpha=0.08, lw=0)
    ax.axhspan(1, high, color=FEATURE, alpha=0.08, lw=0)
    ax.axvspan(first, right, color=JAMMED, alpha=0.08, lw=0)
    ax.axhline(1, color=JAMMED, lw=1)
    ticks = [0, *(10.0**k for k in range(-6, 1) if first * 0.99 <= 10.0**k <= right)]
    ax.set(xlim=(-first, right), ylim=(low, high), xlabel=r"unsatisfied margins $N_\Delta / P$",
           ylabel=r"$\|\Delta\Theta\| \,/\, \|\Theta_0\|$")  # fmt: skip
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_locator(LogLocator(10))
    ax.legend(loc="lower left")
    return ax


def errors(ax: Axes, nets: Mapping[str, Diagnosis]) -> Axes:
    """Test error against the number of parameters: the mean of single nets, and their ensemble, with what it gains.

    Error bars of the ensemble are those of the gain. Shaded are the sizes below the first that fits.
    """
    by_size = sorted(nets.values(), key=lambda one: one.N)
    N = np.array([one.N for one in by_size])
    single = np.array([one.test_error.mean() for one in by_size])
    spread = np.array([one.test_error.std(ddof=1) / len(one.test_error) ** 0.5 for one in by_size])
    many, gain = np.array([(one.ensemble_error, one.gain[1]) for one in by_size]).T
    ax.errorbar(N, single, spread, color="0.15", marker="o", ms=4, label="one net")
    ax.errorbar(N, many, gain, color="0.15", marker="s", ms=4, mfc="white", ls="--", label="ensemble")
    low, high = N[0] / 1.5, N[-1] * 1.5
    first = next((i for i, one in enumerate(by_size) if one.regime not in ("jammed", "unfinished")), len(N))
    if first:
        edge = (N[first - 1] * N[first]) ** 0.5 if first < len(N) else high
        ax.axvspan(low, edge, color=JAMMED, alpha=0.12, lw=0)
        ax.text(edge / 1.04, 0.97, "not fitted", rotation=90, ha="right", va="top", color="0.35",
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xscale="log", xlim=(low, high), xlabel="parameters $N$", ylabel=r"test error $\epsilon$")
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.legend()
    return ax


def rows(nets: Mapping[str, Diagnosis]) -> pd.DataFrame:
    """The numbers drawn, a row for every net."""
    return pd.concat([pd.DataFrame({
        "nets": label, "N": one.N, "P": one.P, "regime": one.regime, "N_delta": one.N_delta,
        "kernel_change": one.kernel_change, "test_error": one.test_error, "ensemble_error": one.ensemble_error,
        "gain": one.gain[0], "gain_error": one.gain[1],
    }) for label, one in nets.items()], ignore_index=True)  # fmt: skip
