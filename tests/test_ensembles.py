"""Ensembles against their definitions."""

import numpy as np
import pytest

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
    monkeypatch.setattr("lazyjam.experiment.train", lambda *a, **k: pytest.fail("trained again"))
    again = ensemble(setup, Cache(tmp_path), progress=False, **axes)
    assert again.identical(first)


def test_jackknife_error_of_a_mean_is_the_usual_one():
    import xarray as xr

    values = rng.normal(size=8)
    left_out = (values.sum() - values) / 7
    table = xr.Dataset({"error": ((), values.mean()), "jackknife": ("member", left_out)})
    value, error = jackknife(float, table)
    assert value == pytest.approx(values.mean()) and error == pytest.approx(values.std(ddof=1) / 8**0.5)
