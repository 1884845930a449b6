"""One drawing function per figure: table in, axes out. Colour means the same thing everywhere in the book."""

import re
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import SupportsFloat

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedLocator, LogLocator, NullFormatter, PercentFormatter

from .crossover import crossover, kernel_ratio
from .fits import PowerLaw
from .jamming import authors_width, jamming_width
from .setups import Setup

LAZY, FEATURE, JAMMED, UNKNOWN = "#0072B2", "#E69F00", "#000000", "#BDBDBD"
CUTS = (FEATURE, "#009E73", LAZY)  # cuts at fixed alpha_tilde: low, near the cross-over, high
ERROR_MAP = sns.color_palette("crest_r", as_cmap=True)  # perceptually uniform; dark is a low error
BUDGET_LINES = (("3 $\\tau$", "#FDE0A6", ":"), ("30 $\\tau$", "#F5A86C", "--"), ("300 $\\tau$", "#D55E00", "-"))
NAMES = dict(mnist="MNIST", fashion_mnist="Fashion-MNIST", cifar10="CIFAR-10", cifar10_jpeg="CIFAR-10 (JPEG copy)")
STYLE = Path(__file__).with_name("lazyjam.mplstyle")


def subplots(
    columns: int = 1, *, rows: int = 1, width: float = 9.0, height: float = 4.2, **options
) -> tuple[Figure, np.ndarray]:
    """A figure in the style of the book, and its axes as an array: (columns,) for one row, else (rows, columns)."""
    plt.style.use(STYLE)
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **options)
    return figure, axes if rows > 1 else axes[0]


def save(figure: Figure, folder: str | Path, name: str, numbers: pd.DataFrame) -> None:
    """Write name.svg, name.png and, beside them, the numbers drawn as name.csv: the same bytes on every run.

    Raises OSError with the folder's name where it cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawing = StringIO()
    figure.savefig(drawing, format="svg", metadata={"Date": None, "Creator": None})
    (folder / f"{name}.svg").write_text(_short(drawing.getvalue()), encoding="utf-8")
    figure.savefig(folder / f"{name}.png", metadata={"Software": None})
    numbers.to_csv(folder / f"{name}.csv", float_format="%.6g")


def _short(svg: str) -> str:
    """Coordinates of paths to a hundredth of a point, which is all that can be seen of them."""
    return re.sub(r'(?<= d=")[^"]*', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), svg)


def title(setup: Setup) -> str:
    """What the runs of a panel have in common: the data set, the components kept, and P."""
    return f"{NAMES.get(setup.dataset, setup.dataset)}, {setup.d} components, $P = {setup.P}$"


def _edges(values: np.ndarray) -> np.ndarray:
    """Edges of cells around points on a logarithmic axis."""
    logs = np.log(values)
    if len(logs) == 1:
        return values * np.exp([-0.5, 0.5])
    inner = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - inner[0]], inner, [2 * logs[-1] - inner[-1]]]))


def phase_diagram(
    ax: Axes,
    table: xr.Dataset,
    ensembles: xr.Dataset,
    *,
    title: str = "",
    levels: tuple[float, ...] = (1e-4, 1e-2, 1e2),
    cuts: Sequence[SupportsFloat] = (),
) -> Axes:
    """Fig. 4: the plane (h, alpha_tilde).

    Colour: test error of the ensemble of the nets that fit; black where fewer than half fit; hatched, with the number
    that fit, where not all do; grey where no net came to an end, or none was run.
    Lines: jamming h* for the three budgets of flow time with the 10-90 % band of the longest, the authors' rule dotted;
    the cross-over ||dTheta|| = ||Theta_0|| in full, other ratios dashed. cuts: values of alpha_tilde of Fig. 5, in the
    colours of its curves.
    """
    h, alpha_tilde = table.h.values.astype(float), table.alpha_tilde.values
    error = ensembles.error.transpose("alpha_tilde", "h")
    x, y = _edges(h), _edges(alpha_tilde)
    ax.set_facecolor(JAMMED)
    mesh = ax.pcolormesh(x, y, np.ma.masked_invalid(error.values), cmap=ERROR_MAP, linewidth=0, rasterized=True)
    unknown = table.N_delta.count("seed").transpose("alpha_tilde", "h").values == 0
    ax.pcolormesh(x, y, np.ma.masked_array(unknown, ~unknown), cmap=ListedColormap([UNKNOWN]), rasterized=True)
    partial = (ensembles.M < table.N_delta.count("seed")) & ensembles.error.notnull()
    _hatch(ax, x, y, ensembles.M.where(partial).transpose("alpha_tilde", "h").values)
    for budget, (label, colour, line) in enumerate(BUDGET_LINES):
        star = jamming_width(table.N_delta_at.isel(budget=budget))
        ax.plot(*_steps(star, h, x, y), line, color=colour, lw=1.8, label=label)
    last = table.N_delta_at.isel(budget=-1)
    (low, rows), (high, _) = (_steps(jamming_width(last, share), h, x, y) for share in (0.1, 0.9))
    ax.fill_betweenx(rows, low, high, color=BUDGET_LINES[-1][1], alpha=0.3, lw=0)
    ax.plot(*_steps(authors_width(last), h, x[1:], y), color="white", lw=0.9, ls=":", label="all fail")
    halo = [withStroke(linewidth=2.5, foreground="white")]
    for level in (*levels, 1.0):
        star = crossover(table, level)
        ax.plot(h, star, color=JAMMED, lw=1.8 if level == 1 else 0.9, ls="-" if level == 1 else (0, (4, 2)))
        if star.notnull().any():
            ax.text(h[-1], float(star.dropna("h")[-1]), f"${power(level)}$", ha="right", va="bottom", fontsize=8,
                    path_effects=halo)
    for cut, colour in zip(cuts, CUTS, strict=False):
        ax.axhline(cut, color="white", lw=2)
        ax.axhline(cut, color=colour, lw=1.2, ls=(0, (3, 1.5)))
    for text, place, colour in (("lazy", (0.6, 0.92), LAZY), ("feature", (0.6, 0.05), FEATURE)):
        ax.text(*place, text, transform=ax.transAxes, color=colour, weight="bold", ha="center", fontsize=12,
                path_effects=halo)
    look = dict(color="white", rotation=90, ha="center", va="center", fontsize=11)
    ax.text(0.06, 0.65, "jamming", transform=ax.transAxes, **look)  # where lazy nets are: most is black there
    _log_widths(ax, h)
    ax.set(yscale="log", xlim=x[[0, -1]], ylim=y[[0, -1]], title=title, xlabel="width $h$",
           ylabel=r"output scale $\tilde\alpha = \sqrt{h}\,\alpha$")
    ax.yaxis.set_major_locator(LogLocator(numticks=12))
    ax.figure.colorbar(mesh, ax=ax, format=PercentFormatter(1, 1), label="ensemble test error", pad=0.02)
    return ax


def _hatch(ax: Axes, x: np.ndarray, y: np.ndarray, M: np.ndarray) -> None:
    for j, i in zip(*np.nonzero(np.isfinite(M)), strict=True):
        corner, size = (x[i], y[j]), (x[i + 1] - x[i], y[j + 1] - y[j])
        ax.add_patch(plt.Rectangle(corner, *size, fill=False, hatch="////", edgecolor="white", lw=0))
        middle = np.sqrt(x[i] * x[i + 1]), np.sqrt(y[j] * y[j + 1])
        ax.text(*middle, f"{M[j, i]:.0f}", ha="center", va="center", fontsize=7,
                path_effects=[withStroke(linewidth=2, foreground="white")])


def _steps(width: xr.DataArray, h: np.ndarray, edges: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A line along the edges of the cells: it separates a width from the narrower ones, row by row."""
    known = width.notnull().values
    position = np.searchsorted(h, np.where(known, width.values, h[0]))
    return np.repeat(np.where(known, edges[position], np.nan), 2), np.repeat(rows, 2)[1:-1]


def _log_widths(ax: Axes, h: np.ndarray) -> None:
    ax.set_xscale("log", base=2)
    _plain_ticks(ax.xaxis, [w for w in (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024) if h[0] <= w <= h[-1]])


def double_descent(
    ax: Axes, table: xr.Dataset, ensembles: xr.Dataset, *, title: str = "", colours: Sequence[str] = CUTS
) -> Axes:
    """Fig. 5: test error against width, one colour per alpha_tilde.

    Full line with its error band: single nets, all seeds. Thin line: those that fit. Dashed: the ensemble of all seeds.
    Vertical band: from the width at which a tenth of the seeds fit to that at which nine tenths do; line: h*.
    """
    for colour, alpha_tilde in zip(colours, table.alpha_tilde.values, strict=False):
        one, many = table.sel(alpha_tilde=alpha_tilde), ensembles.sel(alpha_tilde=alpha_tilde)
        error = one.test_error.mean("seed")
        spread = one.test_error.std("seed", ddof=1) / np.sqrt(one.sizes["seed"])
        ax.plot(one.h, error, color=colour, marker="o", label=rf"$\tilde\alpha = {power(alpha_tilde)}$")
        ax.fill_between(one.h, error - spread, error + spread, color=to_rgba(colour, 0.2), lw=0)
        ax.plot(one.h, one.test_error.where(one.N_delta == 0).mean("seed"), color=colour, lw=0.7)
        ax.plot(one.h, many.error, color=colour, ls="--", marker="s", ms=3)
        low, star, high = (float(jamming_width(one.N_delta, share)) for share in (0.1, 0.5, 0.9))
        ax.axvspan(low, high, color=to_rgba(colour, 0.12), lw=0)
        ax.axvline(star, color=colour, lw=0.8, ls=":")
    _log_widths(ax, table.h.values)
    ax.yaxis.set_major_formatter(PercentFormatter(1, 0))
    ax.set(title=title, xlabel="width $h$", ylabel=r"test error $\epsilon$")
    ax.plot([], [], color="0.3", marker="o", label="single nets")
    ax.plot([], [], color="0.3", ls="--", marker="s", ms=3, label="their ensemble")
    ax.legend()
    return ax


def kernel_change(ax: Axes, table: xr.Dataset, against: str = "alpha_tilde") -> Axes:
    """Relative change of the kernel against alpha_tilde (or "alpha"), one line per width; the line at 1 is full."""
    ratio = kernel_ratio(table)
    palette = sns.color_palette("flare", len(ratio.h))
    for colour, h in zip(palette, ratio.h.values, strict=True):
        scale = np.sqrt(h) if against == "alpha" else 1.0
        ax.plot(ratio.alpha_tilde / scale, ratio.sel(h=h), color=colour, marker="o", ms=3, lw=1.2, label=f"$h={h}$")
    ax.axhline(1, color=JAMMED, lw=1)
    label = r"$\tilde\alpha=\sqrt{h}\,\alpha$" if against == "alpha_tilde" else r"$\alpha$"
    ax.set(xscale="log", yscale="log", xlabel=label, ylabel=r"$\|\Delta\Theta\| \,/\, \|\Theta_0\|$")
    return ax


def jamming_trend(ax: Axes, star: xr.DataArray) -> Axes:
    """h* against the number of patterns P, one line per alpha_tilde, from feature learning (orange) to lazy (blue)."""
    palette = sns.blend_palette([FEATURE, "#8C8C8C", LAZY], star.sizes["alpha_tilde"])
    for i, (colour, alpha_tilde) in enumerate(zip(palette, star.alpha_tilde.values, strict=True)):
        label, size = rf"$\tilde\alpha = {power(alpha_tilde)}$", 9 - 2 * i  # where lines coincide, all can be seen
        ax.plot(star.P, star.sel(alpha_tilde=alpha_tilde), color=colour, marker="o", ms=size, lw=size / 2, label=label)
    ax.set(xscale="log", yscale="log", xlabel="training images $P$", ylabel="jamming width $h^*$")
    _plain_ticks(ax.xaxis, star.P.values)
    _plain_ticks(ax.yaxis, [h for h in (2, 3, 4, 6, 8, 12, 16, 24, 32, 64) if star.min() <= h <= star.max()])
    ax.legend()
    return ax


def learning_curve(
    ax: Axes, x: Sequence[SupportsFloat], samples: np.ndarray, fit: PowerLaw, beyond: tuple[SupportsFloat, ...]
) -> Axes:
    """Test error in per cent against P: the mean of the samples with their spread, and the fitted power law.

    beyond: P, error and its uncertainty of a measurement that is no part of the fit, drawn open. Up to it the line is
    continued, dashed.
    """
    P, measured, uncertainty = (float(number) for number in beyond)
    ax.errorbar(x, samples.mean(0), samples.std(0, ddof=1), color="0.2", marker="o", ls="")
    ax.errorbar(P, measured, uncertainty, color="0.2", marker="o", mfc="white", ls="", label=f"measured at {P:g}")
    inside, outside = np.array(fit.window), np.array([fit.window[1], P])
    ax.plot(inside, fit.at(inside), color="0.2", label=f"$P^{{{fit.slope:.2f}}}$")
    ax.plot(outside, fit.at(outside), color="0.2", ls="--")
    ax.set(xscale="log", yscale="log", xlabel="training images $P$", ylabel="lowest ensemble error, %")
    _plain_ticks(ax.xaxis, [*x, P])
    _plain_ticks(ax.yaxis, range(4, 40, 2))
    ax.legend()
    return ax


def _plain_ticks(axis: Axis, values: Iterable[SupportsFloat]) -> None:
    """Ticks at these values of a logarithmic axis, written as plain numbers."""
    axis.set_major_locator(FixedLocator(list(values)))
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def percent(ax: Axes) -> None:
    """Ticks in per cent on a logarithmic axis of errors."""
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 3, 5)))
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_minor_formatter(NullFormatter())


def power(value: float) -> str:
    """A number for a formula: 4e-3 as 4 x 10^-3, 10 as 10."""
    if 0.1 <= value < 100:
        return f"{value:g}"
    mantissa, exponent = f"{value:e}".split("e")
    factor = "" if float(mantissa) == 1 else rf"{float(mantissa):g} \cdot "
    return rf"{factor}10^{{{int(exponent)}}}"


def rows(*tables: xr.Dataset) -> pd.DataFrame:
    """Tables over the same axes as the rows of one, for the numbers beside a figure."""
    return pd.concat([table.to_dataframe().reset_index() for table in tables], ignore_index=True)
