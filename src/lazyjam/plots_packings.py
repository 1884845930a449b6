"""The drawing of Figure 6: configurations, energy, contacts and spectra of packings."""

from collections.abc import Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from .packings import Packing, contacts, rattlers
from .plots import STYLE, power

DISKS, ELLIPSES = "#009E73", "#CC79A7"
COMPRESSION = ("#000000", "#8C8C8C", "#D55E00")  # at jamming, a little and a lot above


def panels() -> tuple[Figure, dict[str, Axes]]:
    """The figure and its eight axes, by letter: four boxes in a row, below them four plots in two rows."""
    plt.style.use(STYLE)
    figure = plt.figure(figsize=(9, 9.4))
    axes = figure.subplot_mosaic("AABBCCDD;EEEEFFFF;GGGGHHHH", height_ratios=[1, 1.25, 1.25])
    for letter, ax in axes.items():
        ax.set_title(letter, loc="left", weight="bold")
    return figure, axes


def configuration(ax: Axes, packing: xr.Dataset, colour: str, *, title: str = "") -> Axes:
    """One packing in its box, with its images across the border: x, theta, a and phi at one aspect.

    A line joins the centres of two particles in contact. Rattlers are pale.
    """
    here = Packing(*(packing[name].values for name in ("x", "theta", "a")), float(packing.aspect), float(packing.phi))
    touching, alpha = contacts(here), np.where(rattlers(here), 0.3, 0.8)
    colours = np.array([to_rgba(colour, one) for one in alpha])
    for shift in product((-1, 0, 1), repeat=2):
        x = here.x + shift
        near = ((x > -here.a[:, None]) & (x < 1 + here.a[:, None])).all(1)
        ax.add_collection(EllipseCollection(
            2 * here.a[near], 2 * here.a[near] / here.aspect, np.degrees(here.theta[near]), units="xy", offsets=x[near],
            offset_transform=ax.transData, facecolor=colours[near], edgecolor="white", linewidth=0.6,
        ))  # fmt: skip
        from_x, to = x[touching.pairs[:, 0]], x[touching.pairs[:, 0]] + touching.r
        seen = ((np.minimum(from_x, to) < 1) & (np.maximum(from_x, to) > 0)).all(1)
        broken = np.stack([from_x, to, np.full_like(to, np.nan)], 1)[seen]  # one path of many pieces
        ax.plot(*broken.reshape(-1, 2).T, color="black", lw=0.8, solid_capstyle="butt")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[], yticks=[], title=title)
    ax.spines[:].set_visible(True)
    return ax


def energies(ax: Axes, table: xr.Dataset) -> Axes:
    """Fig. 6 E: energy per particle against the density in excess of jamming, with the square as a guide."""
    above = table.excess.values[table.excess.values > 0]
    for colour, aspect, label in _kinds(table):
        U = (table.U / table.sizes["particle"]).sel(aspect=aspect, excess=above)
        ax.plot(above, U.T, color=colour, lw=0.6, alpha=0.5)
        ax.plot(above, U.mean("seed"), color=colour, marker="o", ls="", label=label)
    ax.plot(above, 0.1 * above**2, color="0.5", ls="--", lw=1, label=r"$\propto (\phi-\phi_c)^2$")
    ax.set(xscale="log", yscale="log", xlabel=r"excess density $\phi-\phi_c$", ylabel="energy per particle $U/n$")
    ax.legend()
    return ax


def contact_numbers(ax: Axes, table: xr.Dataset) -> Axes:
    """Fig. 6 F: contacts over degrees of freedom less one, against the excess density."""
    for colour, aspect, label in _kinds(table):
        ratio = table.contact_ratio.sel(aspect=aspect, excess=table.excess[table.excess >= 0])
        ax.errorbar(ratio.excess, ratio.mean("seed"), ratio.std("seed"), color=colour, marker="o", label=label)
        ax.plot([float(table.excess[0]), 0, 0], [0, 0, ratio.mean("seed")[0]], color=colour, lw=1, ls=":")
    ax.axhline(1, color="0.5", lw=0.8, ls=":")
    ax.set_xscale("symlog", linthresh=1e-5, linscale=0.6)
    ax.set_xticks([-1e-2, 0, 1e-4, 1e-2])
    ax.set_xlim(right=1.5 * float(table.excess[-1]))
    ax.set(xlabel=r"excess density $\phi-\phi_c$", ylabel=r"contacts $N_\Delta / (N - 1)$")
    ax.legend(loc="center right")
    return ax


def spectrum(ax: Axes, table: xr.Dataset, aspect: float, excess: Sequence[float], *, title: str = "") -> Axes:
    """Fig. 6 G, H: density of the logarithm of the eigenvalues of H, at some compressions.

    The arrows stand at the square root of the energy per particle. Translations, at zero, are left out.
    """
    bins = np.linspace(-9, 1, 61)
    for colour, more in zip(COMPRESSION, excess, strict=False):
        here = table.sel(aspect=aspect, excess=more)
        modes = here.spectrum.values[np.isfinite(here.spectrum.values)]
        share = np.full(len(modes), 1 / len(modes))
        logs = np.log10(np.clip(modes, 1e-30, None))
        label = "at jamming" if more == 0 else rf"$\phi-\phi_c = {power(more)}$"
        ax.hist(logs, bins, weights=share, histtype="step", color=colour, lw=1.4, label=label)
        root = np.log10(np.sqrt(float(here.U.mean("seed")) / table.sizes["particle"]))
        ax.annotate("", (root, 0), (root, 0.02), arrowprops=dict(arrowstyle="->", color=colour, lw=1.4))
    ax.set(xlabel=r"$\log_{10} \lambda$", ylabel="share of modes", title=title, xlim=(bins[0], bins[-1]))
    ax.legend(loc="upper left")
    return ax


def _kinds(table: xr.Dataset) -> list[tuple[str, float, str]]:
    names = ["disks" if aspect == 1 else f"ellipses, aspect {aspect:g}" for aspect in table.aspect.values]
    return list(zip((DISKS, ELLIPSES), table.aspect.values.tolist(), names, strict=False))
