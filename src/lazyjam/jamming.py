"""The jamming line: the width below which the training loss no longer reaches zero.

Where it lies depends on how long the flow may run, which is counted in flow time, in units of tau: a property of the
flow, not of the machine or the integrator.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from .cache import Cache
from .ensembles import HOW
from .experiment import grid_of, sweep
from .hessian import bending, negative
from .observables import JAMMED, STANDARD, N_delta, Observable
from .setups import Setup
from .tangents import stack
from .training import training_data

BUDGET = 300.0  # the longest budget, in units of tau; N_delta is recorded at 3 and 30 tau as well


def fit_time(
    setup: Setup, cache: Cache | None, *, h: int, alpha_tilde: Sequence[float], seeds: int = 3, **how: Any
) -> xr.DataArray:
    """tau(alpha_tilde): the median flow time in which the widest nets, of width h, fit their training set.

    Over the first `seeds` initial weights, to two significant digits, so that a budget in units of tau is the same
    number wherever it is computed again. Raises ValueError where the widest nets do not fit.
    """
    table = sweep(setup.replace(h=h), STANDARD, cache, alpha_tilde=alpha_tilde, seed=range(seeds), **how)
    if bool((table.N_delta != 0).any()):
        raise ValueError(f"nets of width {h} do not fit {setup.P} patterns: choose a wider one to measure the time.")
    median = table.t_end.median("seed")
    return median.copy(data=np.array([float(f"{t:.1e}") for t in median.values])).rename("tau")


def plane(
    setup: Setup, cache: Cache | None, *, h: Sequence[int], alpha_tilde: Sequence[float],
    narrowest: Sequence[int] | None = None, **how: Any,
) -> dict[str, Any]:
    """The axes of a phase diagram for `sweep` and `ensemble`: h, alpha_tilde, and t_max = 300 tau(alpha_tilde).

    The widest nets define tau, so they run until they fit, without a limit. narrowest: for every alpha_tilde, the width
    below which nets are not run: t_max is NaN. Raises ValueError for a list that is not as long as alpha_tilde, and for
    a width above the widest.
    """
    if narrowest is not None and len(narrowest) != len(alpha_tilde):
        raise ValueError(f"give a narrowest width for each of {len(alpha_tilde)} output scales, got {list(narrowest)}.")
    if narrowest is not None and max(narrowest) > max(h):
        raise ValueError(f"the widest nets, h = {max(h)}, set the time: no narrowest width is above, got {narrowest}.")
    tau = fit_time(setup, cache, h=max(h), alpha_tilde=alpha_tilde, **how)
    widths = xr.DataArray(list(h), dims="h", coords={"h": list(h)})
    t_max = xr.where(widths == max(h), np.inf, BUDGET * tau)
    if narrowest is not None:
        t_max = t_max.where(widths >= tau.copy(data=list(narrowest)))
    return {"h": list(h), "alpha_tilde": list(alpha_tilde), "t_max": t_max}


def fitted_share(N_delta: xr.DataArray) -> xr.DataArray:
    """The share of the seeds that fit, N_delta = 0. A NaN is a seed that was not run; NaN where none was."""
    return (N_delta == 0).sum("seed") / N_delta.count("seed")


def jamming_width(N_delta: xr.DataArray, share: float = 0.5) -> xr.DataArray:
    """h*: the smallest width at which at least `share` of the seeds fit; NaN if there is none.

    N_delta has the dimensions h and seed among others. share = 1/2 is the jamming line, 0.1 and 0.9 its band. Where
    nothing is known of the next narrower width, h* is not known either: NaN.
    """
    fits = fitted_share(N_delta).sortby("h")
    star = fits.h.where(fits >= share).min("h").rename("h_star")
    nothing_below = fits.isnull().shift(h=1, fill_value=False)
    return star.where(~(nothing_below & (fits.h == star)).any("h"))


def authors_width(N_delta: xr.DataArray) -> xr.DataArray:
    """The authors' line: going down in width, the first at which every seed fails; NaN if there is none.

    Where nothing is known of the next wider one, it is not known either: NaN.
    """
    fits = fitted_share(N_delta).sortby("h")
    width = fits.h.where(fits == 0).max("h").rename("h_fail")
    nothing_above = fits.isnull().shift(h=-1, fill_value=False)
    return width.where(~(nothing_above & (fits.h == width)).any("h"))


def bisect_width(
    setup: Setup, cache: Cache | None, *, h: Sequence[int], alpha: float = 1.0,
    observables: Sequence[Observable] = JAMMED, **axes: Any,
) -> xr.Dataset:
    """h* by bisection of the ascending widths h, for every point of the axes (P, seed, ...) on its own.

    Training sets of one seed_data are nested, so a net that fits a larger one fits a smaller one too. The output scale
    alpha is the same for all widths: alpha_tilde = sqrt(h) alpha. What `sweep` takes besides axes goes to it.

    Variables: those of the observables for every net that was trained, along the dimension `round`, with h and N, its
    width and number of parameters, NaN in a round in which the search was over; h_low, h_high: the widest that did not
    fit below the narrowest that did, NaN if there is none, and both NaN if a run was broken off. That all narrower nets
    fail and all wider ones fit is assumed, as in every bisection.

    Raises ValueError, before any work, for widths that do not ascend or are not whole, for a field that depends on an
    axis, and for what `sweep` refuses.
    """
    how = {name: axes.pop(name) for name in HOW if name in axes}
    if not len(h) or list(h) != sorted({*h}) or any(width != int(width) for width in h):
        raise ValueError(f"the widths to bisect are whole numbers and ascend, without repeats, got {list(h)}.")
    if dependent := [name for name, values in axes.items() if isinstance(values, xr.DataArray)]:
        raise ValueError(f"a bisection takes lists of values, got a DataArray for {dependent[0]}.")
    coords = grid_of(setup.replace(h=int(h[-1])), axes)[1]
    shape = tuple(map(len, coords.values()))
    low, high, rounds = np.full(shape, -1), np.full(shape, len(h)), []
    widths, lost = np.array(h, dtype=int), np.zeros(shape, dtype=bool)
    asked = [*dict.fromkeys([*observables, N_delta])]
    for _ in range(math.ceil(math.log2(len(h) + 1))):
        middle = ((low + high) // 2).clip(0, len(h) - 1)
        there = xr.DataArray(widths[middle], dims=tuple(coords), coords=coords)
        table = sweep(setup, asked, cache, h=there, alpha_tilde=alpha * np.sqrt(there), **coords, **how)
        count = table.N_delta.transpose(*coords).values
        searching = (high - low > 1) & ~lost
        lost = lost | searching & np.isnan(count)
        high, low = np.where(searching & (count == 0), middle, high), np.where(searching & (count > 0), middle, low)
        visited = table.assign(h=there, N=there.copy(data=_sizes(setup, there.values))).astype(float)
        rounds.append(visited.where(xr.DataArray(searching, dims=tuple(coords), coords=coords)))
    ends = {"h_low": np.r_[widths, np.nan][low], "h_high": np.r_[widths, np.nan][high]}
    ends = {name: (tuple(coords), np.where(lost, np.nan, values)) for name, values in ends.items()}
    return xr.concat(rounds, "round").assign(ends)


def signs_at_start(setup: Setup, *, activation: Sequence[str], seed: Iterable[int]) -> xr.Dataset:
    """The shares of negative and of positive eigenvalues of H_p at the initial weights, over activation and seed.

    There f = 0, so every pattern is unsatisfied with Delta = 1 (Section 2.2).
    """
    seeds, rows = list(seed), []
    for one in (setup.replace(activation=name, seed=s) for name in activation for s in seeds):
        network, train = one.network, training_data(one).train
        tangent = network.tangent(stack([network.init(torch.Generator().manual_seed(one.seed))]), train.x)
        values = torch.linalg.eigvalsh(bending(tangent, train.y, torch.ones_like(tangent.f), 1.0))
        rows.append((negative(values) / one.N, negative(-values) / one.N))
    shares = np.reshape(rows, (len(activation), len(seeds), 2))
    variables = {name: (("activation", "seed"), shares[..., i]) for i, name in enumerate(("negative", "positive"))}
    return xr.Dataset(variables, coords={"activation": list(activation), "seed": seeds})


def parameters(setup: Setup, h: xr.DataArray) -> xr.DataArray:
    """N, the number of parameters of nets of these widths; NaN where the width is."""
    return xr.where(np.isfinite(h), h.copy(data=_sizes(setup, np.nan_to_num(h.values, nan=1.0))), np.nan)


def _sizes(setup: Setup, widths: np.ndarray) -> np.ndarray:
    sizes = {width: setup.replace(h=int(width)).N for width in np.unique(widths)}
    return np.vectorize(sizes.get, otypes=[float])(widths)
