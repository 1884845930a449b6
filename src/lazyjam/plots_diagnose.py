"""The drawing of one's own networks: where they lie in the map, and what an ensemble of them gains."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, PercentFormatter

from .diagnose import Diagnosis
from .plots import CUTS, FEATURE, JAMMED, LAZY

STYLES = {"jammed": (JAMMED, "X"), "unfinished": ("#6E6E6E", "P"), "lazy": (LAZY, "o"), "feature": (FEATURE, "s"),
          "cross-over": (CUTS[1], "D")}  # fmt: skip


def in_the_map(ax: Axes, nets: Mapping[str, Diagnosis]) -> Axes:
    """The change of the kernel against the share of unsatisfied margins: a point is a net, its look is its regime.

    nets: by a label, which is written beside them.
    """
    for label, one in nets.items():
        colour, marker = STYLES[one.regime]
        share, change = one.N_delta / one.P, one.kernel_change
        ax.plot(share, change, color=colour, marker=marker, ms=5, ls="", alpha=0.8, mew=0)
        ax.annotate(label, (share.max(), np.exp(np.log(change).mean())), xytext=(7, 0), textcoords="offset points",
                    va="center", fontsize=8)  # fmt: skip
    for name in dict.fromkeys(one.regime for one in nets.values()):
        ax.plot([], [], color=STYLES[name][0], marker=STYLES[name][1], ls="", label=name)
    first = min(1 / one.P for one in nets.values())
    ax.set_xscale("symlog", linthresh=first, linscale=0.6)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    right = 6 * max(first, *(one.N_delta.max() / one.P for one in nets.values()))
    ax.axhspan(min(low, 1), 1, color=LAZY, alpha=0.08, lw=0)
    ax.axhspan(1, max(high, 1), color=FEATURE, alpha=0.08, lw=0)
    ax.axhline(1, color=JAMMED, lw=1)
    ticks = [0, *(10.0**k for k in range(-6, 1) if first * 0.99 <= 10.0**k <= right)]
    ax.set(xlim=(-0.5 * first, right), ylim=(min(low, 1), max(high, 1)),
           xlabel=r"unsatisfied margins $N_\Delta / P$", ylabel=r"$\|\Delta\Theta\| \,/\, \|\Theta_0\|$")  # fmt: skip
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_major_locator(LogLocator(10))
    ax.legend()
    return ax


def errors(ax: Axes, nets: Mapping[str, Diagnosis]) -> Axes:
    """Test error against the number of parameters: the mean of single nets, and their ensemble, with what it gains.

    Error bars of the ensemble are those of the gain. The widths that do not fit are shaded.
    """
    N = np.array([one.N for one in nets.values()])
    single = np.array([one.test_error.mean() for one in nets.values()])
    spread = np.array([one.test_error.std(ddof=1) / len(one.test_error) ** 0.5 for one in nets.values()])
    many, gain = np.array([(one.ensemble_error, one.gain[1]) for one in nets.values()]).T
    ax.errorbar(N, single, spread, color="0.15", marker="o", ms=4, label="one net")
    ax.errorbar(N, many, gain, color="0.15", marker="s", ms=4, mfc="white", ls="--", label="ensemble")
    missed = [one.N for one in nets.values() if one.regime in ("jammed", "unfinished")]
    if missed:
        ax.axvspan(N.min() / 1.5, max(missed) * 1.25, color=JAMMED, alpha=0.12, lw=0)
        ax.text(0.03, 0.03, "not fitted", transform=ax.transAxes, color="0.35")
    ax.set(xscale="log", xlim=(N.min() / 1.5, N.max() * 1.5), xlabel="parameters $N$", ylabel=r"test error $\epsilon$")
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.legend()
    return ax


def rows(nets: Mapping[str, Diagnosis]) -> pd.DataFrame:
    """The numbers drawn, a row for every net."""
    return pd.concat([pd.DataFrame({
        "nets": label.replace("$", ""), "N": one.N, "P": one.P, "regime": one.regime, "N_delta": one.N_delta,
        "kernel_change": one.kernel_change, "test_error": one.test_error, "ensemble_error": one.ensemble_error,
        "gain": one.gain[0], "gain_error": one.gain[1],
    }) for label, one in nets.items()], ignore_index=True)  # fmt: skip
