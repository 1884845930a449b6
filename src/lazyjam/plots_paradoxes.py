"""The drawing of Figures 1 and 2: a network from its parameters; what textbooks expect beside what is measured."""

from collections.abc import Mapping

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from .plots import CUTS, FEATURE, JAMMED, LAZY, _log_widths, _plain_ticks, power

EXPECTED = "0.45"  # what textbooks expect
ZERO = 1e-8  # where a loss of zero is drawn
LANDSCAPE = sns.color_palette("mako_r", as_cmap=True)  # dark is a high loss


def network(ax: Axes, w: Mapping[str, np.ndarray]) -> Axes:
    """Fig. 1: the neurons of a fully connected net as nodes, and every weight of its matrices W1, W2, ... as a link.

    w: the weights by name, (fan-out, fan-in). Blue links are positive, orange ones negative, thick ones large.
    """
    weights = [value for name, value in w.items() if name.startswith("W")]
    sizes = [weights[0].shape[1], *(len(W) for W in weights)]
    heights = [np.arange(n) - (n - 1) / 2 for n in sizes]
    for layer, W in enumerate(weights):
        for (b, a), weight in np.ndenumerate(W):
            width = 0.15 + 0.75 * min(abs(float(weight)), 2.5)
            ax.plot([layer, layer + 1], [-heights[layer][a], -heights[layer + 1][b]], lw=width, zorder=1, alpha=0.7,
                    color=LAZY if weight > 0 else FEATURE)  # fmt: skip
        ax.text(layer + 0.5, -max(sizes) / 2 - 0.2, f"$W^{{({layer + 1})}}$", ha="center", va="top", fontsize=11)
    for layer, height in enumerate(heights):
        ax.plot(np.full(len(height), layer), -height, ls="", marker="o", ms=9, mfc="white", mec=JAMMED, zorder=2)
    top = max(sizes) / 2 + 0.3
    for layer, n in enumerate(sizes):
        inside = f"layer {layer}, $h={n}$"
        name = f"$x$, $d={n}$" if layer == 0 else r"$\tilde f$" if layer == len(weights) else inside
        ax.text(layer, top, name, ha="center", fontsize=9)
    ax.set(xlim=(-0.4, len(weights) + 0.4), ylim=(-top - 0.5, top + 0.5))
    ax.set_axis_off()
    return ax


def parameters_by_width(ax: Axes, h: np.ndarray, ratio: Mapping[int, np.ndarray]) -> Axes:
    """N over L h^2 against the width, by the number of hidden layers L, and the limit (L - 1) / L as a dotted line."""
    for colour, (L, values) in zip(sns.color_palette("crest", len(ratio)), ratio.items(), strict=True):
        ax.plot(h, values, color=colour, marker="o", label=f"$L={L}$")
        ax.axhline((L - 1) / L, color=colour, ls=":", lw=1)
    ax.set(xlabel="width $h$", ylabel="$N / L h^2$", ylim=(-0.05, 2))
    _log_widths(ax, h)
    ax.legend()
    return ax


def variances(ax: Axes, values: xr.DataArray) -> Axes:
    """Mean squares of pre-activations against the width, over h, seed and layer, with standard errors over seeds."""
    error = values.std("seed", ddof=1) / np.sqrt(values.sizes["seed"])
    for colour, layer in zip(sns.color_palette("crest", values.sizes["layer"]), values.layer.values, strict=True):
        mean = values.mean("seed").sel(layer=layer)
        ax.errorbar(values.h * 1.04 ** float(layer), mean, error.sel(layer=layer), color=colour, marker="o", ls="",
                    label=f"layer {layer}")  # fmt: skip
    ax.axhline(1, color="0.5", lw=1, ls=":")
    ax.set(xlabel="width $h$", ylabel="mean square of pre-activations", ylim=(0.9, 1.1))
    _log_widths(ax, values.h.values)
    ax.legend(ncols=2, fontsize=8)
    return ax


def scalings(ax: Axes, values: xr.DataArray) -> Axes:
    """The rms output at the start against the width, over scaling, h and seed."""
    names = {"1 / h": "factor $1/h$", "1 / sqrt(h)": r"factor $1/\sqrt{h}$", "1": "no factor"}
    for (scaling, label), colour, marker in zip(names.items(), (FEATURE, LAZY, JAMMED), "so^", strict=True):
        rms = np.sqrt((values.sel(scaling=scaling) ** 2).mean("seed"))
        ax.plot(values.h, rms, color=colour, marker=marker, label=label)
    ax.set(xlabel="width $h$", ylabel="rms output at the start", yscale="log")
    _log_widths(ax, values.h.values)
    ax.legend()
    return ax


def _expect(ax: Axes, x: float, y: float, text: str, **how: str) -> None:
    ax.text(x, y, text, transform=ax.transAxes, color=EXPECTED, fontsize=9, style="italic", **how)


def curse(ax: Axes, torus: xr.DataArray, images: Mapping[str, tuple[xr.DataArray, str, str]]) -> Axes:
    """Fig. 2 A: distances to the nearest of P points on a torus, over d, seed and P, relative to those at the first P.

    images: by label, another such curve over seed and P, with its colour and its line style.
    """
    first = float(torus.P[0])
    for d in torus.d.values:
        mean = torus.sel(d=d).mean("seed")
        ax.plot(mean.P, mean / mean[0], color="0.6", lw=1.2)
        end = float(mean.P[-1]) * 1.05, float(mean[-1] / mean[0])
        ax.text(*end, f"$d={d}$", color=EXPECTED, va="center", fontsize=9)
    for label, (values, colour, line) in images.items():
        mean = values.mean("seed")
        face = colour if line == "-" else "white"
        ax.plot(mean.P, mean / mean[0], color=colour, ls=line, marker="o", mfc=face, label=label)
    ax.plot([], [], color="0.6", lw=1.2, label="distance, random points in $d$ dimensions")
    ax.set(xscale="log", yscale="log", xlabel="points $P$", ylabel=f"relative to $P = {first:g}$", ylim=(0.02, 1.6))
    ax.set_xlim(first / 1.15, float(torus.P[-1]) * 1.9)
    ax.minorticks_off()
    _plain_ticks(ax.xaxis, torus.P.values)
    _plain_ticks(ax.yaxis, [0.03, 0.1, 0.3, 1])
    ax.legend(loc="lower left", fontsize=8, handlelength=2.8)
    return ax


def final_losses(ax: Axes, table: xr.Dataset, N: xr.DataArray) -> Axes:
    """Fig. 2 B: the loss at the end of every net, over h and seed; full: a certified minimum, open: not converged.

    Nets that fit stand on the line at the bottom, with their share.
    """
    shift = np.exp(np.linspace(-0.13, 0.13, table.sizes["seed"]))
    for h in table.h.values:
        one, x = table.sel(h=h), float(N.sel(h=h)) * shift
        loss, stuck, minimum = one.train_loss.values, (one.N_delta > 0).values, (one.certified == 1).values
        for shown, face in ((stuck & minimum, JAMMED), (stuck & ~minimum, "white")):
            ax.plot(x[shown], loss[shown], ls="", marker="o", ms=3, mec=JAMMED, mew=0.6, mfc=face)
        ax.plot(x[~stuck], np.full((~stuck).sum(), ZERO), ls="", marker="o", ms=3, color=LAZY)
        ax.text(float(N.sel(h=h)), ZERO * 4, f"{(~stuck).mean():.0%}", ha="center", fontsize=8, color=LAZY)
    ax.set(xscale="log", yscale="log", ylim=(ZERO / 3, 2), xlabel="parameters $N$", ylabel="loss at the end")
    ticks = [1e-6, 1e-4, 1e-2, 1.0]
    ax.set_yticks([ZERO, *ticks], ["0", *(f"${power(t)}$" for t in ticks)])
    ax.minorticks_off()
    _plain_ticks(ax.xaxis, N.values)
    _expect(ax, 0.97, 0.93, "expected: stuck, whatever $N$", ha="right")
    return ax


def beyond_the_fit(ax: Axes, table: xr.Dataset, ensembles: xr.Dataset, h_star: xr.DataArray) -> Axes:
    """Fig. 2 C: test error against width, single nets full and their ensemble dashed, one colour per alpha_tilde.

    What textbooks expect beyond the widths h* at which nets begin to fit is an arrow.
    """
    for colour, alpha_tilde in zip(CUTS, table.alpha_tilde.values, strict=False):
        one, many = table.test_error.sel(alpha_tilde=alpha_tilde), ensembles.error.sel(alpha_tilde=alpha_tilde)
        error, label = one.std("seed", ddof=1) / np.sqrt(one.sizes["seed"]), rf"$\tilde\alpha={power(alpha_tilde)}$"
        ax.errorbar(one.h, one.mean("seed"), error, color=colour, marker="o", label=label)
        ax.plot(one.h, many, color=colour, ls="--", marker="s", ms=3, mfc="white")
    ax.axvspan(float(h_star.min()), float(h_star.max()), color="0.9", lw=0)
    left, top = float(h_star.max()), ax.get_ylim()[1]
    arrow = dict(arrowstyle="->", color=EXPECTED, connectionstyle="arc3,rad=0.15", lw=1.4)
    ax.annotate("", (left * 3, top), (left * 1.1, 0.64 * top), arrowprops=arrow)
    _expect(ax, 0.97, 0.9, "expected: up from here", ha="right")
    _log_widths(ax, table.h.values)
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set(xlabel="width $h$", ylabel=r"test error $\epsilon$")
    ax.plot([], [], color="0.3", ls="--", label="their ensembles")
    ax.legend(loc="upper right", bbox_to_anchor=(1, 0.88), fontsize=8)
    return ax


def fitted_labels(ax: Axes, tables: Mapping[str, xr.Dataset], P: int) -> Axes:
    """Fig. 2 D: share of training patterns (blue) and test patterns (orange) that nets get wrong, by kind of labels.

    tables: N_delta and test_error over seed.
    """
    for place, table in enumerate(tables.values()):
        x = place + np.linspace(-0.12, 0.12, table.sizes["seed"])
        missed = (table.N_delta / P, LAZY, "o", "training set, margin missed")
        for values, colour, marker, label in (missed, (table.test_error, FEATURE, "s", "test set")):
            ax.plot(x, values, ls="", marker=marker, color=colour, mfc="none", label=label if place == 0 else None)
    ax.axhline(0.5, color=EXPECTED, ls=":", lw=1)
    _expect(ax, 0.03, 0.93, "expected of nets that can fit noise: chance")
    ax.set_xticks(range(len(tables)), tables)
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set(xlim=(-0.5, len(tables) - 0.5), ylim=(-0.03, 0.6), ylabel="wrong")
    ax.legend(loc="center right", fontsize=8)
    return ax


def slice_of_landscape(ax: Axes, axis: np.ndarray, loss: np.ndarray) -> Axes:
    """Colours and contours of log10 of the loss over u and v; a loss below 1e-6 is left white: the solutions."""
    levels = np.arange(-6, 2.01, 0.5)
    height = np.log10(np.clip(loss, 1e-9, 99))
    filled = ax.contourf(axis, axis, height, levels, cmap=LANDSCAPE, extend="max", zorder=-1)
    filled.set_rasterized(True)  # the outlines of all bands would weigh as much as a page
    ax.contour(axis, axis, height, levels[::2], colors="white", linewidths=0.4, linestyles="solid")
    ax.set(xlabel="$u$", ylabel="$v$", aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.set(xlim=axis[[0, -1]], ylim=axis[[0, -1]])
    ax.figure.colorbar(filled, ax=ax, ticks=[-6, -4, -2, 0, 2], label=r"$\log_{10}$ of the loss", shrink=0.8)
    return ax


def paths(ax: Axes) -> Axes:
    """The two paths in the plane of `landscape.loss_in_plane`."""
    ax.plot([0, 1], [0, 0], color=FEATURE, ls="--", label="straight")
    ax.plot([0, 0.5, 1], [0, 1, 0], color=FEATURE, label="with a bend")
    ax.plot([0, 1], [0, 0], ls="", marker="o", ms=6, color=FEATURE, mec="white")
    ax.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    ax.legend(loc="lower center", ncols=2, fontsize=8, labelcolor="white")
    return ax


def barriers(ax: Axes, highest: xr.DataArray, N: xr.DataArray, level: float) -> Axes:
    """The largest loss on the way from one solution to another, over h, seed and path (straight, with a bend)."""
    shift = np.exp(np.linspace(-0.1, 0.1, highest.sizes["seed"]))
    for path, (colour, marker, label) in enumerate(((LAZY, "s", "straight path"), (FEATURE, "o", "path with a bend"))):
        for h in highest.h.values:
            values = highest.sel(h=h).isel(path=path).values
            ax.plot(float(N.sel(h=h)) * shift, values, ls="", marker=marker, color=colour, mfc="none",
                    label=label if h == highest.h[0] else None)  # fmt: skip
    ax.axhline(level, color="0.5", lw=1, ls=":")
    ax.set(xscale="log", yscale="log", xlabel="parameters $N$", ylabel="largest loss on the way")
    ax.minorticks_off()
    _plain_ticks(ax.xaxis, N.values)
    ax.yaxis.set_major_locator(LogLocator(100))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize=8)
    return ax
