"""The drawing of Figure 7: where networks jam, how many patterns hold them, their spectrum and their fluctuations."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .fits import PowerLaw
from .plots import FEATURE, JAMMED, LAZY, STYLE

FITS = "#CFE3F2"  # pale blue: the loss reaches zero
RANDOM = "#D55E00"


def panels() -> tuple[Figure, dict[str, Axes]]:
    """The figure and its four axes, by letter."""
    plt.style.use(STYLE)
    figure = plt.figure(figsize=(9, 7.6))
    axes = figure.subplot_mosaic("AB;CD")
    for letter, ax in axes.items():
        ax.set_title(letter, loc="left", weight="bold")
    return figure, axes


def satisfiable(ax: Axes, N_star: xr.DataArray, table: xr.Dataset) -> Axes:
    """Fig. 7 A, the ground: the region where nets fit, and every net that was trained, fitted (full) or not (open)."""
    P, middle = N_star.P.values.astype(float), N_star.mean("seed").values
    ax.fill_between(P, middle, 1e5, color=FITS, lw=0)
    spread = P[:, None] * np.exp(np.linspace(-0.07, 0.07, N_star.sizes["seed"]))
    for fitted in (True, False):
        shown = table.N_delta.notnull() & ((table.N_delta == 0) == fitted)
        x = np.broadcast_to(spread, table.N.transpose("round", "P", "seed").shape)
        y = table.N.transpose("round", "P", "seed").values
        mask = shown.transpose("round", "P", "seed").values
        face = LAZY if fitted else "white"
        ax.plot(x[mask], y[mask], ls="", marker="o", ms=3, mec=LAZY, mew=0.6, mfc=face, alpha=0.8,
                label="loss reaches zero" if fitted else "it does not")
    ax.set(xscale="log", yscale="log", xlabel="patterns $P$", ylabel="parameters $N$",
           xlim=(P[0] / 1.3, P[-1] * 1.3), ylim=(3, 6e3))
    return ax


def jamming_line(ax: Axes, N_star: xr.DataArray, colour: str, label: str, *, line: str = "-") -> None:
    """N*(P), the mean over the seeds with its standard error."""
    error = N_star.std("seed", ddof=1) / np.sqrt(N_star.sizes["seed"])
    ax.errorbar(N_star.P, N_star.mean("seed"), error, color=colour, marker="s", ms=4, ls=line, lw=1.4, label=label)


def bound(ax: Axes, C_0: xr.DataArray, colour: str, label: str = "") -> None:
    """Fig. 7 A, dotted: N = P / C_0."""
    ax.plot(C_0.P, C_0.P / C_0, color=colour, ls=":", lw=1.6, label=label)


def contacts_at_the_end(ax: Axes, table: xr.Dataset, N: int) -> Axes:
    """Fig. 7 B: N_delta / N against the final loss; certified minima full, what was broken off open."""
    for kind, label in ((table.certified, "minimum"), (~table.certified & (table.N_delta > 0), "not converged")):
        U, ratio = table.train_loss.where(kind).values.ravel(), (table.N_delta / N).where(kind).values.ravel()
        full = label == "minimum"
        ax.plot(U, ratio, ls="", marker="o", ms=4, mec=JAMMED, mfc=JAMMED if full else "white", mew=0.8, label=label)
    fitted = int((table.N_delta == 0).sum())
    ax.plot(np.zeros(1), np.zeros(1), ls="", marker="o", ms=7, color=LAZY, label=f"fitted, {fitted} nets")
    ax.axhline(1, color="0.5", lw=0.8, ls=":")
    ax.set_xscale("symlog", linthresh=1e-5, linscale=0.5)
    ax.set_xlim(-4e-6, 0.1)
    ax.set_xticks([0, 1e-4, 1e-3, 1e-2, 1e-1])
    ax.set(xlabel=r"loss at the end $U$", ylabel=r"$N_\Delta / N$", ylim=(-0.07, None))
    ax.legend(loc="upper left")
    return ax


def spectrum_at_jamming(ax: Axes, values: np.ndarray, zero: float) -> Axes:
    """Fig. 7 C: density of the square roots of the eigenvalues of H_0 (minima, N), averaged; the peak at zero as a bar.

    zero: the share of the largest eigenvalue below which one is zero.
    """
    nonzero = values > zero * values.max(-1, keepdims=True)
    roots, bins = np.sqrt(values[nonzero]), np.geomspace(1e-4, 1e3, 57)
    weights = np.full(len(roots), 1 / values.size)
    share, _ = np.histogram(roots, bins, weights=weights)
    ax.stairs(share / np.diff(np.log10(bins)), bins, color=JAMMED, fill=False, lw=1.4, label="band")
    ax.bar(2e-5, 1 - nonzero.mean(), width=1.6e-5, color=FEATURE, label=f"zeros, {1 - nonzero.mean():.2f} of all")
    ax.set(xscale="log", xlim=(8e-6, 1e3), xlabel=r"$\sqrt{\lambda}$ of $H_0$",
           ylabel=r"share per decade (bar: share)")
    ax.set_xticks([2e-5, 1e-4, 1e-2, 1, 1e2], ["0", "$10^{-4}$", "$10^{-2}$", "1", "$10^{2}$"])
    ax.minorticks_off()
    ax.legend()
    return ax


def fluctuations(
    ax: Axes, N: np.ndarray, square: xr.DataArray, N_star: float, far: PowerLaw, near: PowerLaw | None = None
) -> Axes:
    """Fig. 7 D: squared fluctuation of the predictor against N, with the two power laws and N*."""
    ax.plot(N, square, color=JAMMED, marker="o", ms=4, lw=0)
    x = np.geomspace(far.window[0], N[-1])
    ax.plot(x, far.at(x), color=LAZY, lw=1.4, label=f"$N^{{{far.slope:.2f}}}$")
    if near is not None:
        x = np.geomspace(*near.window)
        ax.plot(N_star * (1 + x), near.at(x), color=FEATURE, lw=1.4, label=f"$((N-N^*)/N^*)^{{{near.slope:.2f}}}$")
    ax.axvline(N_star, color="0.5", lw=1, ls="--", label="$N^*$")
    ax.set(xscale="log", yscale="log", xlabel="parameters $N$", ylabel=r"$\|f_N-\langle f_N\rangle\|^2$")
    ax.legend()
    return ax


def isostatic(ax: Axes, deltas: Sequence[np.ndarray], N: int) -> Axes:
    """Overlaps of jammed perceptrons in descending order, against their rank over N: N push, the others are free."""
    for delta in deltas:
        ordered = np.sort(delta)[::-1]
        ax.plot(np.arange(1, len(ordered) + 1) / N, np.abs(ordered), color=JAMMED, lw=0.6, alpha=0.6)
    ax.axvline(1, color=RANDOM, lw=1, ls="--")
    ax.set(yscale="log", xlabel="rank of the pattern / $N$", ylabel=r"$|\Delta|$", title="perceptron at jamming",
           xlim=(0, 2))
    return ax


def two_divergences(ax: Axes, classified: tuple, interpolated: tuple, margins: np.ndarray) -> Axes:
    """Norms of perceptrons against the distance to where they stop to fit: each of (x, norms (draws, n), fit).

    margins: Gardner's, at the x of the first.
    """
    kinds = ((classified, JAMMED, "classification"), (interpolated, LAZY, "regression"))
    for (x, norms, fit), colour, name in kinds:
        size = np.exp(np.nanmean(np.log(norms), 0))
        ax.plot(x, size / size[-1], color=colour, marker="o", ls="", label=f"{name}, slope {fit.slope:.2f}")
        ax.plot(x, fit.at(x) / size[-1], color=colour, lw=1)
    last = np.exp(np.nanmean(np.log(classified[1]), 0))[-1]
    ax.plot(classified[0], 1 / margins / last, color="0.6", ls="--", lw=1, label="Gardner")
    ax.set(xscale="log", yscale="log", xlabel="distance $(N-N^*)/N^*$", ylabel="norm / norm at the last point",
           title="two divergences")
    ax.minorticks_off()
    ax.set_xticks([0.02, 0.05, 0.1, 0.2, 0.4], ["0.02", "0.05", "0.1", "0.2", "0.4"])
    ax.set_yticks([1, 2, 4], ["1", "2", "4"])
    ax.legend(fontsize=8)
    return ax


def landau(ax: Axes, N_star: xr.DataArray) -> Axes:
    """N* against the margin asked for at a bounded norm: every net, their mean with its error, and a line."""
    margin, mean = N_star.margin.values, N_star.mean("seed")
    error = N_star.std("seed", ddof=1) / np.sqrt(N_star.count("seed"))
    ax.plot(margin, N_star.transpose("margin", "seed"), color="0.7", marker=".", ls="", label="nets")
    ax.errorbar(margin, mean, error, color=JAMMED, marker="o", ms=4, ls="", label="mean")
    known = mean.notnull().values
    if known.sum() > 1:
        ax.plot(margin[known], np.polyval(np.polyfit(margin[known], mean.values[known], 1), margin[known]), color=LAZY,
                lw=1.2, label="line through the means")
    ax.set(xlabel="margin over largest output $1/c$", ylabel="parameters at jamming $N^*$", title="networks, fixed $P$")
    ax.locator_params(axis="x", nbins=5)
    handles = dict(zip(*ax.get_legend_handles_labels()[::-1], strict=True))  # one of each kind
    ax.legend(handles.values(), handles)
    return ax


def regularised(ax: Axes, tables: dict[str, xr.Dataset], P_star: float) -> Axes:
    """The norm of the predictor against P at fixed N: to the end, and under what keeps it from diverging; by name."""
    styles = ((JAMMED, "o", "-"), (FEATURE, "s", "-"), (LAZY, "^", "--"), (RANDOM, "v", ":"), ("0.5", "x", ":"))
    for (name, table), (colour, marker, line) in zip(tables.items(), styles, strict=False):
        norm = np.exp(np.log(table.rms_output).mean("seed"))
        ax.plot(table.P, norm, color=colour, marker=marker, ls=line, ms=4, label=name)
    ax.axvline(P_star, color="0.5", lw=1, ls="--", label="$P^*$")
    ax.set(yscale="log", xlabel="patterns $P$", ylabel=r"$\|f\|$", title="networks, fixed $N$")
    ax.legend(fontsize=8)
    return ax
