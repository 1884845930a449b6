"""The jamming line: the width below which the training loss no longer reaches zero.

Where it lies depends on how long the flow may run, which is counted in flow time, in units of tau: a property of the
flow, not of the machine or the integrator.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from .cache import Cache
from .experiment import Setup, sweep
from .observables import STANDARD

BUDGET = 300.0  # the longest budget, in units of tau; N_delta is recorded at 3 and 30 tau as well


def fit_time(
    setup: Setup, cache: Cache | None, *, h: int, alpha_tilde: Sequence[float], seeds: int = 3, **how: Any
) -> xr.DataArray:
    """tau(alpha_tilde): the median flow time in which the widest nets, of width h, fit their training set.

    Over the first `seeds` initial weights, to two significant digits, so that a budget in units of tau is the same
    number wherever it is computed again. Raises ValueError where the widest nets do not fit.
    """
    table = sweep(setup.replace(h=h), STANDARD, cache, alpha_tilde=alpha_tilde, seed=range(seeds), **how)
    if int(table.N_delta.max()) > 0:
        raise ValueError(f"nets of width {h} do not fit {setup.P} patterns, so there is no time to fit: choose a wider one.")
    median = table.t_end.median("seed")
    return median.copy(data=np.array([float(f"{t:.1e}") for t in median.values])).rename("tau")


def phase_table(
    setup: Setup, cache: Cache | None, *, h: Sequence[int], alpha_tilde: Sequence[float], seed: Sequence[int], **how: Any
) -> xr.Dataset:
    """The standard observables over the plane (h, alpha_tilde), each run with up to 300 tau of flow time.

    The widest nets define tau, so they run until they fit. `tau` is a variable of the table.
    """
    widest = max(h)
    tau = fit_time(setup, cache, h=widest, alpha_tilde=alpha_tilde, **how)
    widths = xr.DataArray(list(h), dims="h", coords={"h": list(h)})
    t_max = xr.where(widths == widest, np.inf, BUDGET * tau)
    axes = dict(h=h, alpha_tilde=alpha_tilde, seed=seed)
    return sweep(setup, STANDARD, cache, t_max=t_max, **axes, **how).assign(tau=tau)
