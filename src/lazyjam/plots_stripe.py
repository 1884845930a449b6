"""The drawing of Section 5 and of a net of two inputs: neurons, predictors, exponents, and what eigenvectors know."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter

from .fits import PowerLaw
from .plots import FEATURE, LAZY, _plain_ticks, percent
from .watched import EDGE

PLUS, MINUS = "#BBBBBB", "#555555"  # of the two labels


def arrows(neurons: xr.DataArray, x: np.ndarray) -> np.ndarray:
    """W1 |W2| of the neurons (h, 2), scaled so that the farthest lies on the edge of the data x (P, 2)."""
    ends = neurons.values[:, :2].astype(float) * np.abs(neurons.values[:, -1:])
    return np.abs(x).max() * ends / np.sqrt((ends**2).sum(1)).max()


def neurons(ax: Axes, x: np.ndarray, y: np.ndarray, story: xr.DataArray, shown: Sequence[float]) -> Axes:
    """Weights W1 of the neurons times |W2|, as points over the data of two dimensions, at some losses.

    x (P, 2), y (P,) of +-1. story: over level, neuron and number, see `watched.neurons_by_loss`.
    """
    for label, colour, marker in ((1, PLUS, "o"), (-1, MINUS, "x")):
        points = x[y == label]
        ax.scatter(*points.T, s=9, color=colour, marker=marker, lw=0.7, label=f"$y={label:+d}$")
    for level, colour in zip(shown, sns.color_palette("flare", len(shown)), strict=True):
        label = rf"$\mathcal{{L}}/\mathcal{{L}}_0={level:g}$"
        ax.scatter(*arrows(story.sel(level=level), x).T, s=7, color=colour, lw=0, label=label)
    ax.set(xlabel=r"$x_\parallel$", ylabel=r"$x_\perp$", aspect="equal")
    ax.legend(markerscale=1.8, handletextpad=0.1, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return ax


STYLES = {
    "net": dict(color=FEATURE, marker="s", ls="-"),
    "kernel at the start": dict(color=LAZY, marker="o", ls="-"),
    "kernel at the start, squeezed data": dict(color=LAZY, marker="o", ls="--", mfc="white"),
}


def learning_curves(ax: Axes, errors: Mapping[str, xr.DataArray], fits: Mapping[str, PowerLaw]) -> Axes:
    """Test error against P, the mean over `seed_data` with its standard error, with fits where there are some."""
    for name, error in errors.items():
        style, label = STYLES[name], name
        if name in fits:
            label += rf", $\beta={-fits[name].slope:.2f}$"
        ax.errorbar(error.P, error.mean("seed_data"), _standard_error(error), ms=5, label=label, **style)
    _log_P(ax, error.P.values.tolist())
    ax.set(yscale="log", ylabel=r"test error $\epsilon$")
    ax.set_ylim(bottom=ax.get_ylim()[0] / 2)  # room for the legend
    percent(ax)
    ax.legend(fontsize=8, loc="lower left")
    return ax


def against_P(ax: Axes, values: xr.DataArray, fit: PowerLaw, guide: float, label: str) -> Axes:
    """Any number against P, the mean over `seed_data` with its standard error, its fit, and a guide."""
    P, mean = values.P.values, values.mean("seed_data")
    ax.errorbar(P, mean, _standard_error(values), color="0.15", marker="o", ms=5, ls="")
    ax.plot(P, fit.at(P), color="0.15", label=rf"$P^{{{fit.slope:.2f}}}$")
    ax.plot(P, float(mean[0]) * 1.25 * (P / P[0]) ** guide, color="0.5", ls=":", label=rf"$P^{{{guide:g}}}$")
    _log_P(ax, P.tolist())
    ax.set(yscale="log", ylabel=label)
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 3, 5)))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return ax


def by_dimension(ax: Axes, error: xr.DataArray, fits: Mapping[int, PowerLaw]) -> Axes:
    """Test error against P for several d: mean and standard error over `seed_data`, and the fitted lines."""
    for d, colour, marker in zip(error.d.values, sns.color_palette("colorblind"), "osD^v", strict=False):
        one, fit = error.sel(d=d), fits[int(d)]
        label = rf"$d={d}$, $\beta={-fit.slope:.2f}$"
        style = dict(color=colour, marker=marker, ms=4, ls="", label=label)
        ax.errorbar(one.P, one.mean("seed_data"), _standard_error(one), **style)
        ax.plot(one.P, fit.at(one.P.values), color=colour)
    _log_P(ax, error.P.values.tolist())
    ax.set(yscale="log", ylabel=r"test error $\epsilon$")
    percent(ax)
    ax.legend(fontsize=8)
    return ax


def local_exponents(ax: Axes, P: Sequence[int], fits: Mapping[int, PowerLaw], expected: Mapping[int, float]) -> Axes:
    """The exponent between neighbouring P, for several d, and what is expected of each as a dotted line."""
    middle = np.sqrt(np.array(P[1:]) * np.array(P[:-1]))
    for (d, fit), colour, marker in zip(fits.items(), sns.color_palette("colorblind"), "osD^v", strict=False):
        ax.plot(middle, -np.asarray(fit.local_slopes), color=colour, marker=marker, ms=4, label=f"$d={d}$")
        ax.axhline(expected[d], color=colour, ls=":", lw=1)
    _log_P(ax, P)
    low, high = ax.get_ylim()
    ax.set(ylabel=r"$-d\log\epsilon\,/\,d\log P$", ylim=(low - 0.15 * (high - low), high))  # room for the legend
    ax.legend(fontsize=8, ncols=4, loc="lower center")
    return ax


def against_factor(ax: Axes, factors: np.ndarray, error: xr.DataArray, fit: PowerLaw, guide: float) -> Axes:
    """Error of a kernel against Lambda, by which the uninformative directions were divided; fit and expected slope."""
    mean = error.mean("seed_data").values
    ax.errorbar(factors, mean, _standard_error(error), color=LAZY, marker="o", ms=4, ls="")
    inside = np.array(fit.window)
    ax.plot(inside, fit.at(inside), color=LAZY, label=rf"$\Lambda^{{{fit.slope:.2f}}}$")
    ax.plot(factors, 1.25 * mean[0] * factors**guide, color="0.5", ls=":", label=rf"$\Lambda^{{{guide:.2f}}}$")
    ax.set(xscale="log", yscale="log", xlabel=r"$\Lambda$", ylabel=r"test error $\epsilon$")
    ax.set_ylim(0.5 * mean.min(), 1.6 * mean.max())
    _plain_ticks(ax.xaxis, (1, 2, 3, 5, 10, 20, 30))
    percent(ax)
    ax.legend()
    return ax


def by_rank(ax: Axes, values: xr.DataArray, *, label: str) -> Axes:
    """What the top eigenvectors hold, at the start and at the end: mean over the runs, and all of them as a band."""
    ranks = np.arange(1, values.sizes["rank"] + 1)
    for when, name, colour, marker in ((0, "at the start", LAZY, "o"), (1, "at the end", FEATURE, "s")):
        one = values.isel(when=when)
        others = [dim for dim in one.dims if dim != "rank"]
        ax.fill_between(ranks, one.min(others), one.max(others), color=colour, alpha=0.2, lw=0)
        ax.plot(ranks, one.mean(others), color=colour, marker=marker, ms=4, label=name)
    ax.set(xlabel=r"rank of the eigenvalue $\lambda$", ylabel=label)
    _plain_ticks(ax.xaxis, (1, 5, 10, 15, 20))
    ax.legend()
    return ax


def _standard_error(values: xr.DataArray) -> xr.DataArray:
    return values.std("seed_data", ddof=1) / np.sqrt(values.sizes["seed_data"])


def _log_P(ax: Axes, P: Iterable[int]) -> None:
    ax.set(xscale="log", xlabel="training points $P$")
    _plain_ticks(ax.xaxis, P)


def predictor(ax: Axes, f: np.ndarray, x: np.ndarray, y: np.ndarray) -> Axes:
    """A predictor in the plane, f on `watched.grid()`, and the training points x (P, 2).

    Its zero is a line. Its colour, of which only the pale half of a map is used, ends at -2 and 2.
    """
    side = round(len(f) ** 0.5)
    line, square = np.linspace(-EDGE, EDGE, side), f.reshape(side, side)
    outer = EDGE * side / (side - 1)  # of the pixels, whose middles are the points; few colours make a small file
    ax.imshow(square.clip(-2, 2), cmap=colormaps["PuOr"].resampled(64), vmin=-4, vmax=4, origin="lower",
              extent=(-outer, outer, -outer, outer), interpolation="bilinear")  # fmt: skip
    ax.contour(line, line, square, [0.0], colors="0.1", linewidths=1.2)
    for label, marker, face in ((1, "o", "white"), (-1, "o", "0.1")):
        ax.scatter(*x[y == label].T, s=9, marker=marker, facecolor=face, edgecolor="0.1", lw=0.6)
    ax.set(xlim=(-EDGE, EDGE), ylim=(-EDGE, EDGE), aspect="equal", xticks=(-2, 0, 2), yticks=(-2, 0, 2))
    return ax


def along_the_flow(ax: Axes, table: xr.Dataset, column: str, label: str) -> Axes:
    """A number of two nets, over alpha_tilde (the feature net first) and t_max, against flow time until they fit."""
    for i, (name, colour, marker) in enumerate((("feature", FEATURE, "s"), ("lazy", LAZY, "o"))):
        run = table.isel(alpha_tilde=i)
        going = (run.N_delta > 0).shift(t_max=1, fill_value=True)
        ax.plot(run.t_end.where(going), run[column].where(going), color=colour, marker=marker, ms=3.5, label=name)
    ax.set(xscale="log", xlabel="flow time $t$", ylabel=label)
    ax.legend(fontsize=8)
    return ax
