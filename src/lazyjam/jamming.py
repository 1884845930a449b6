"""The jamming line: the width below which the training loss no longer reaches zero.

Where it lies depends on how long the flow may run, which is counted in flow time, in units of tau: a property of the
flow, not of the machine or the integrator.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from .cache import Cache
from .experiment import sweep
from .observables import STANDARD
from .setups import Setup

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
    setup: Setup, cache: Cache | None, *, h: Sequence[int], alpha_tilde: Sequence[float], **how: Any
) -> dict[str, Any]:
    """The axes of a phase diagram for `sweep` and `ensemble`: h, alpha_tilde, and t_max = 300 tau(alpha_tilde).

    The widest nets define tau, so they run until they fit, without a limit.
    """
    tau = fit_time(setup, cache, h=max(h), alpha_tilde=alpha_tilde, **how)
    widths = xr.DataArray(list(h), dims="h", coords={"h": list(h)})
    return {"h": list(h), "alpha_tilde": list(alpha_tilde), "t_max": xr.where(widths == max(h), np.inf, BUDGET * tau)}


def fitted_share(N_delta: xr.DataArray) -> xr.DataArray:
    """The share of the seeds that fit, N_delta = 0. A NaN is a seed that was not run."""
    return (N_delta == 0).sum("seed") / N_delta.count("seed")


def jamming_width(N_delta: xr.DataArray, share: float = 0.5) -> xr.DataArray:
    """h*: the smallest width at which at least `share` of the seeds fit; NaN if there is none.

    N_delta has the dimensions h and seed among others. share = 1/2 is the jamming line, 0.1 and 0.9 its band.
    """
    enough = fitted_share(N_delta) >= share
    return enough.h.where(enough).min("h").rename("h_star")


def authors_width(N_delta: xr.DataArray) -> xr.DataArray:
    """The authors' line: going down in width, the first at which every seed fails; NaN if there is none."""
    fails = fitted_share(N_delta) == 0
    return fails.h.where(fails).max("h").rename("h_fail")
