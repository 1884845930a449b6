"""Ensembles against their definitions."""

import numpy as np
import pytest
import xarray as xr

from lazyjam import STANDARD, Cache, Setup, ensemble, jackknife, sweep
from lazyjam.ensembles import error_of_size, summary

rng = np.random.default_rng(0)
MARGINS = rng.normal(0.4, 1.0, (5, 400))


def test_summary_is_what_it_says():
    numbers = summary(MARGINS)
    assert numbers["error"] == (MARGINS.mean(0) <= 0).mean()
    for left_out in range(5):
        others = np.delete(MARGINS, left_out, axis=0).mean(0)
        assert numbers["jackknife"][left_out] == pytest.approx((others <= 0).mean(), abs=1e-12)
    assert numbers["fluctuation"] ** 2 == pytest.approx(MARGINS.var(0, ddof=1).mean(), rel=1e-12)
    assert np.abs(numbers["mean_margin"] - MARGINS.mean(0)).max() < 1e-3


def test_error_of_size_ends_are_exact_and_it_falls():
    errors = error_of_size(MARGINS)
    assert errors[0] == pytest.approx((MARGINS <= 0).mean()) and errors[-1] == (MARGINS.mean(0) <= 0).mean()
    assert (np.diff(errors) < 0).all()


def test_one_member_has_no_jackknife():
    numbers = summary(MARGINS[:1])
    assert np.isnan(numbers["jackknife"]).all() and np.isnan(numbers["fluctuation"])
    assert numbers["error_of_size"].shape == (1,)


def test_a_kept_ensemble_needs_no_outputs(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    setup = Setup(P=40, P_test=100, P_kernel=20, t_max=1e5)
    axes = {"h": [16], "alpha_tilde": [100.0, 1e3], "seed": range(3)}
    table = sweep(setup, STANDARD, cache, progress=False, **axes)
    first = ensemble(setup, cache, progress=False, **axes)
    assert first.error.dims == ("h", "alpha_tilde") and (first.M == (table.N_delta == 0).sum("seed")).all()
    cache.pack(cache.keys(), "all", drop=("test_margin",))
    for path in tmp_path.glob("loose/*/*.npz"):
        path.unlink()
    monkeypatch.setattr("lazyjam.training.train", lambda *a, **k: pytest.fail("trained again"))
    again = ensemble(setup, Cache(tmp_path), progress=False, **axes)
    assert again.identical(first)


def test_who_is_averaged(tmp_path, monkeypatch):
    """The fitted nets where at least half fit, or all; never one that was broken off. Seeds keep their places."""
    N_delta = np.array([[0, 5, 0, 0], [0, 5, 5, 5], [0, 0, 5, np.nan], [np.nan] * 4, [0, 0, 0, 0]])
    dims = ("h", "seed")
    members = xr.Dataset({"N_delta": (dims, N_delta)}, coords={"h": [1, 2, 3, 4, 5], "seed": range(4)})
    monkeypatch.setattr("lazyjam.ensembles.sweep", lambda *a, **k: members)
    monkeypatch.setattr(
        "lazyjam.ensembles._ensemble",
        lambda runs, *_: {"M": len(runs), **summary(np.array([np.full(8, run.seed + 1.0) for run in runs]))},
    )
    axes = {"h": [1, 2, 3, 4, 5], "seed": range(4)}
    fits, everything = (ensemble(Setup(), Cache(tmp_path), fitted=fitted, **axes) for fitted in (True, False))
    assert fits.M.values.tolist() == [3, 1, 2, 0, 4] and np.isnan(fits.error).values.tolist() == [0, 1, 0, 1, 0]
    assert everything.M.values.tolist() == [4, 4, 3, 0, 4]
    assert np.isnan(fits.jackknife.sel(h=1)).values.tolist() == [False, True, False, False]
    assert np.isnan(fits.jackknife.sel(h=3)).values.tolist() == [False, False, True, True]
    assert fits.error_of_size.sel(h=3).count() == 2


def test_jackknife_error_of_a_mean_is_the_usual_one():
    values = rng.normal(size=8)
    left_out = (values.sum() - values) / 7
    table = xr.Dataset({"error": ((), values.mean()), "jackknife": ("seed", left_out)})
    value, error = jackknife(float, table)
    assert value == pytest.approx(values.mean()) and error == pytest.approx(values.std(ddof=1) / 8**0.5)


def test_deviations_are_unbiased_and_leave_out_what_is_not_there():
    import xarray as xr

    from lazyjam.ensembles import deviations

    rng = np.random.default_rng(0)
    f = xr.DataArray(rng.standard_normal((2, 5, 4000)), dims=("h", "seed", "test")) + 3.0
    np.testing.assert_allclose(deviations(f).mean("seed"), f.var("seed", ddof=1).mean("test"))
    assert np.allclose(deviations(f).mean("seed"), 1, atol=0.05)
    f[0, 2] = np.nan
    np.testing.assert_allclose(deviations(f).mean("seed"), f.var("seed", ddof=1).mean("test"))
    assert np.isnan(deviations(f)[0, 2]) and deviations(f).isel(h=0).count() == 4
