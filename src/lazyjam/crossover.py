"""The cross-over from feature learning to lazy training: where the kernel changes as much as itself."""

import numpy as np
import xarray as xr

from .fits import crossing
from .jamming import fitted_share
from .setups import Setup


def kernel_ratio(table: xr.Dataset) -> xr.DataArray:
    """||dTheta|| / ||Theta_0||, geometric mean over the seeds that fit; NaN where fewer than half do."""
    logs = np.log10(table.kernel_change).where(table.N_delta == 0).mean("seed")
    return (10**logs).where(fitted_share(table.N_delta) >= 0.5).rename("kernel_ratio")


def crossover(table: xr.Dataset, level: float = 1.0) -> xr.DataArray:
    """alpha_tilde*(h): where `kernel_ratio` passes `level`, by interpolation in log-log; NaN where it does not."""
    ratio = kernel_ratio(table).transpose("h", "alpha_tilde")
    stars = [crossing(ratio.alpha_tilde.values, row, level) for row in ratio.values]
    return xr.DataArray(stars, dims="h", coords={"h": ratio.h}, name="alpha_tilde_star")


def cells(table: xr.Dataset, ensembles: xr.Dataset, setup: Setup) -> xr.Dataset:
    """What is known of each cell of the plane (h, alpha_tilde): the numbers beside Fig. 4.

    error and M: of the ensemble of the nets that fit. nets: how many came to an end. unsatisfied: the share of the P
    patterns that they leave so, mean over nets. kernel_ratio; dataset and P of the setup.
    """
    ended = {"nets": table.N_delta.count("seed"), "unsatisfied": (table.N_delta / setup.P).mean("seed")}
    return ensembles[["error", "M"]].assign(kernel_ratio=kernel_ratio(table), **ended, dataset=setup.dataset, P=setup.P)
