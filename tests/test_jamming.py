"""The jamming line and the cross-over on tables whose answer is known."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import (
    STANDARD,
    Cache,
    N_delta,
    Setup,
    crossover,
    ensemble,
    jamming_width,
    kernel_ratio,
    plane,
    sweep,
)
from lazyjam.jamming import authors_width, bisect_width, fit_time, fitted_share, parameters, signs_at_start

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


def test_jamming_is_unknown_above_a_width_of_which_nothing_is_known():
    N_delta = counts([0, 1, 2, 4])
    N_delta[1] = np.nan
    assert np.isnan(jamming_width(N_delta)) and float(jamming_width(N_delta, 0.9)) == 32
    N_delta[0], N_delta[1] = np.nan, 0
    assert np.isnan(jamming_width(N_delta)) and np.isnan(fitted_share(N_delta)[0])
    N_delta[1] = 3
    assert float(jamming_width(N_delta)) == 16, "the next narrower width is known to fail"
    N_delta[:2], N_delta[2] = counts([0, 4, 4, 4])[:2], np.nan
    assert float(jamming_width(N_delta)) == 8, "what lies above it does not matter"
    N_delta[0], N_delta[1] = 5, np.nan
    assert np.isnan(authors_width(N_delta)), "the next wider one may fail, too"


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
    scales = dict(h=[4, 8, 24], alpha_tilde=[10.0, 100.0], narrowest=[8, 4], progress=False)
    part = plane(setup, cache, **scales)
    assert part["t_max"].isnull().sel(alpha_tilde=10.0).values.tolist() == [True, False, False]
    assert not part["t_max"].sel(alpha_tilde=100.0).isnull().any()
    table = sweep(setup, STANDARD, cache, **part, seed=range(2), progress=False)
    means = ensemble(setup, cache, **part, seed=range(2), progress=False)
    assert table.N_delta.count() == 10 and means.M.sel(h=4).values.tolist()[0] == 0
    assert np.isnan(means.error.sel(h=4, alpha_tilde=10.0)) and means.error.count() >= 4
    with pytest.raises(ValueError, match=r"a narrowest width for each of 2 output scales, got \[8\]"):
        plane(setup, cache, **{**scales, "narrowest": [8]})
    with pytest.raises(ValueError, match=r"the widest nets, h = 24, set the time: .* got \[8, 32\]"):
        plane(setup, cache, **{**scales, "narrowest": [8, 32]})


RANDOM = Setup(
    dataset="random", preprocessing="none", P=60, P_test=20, P_kernel=5, d=4, L=2, activation="softplus5", bias=True,
    loss="quadratic_hinge", dynamics="descent", t_max=150.0,
)  # fmt: skip


def test_bisection_finds_what_the_whole_sweep_shows(tmp_path):
    cache, widths, P = Cache(tmp_path), [2, 3, 4, 6, 8], [10, 50]
    found = bisect_width(RANDOM, cache, h=widths, P=P, seed=range(2), alpha=2.0, progress=False)
    scale = xr.DataArray(widths, dims="h", coords={"h": widths}) ** 0.5 * 2.0
    axes = dict(h=widths, alpha_tilde=scale, P=P, seed=range(2))
    fits = sweep(RANDOM, [N_delta], cache, progress=False, **axes).N_delta == 0
    assert found.sizes["round"] == 3 and set(found.h.values.ravel()[found.h.notnull().values.ravel()]) <= {*widths}
    for p in P:  # no width is visited twice
        for seed in range(2):
            visited = found.h.sel(P=p, seed=seed).dropna("round").values
            assert len({*visited}) == len(visited) >= 2
    for p in P:
        for seed in range(2):
            low, high = (int(found[name].sel(P=p, seed=seed).fillna(-1)) for name in ("h_low", "h_high"))
            # neighbours in the list, one of which fails and the other fits; what is beyond the list is NaN
            assert low == -1 or high == -1 or widths.index(high) == widths.index(low) + 1
            assert low == -1 or not bool(fits.sel(h=low, P=p, seed=seed))
            assert high == -1 or bool(fits.sel(h=high, P=p, seed=seed))
            assert (low, high) != (-1, -1)
    assert found.N.equals(parameters(RANDOM, found.h))
    assert found.h_high.sel(P=10).mean() < found.h_high.sel(P=50).fillna(99).mean()


def test_the_ends_of_a_bisection_that_finds_nothing(tmp_path):
    easy = bisect_width(RANDOM, None, h=[6, 8], P=[4], seed=[0], observables=[N_delta], progress=False)
    assert np.isnan(easy.h_low.item()) and easy.h_high.item() == 6
    hard = bisect_width(RANDOM.replace(t_max=5.0), None, h=[1, 2], P=[90], seed=[0], observables=[N_delta],
                        progress=False)  # fmt: skip
    assert hard.h_low.item() == 2 and np.isnan(hard.h_high.item())
    assert np.isnan(parameters(RANDOM, hard.h_high).item()) and parameters(RANDOM, hard.h_low).item() == 8 + 4 + 2 + 5
    with pytest.raises(ValueError, match="whole numbers and ascend, without repeats, got .4, 2"):
        bisect_width(RANDOM, None, h=[4, 2], P=[4], seed=[0])
    with pytest.raises(ValueError, match="an axis is a list of values, got P = 4"):
        bisect_width(RANDOM, None, h=[2, 4], P=4)


def test_a_run_that_was_broken_off_decides_no_bisection():
    hard = RANDOM.replace(dynamics="flow", t_max=1e6, P=50)
    found = bisect_width(hard, None, h=[2, 3, 4], seed=[0, 1], observables=[], max_gradients=200, progress=False)
    assert found.N_delta.isel(round=0).isnull().all() and found.h_low.isnull().all() and found.h_high.isnull().all()


def test_signs_at_the_start():
    """One hidden layer of ReLU: N^- = N^+ = h. A linear count for any other depth is about one half of N."""
    one = RANDOM.replace(L=1, h=6, bias=False)
    signs = signs_at_start(one, activation=["relu"], seed=range(3))
    assert np.allclose(signs.negative, 6 / one.N) and np.allclose(signs.positive, 6 / one.N)
    deep = signs_at_start(RANDOM.replace(L=3, h=6), activation=["relu", "tanh"], seed=range(2))
    assert deep.negative.dims == ("activation", "seed") and (abs(deep.negative - 0.47) < 0.06).all()
