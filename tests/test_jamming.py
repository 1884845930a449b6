"""The jamming line and the cross-over on tables whose answer is known."""

import numpy as np
import xarray as xr

from lazyjam import Cache, Setup, crossover, jamming_width, kernel_ratio, plane
from lazyjam.jamming import authors_width, fit_time

H = [4, 8, 16, 32]


def counts(fits_by_width):
    rows = [[0] * fits + [5] * (4 - fits) for fits in fits_by_width]
    return xr.DataArray(np.array(rows, dtype=float), dims=("h", "seed"), coords={"h": H})


def test_jamming_width_is_the_first_at_which_half_fit():
    N_delta = counts([0, 1, 2, 4])
    assert float(jamming_width(N_delta)) == 16
    assert float(jamming_width(N_delta, 0.1)) == 8 and float(jamming_width(N_delta, 0.9)) == 32
    assert float(authors_width(N_delta)) == 4 and float(authors_width(counts([0, 0, 2, 4]))) == 8
    assert np.isnan(jamming_width(counts([0, 0, 1, 1])))


def test_a_seed_that_was_not_run_does_not_count():
    N_delta = counts([0, 1, 2, 4])
    N_delta[1, 1:] = np.nan  # one seed run, and it fits
    assert float(jamming_width(N_delta)) == 8


def test_crossover_of_a_power_law_is_exact_and_uses_the_fitted_nets_alone():
    alpha_tilde = np.array([1.0, 10.0, 100.0])
    change = np.ones((4, 1, 1)) * (30.0 / alpha_tilde)[None, :, None] * np.ones(4)
    N_delta = np.zeros_like(change)
    N_delta[0] = 3  # the narrowest nets do not fit, and count as nothing
    change[1, :, 0], N_delta[1, :, 0] = 1e9, 7
    dims, coords = ("h", "alpha_tilde", "seed"), {"h": H, "alpha_tilde": alpha_tilde}
    table = xr.Dataset({"kernel_change": (dims, change), "N_delta": (dims, N_delta)}, coords=coords)
    star = crossover(table)
    assert np.isnan(star[0]) and np.allclose(star[1:], 30.0)
    assert np.allclose(crossover(table, 3.0)[1:], 10.0) and np.allclose(crossover(table, 0.5)[1:], 60.0)
    table["N_delta"][1, :, :2] = 7  # half of the nets fit, which is enough
    assert np.allclose(kernel_ratio(table)[1], 30.0 / alpha_tilde)
    table["N_delta"][1, :, :3] = 7
    assert np.isnan(kernel_ratio(table)[1]).all()
    assert np.isnan(kernel_ratio(table)[0]).all()


def test_fit_time_is_rounded_and_sets_the_budget(tmp_path):
    cache, setup = Cache(tmp_path), Setup(P=30, P_test=50, P_kernel=20)
    tau = fit_time(setup, cache, h=24, alpha_tilde=[100.0], seeds=2, progress=False)
    assert float(tau[0]) == float(f"{float(tau[0]):.1e}") > 0
    axes = plane(setup, cache, h=[4, 24], alpha_tilde=[100.0], progress=False)
    assert np.isinf(axes["t_max"].sel(h=24)).all()
    tau = fit_time(setup, cache, h=24, alpha_tilde=[100.0], progress=False)
    assert np.allclose(axes["t_max"].sel(h=4), 300 * tau)
