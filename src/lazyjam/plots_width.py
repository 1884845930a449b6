"""The drawing of Figure 3: functions and their linearisations, and neurons that become a density."""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import MaxNLocator

from .infinite_width import Patch
from .plots import FEATURE, JAMMED, LAZY


def manifold(ax: Axes, piece: Patch) -> Axes:
    """The surface that the outputs of the first net run over, seen from its tangent plane, which is drawn in grey.

    Horizontally the outputs at the first two inputs, upwards that at the third one minus its value in the tangent
    plane. The dot is the initial net. Axes in three dimensions take the place of ax.
    """
    figure, place = ax.figure, ax.get_subplotspec()
    ax.remove()
    ax = figure.add_subplot(place, projection="3d")
    (x, y, z), (x_flat, y_flat, z_flat) = (part[0, :, :, :3].movedim(2, 0).numpy() for part in piece)
    middle = len(x) // 2
    every = max(1, (len(x) - 1) // 10)
    ax.plot_surface(x_flat, y_flat, 0 * z_flat, color="0.6", alpha=0.35, lw=0, shade=False)
    ax.plot_wireframe(x, y, z - z_flat, color=LAZY, rstride=every, cstride=every, lw=0.8)
    ax.scatter(x[middle, middle], y[middle, middle], 0, color=JAMMED, s=18, depthshade=False)
    ax.set(xlabel=r"$\tilde f(x_1)$", ylabel=r"$\tilde f(x_2)$", zlim=(-1, 1))
    ax.set_zlabel(r"$\tilde f(x_3)$ above the plane", fontsize=8)
    ax.tick_params(labelsize=7, pad=-2)
    for axis in (ax.xaxis, ax.yaxis, ax.zaxis):
        axis.labelpad = -5
        axis.set_major_locator(MaxNLocator(4))
    return ax


def over_line(ax: Axes, x: np.ndarray, both: xr.DataArray, train: tuple[np.ndarray, np.ndarray]) -> Axes:
    """The predictor of one input at the end, full, and to first order in the weights, dashed; f = 0, as at the start.

    both: over which and pixel, as in `watched.on_line`, at the points x. train: the training inputs and their labels.
    """
    f, linear = both.values
    ax.axhline(0, color="0.5", lw=1, ls=":", label="at the start")
    ax.plot(x, f, color=JAMMED, lw=1.8, label="at the end, $f$")
    ax.plot(x, linear, color=LAZY, lw=1.5, ls="--", label=r"linearised, $f_\mathrm{lin}$")
    ax.plot(*train, color=FEATURE, ls="", marker="o", ms=5, mec=JAMMED, mew=0.5, label="training points")
    ax.set(xlabel="$x$", ylabel="predictor")
    return ax


def density(ax: Axes, wide: xr.DataArray, narrow: xr.DataArray, bins: int = 60) -> Axes:
    """First weights of the neurons of two nets of two inputs: the density of the wide one, and the narrow one as dots.

    The grey is logarithmic.

    wide, narrow: over neuron and number, as in `watched.neurons_by_loss`. The square holds all but the farthest
    hundredth of the wide net's neurons.
    """
    many, few = (net.values[:, :2].astype(float) for net in (wide, narrow))
    edge = np.quantile(np.abs(many).max(1), 0.99)
    line = np.linspace(-edge, edge, bins)
    ax.hist2d(*many.T, bins=(line, line), cmap="Greys", norm=LogNorm(vmin=0.5), rasterized=True)
    ax.scatter(*few.T, s=12, color=FEATURE, edgecolor=JAMMED, lw=0.4)
    ax.set(xlabel=r"$W_\parallel$", ylabel=r"$W_\perp$", aspect="equal", xlim=(-edge, edge), ylim=(-edge, edge))
    return ax
