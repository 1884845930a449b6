"""Ensembles against their definitions."""

import numpy as np
import pytest
import torch
import xarray as xr

from lazyjam import STANDARD, Cache, Setup, ensemble, jackknife, ntk, sweep
from lazyjam.ensembles import (
    BLOCKS,
    HALVES,
    at_budget,
    deviations,
    error_of_size,
    infinite,
    kernels_at_start,
    mean_margin,
    noisy_error,
    over_parts,
    parts,
    parts_of_ensemble,
    relative_deviations,
    summary,
)
from lazyjam.observables import test_error as error_of_nets
from lazyjam.tangents import stack
from lazyjam.training import training_data

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


def test_parts_are_ensembles_of_their_members_on_their_points():
    found = parts_of_ensemble(MARGINS)
    assert found.shape == (1 + HALVES + BLOCKS, 3)

    def expected(margins):
        mean, variance = margins.mean(0), margins.var(0, ddof=1)
        square = (mean**2).mean() - variance.mean() / len(margins)
        return [(mean <= 0).mean(), (margins <= 0).mean(), np.sqrt(variance.mean() / square)]

    assert found[0] == pytest.approx(expected(MARGINS))
    pairs = np.array([expected(MARGINS[[i, j]]) for i in range(5) for j in range(i)])
    for half in found[1 : 1 + HALVES]:
        assert np.abs(pairs - half).max(1).min() < 1e-12
    assert len({*found[1 : 1 + HALVES, 0]}) > 3
    without_the_first = np.delete(MARGINS, range(20), axis=1)  # 400 points in 20 blocks
    assert found[1 + HALVES] == pytest.approx(expected(without_the_first))
    one = parts_of_ensemble(MARGINS[:1])
    assert one[0, 0] == one[0, 1] == (MARGINS[0] <= 0).mean() and np.isnan(one[1 : 1 + HALVES]).all()


def drawn(nets, points, seed):
    """Nets that share what they learn and differ by noise that is smooth over the test points, and one test set."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, points)
    waves = np.array([np.sin(k * x + p) for k in (3, 7, 15) for p in (0, 1)])
    return 2 * np.sign(x) * (x + 0.15) + 0.3 * rng.standard_normal((nets, 6)) @ waves


@pytest.mark.parametrize("number", ["error", "single", "excess"])
def test_the_error_bar_is_how_much_a_number_changes_from_one_experiment_to_the_next(number):
    """New nets and a new test set, sixty times: the spread of the numbers is the error that each of them claims."""

    def statistic(some):
        return some.single - infinite(some) if number == "excess" else some[number]

    values, errors = [], []
    for seed in range(60):
        numbers = parts_of_ensemble(drawn(20, 2000, seed))
        M = xr.DataArray([20] + [10] * HALVES + [20] * BLOCKS, dims="part")
        table = xr.Dataset({"M": M, "error": ("part", numbers[:, 0]), "single": ("part", numbers[:, 1])})
        value, error = over_parts(statistic, table)
        values.append(value)
        errors.append(error)
    assert np.sqrt(np.mean(np.square(errors))) / np.std(values, ddof=1) == pytest.approx(1, abs=0.3)


def test_the_infinite_ensemble_is_the_limit_of_the_law():
    M = xr.DataArray([5, 20, 1], dims="part")
    table = xr.Dataset({"M": M, "single": 0.10 + 0.04 * (M > 0), "error": 0.10 + 0.04 / M})
    assert infinite(table).values[:2] == pytest.approx([0.10, 0.10], abs=1e-12) and np.isnan(infinite(table)[2])


def test_parts_come_with_the_ensembles(tmp_path):
    cache = Cache(tmp_path)
    setup = Setup(P=40, P_test=100, P_kernel=20, t_max=1e5)
    axes = {"h": [8, 16], "alpha_tilde": [100.0], "seed": range(4)}
    whole = ensemble(setup, cache, progress=False, fitted=False, **axes)
    table = parts(setup, cache, progress=False, fitted=False, **axes)
    assert table.error.dims == ("h", "alpha_tilde", "part")
    assert table.M.isel(part=[0, 1, -1]).values.tolist() == [[[4, 2, 4]]] * 2
    assert (table.error.isel(part=0) == whole.error).all()
    assert np.allclose(table.fluctuation.isel(part=0), whole.fluctuation / whole.rms_mean, rtol=0.2)
    errors = sweep(setup, [error_of_nets], cache, progress=False, **axes).test_error
    assert np.allclose(table.single.isel(part=0), errors.mean("seed"), atol=0.011)  # margins are kept in half precision
    margins = mean_margin(setup.replace(h=8, alpha_tilde=100.0), cache, seed=range(4), fitted=False)
    assert (margins <= 0).mean() == pytest.approx(float(whole.error[0, 0]), abs=0.011)
    with pytest.raises(ValueError, match="only 0 of 2 nets fit"):
        mean_margin(setup.replace(h=1, P=200, t_max=1.0), cache, seed=[0, 1], progress=False)


def test_an_older_record_without_parts_is_made_again(tmp_path):
    cache = Cache(tmp_path)
    setup, axes = Setup(P=40, P_test=100, P_kernel=20, h=16, t_max=1e5), {"seed": range(3)}
    first = parts(setup, cache, progress=False, fitted=False, **axes)
    margins = mean_margin(setup, cache, seed=range(3), fitted=False)
    cache.pack(cache.keys(), "old", drop=("parts_of_ensemble", "mean_margin"))
    for path in tmp_path.glob("loose/*/*.npz"):
        if cache.get(path.stem).columns.keys() & {"parts_of_ensemble"}:
            path.unlink()
    assert parts(setup, Cache(tmp_path), progress=False, fitted=False, **axes).identical(first)
    assert np.array_equal(mean_margin(setup, Cache(tmp_path), seed=range(3), fitted=False), margins)


def test_noise_is_counted_without_drawing_it():
    margins, size = rng.normal(0.5, 1.0, 300), np.array([[0.0, 0.3], [1.0, 3.0]])
    drawn = margins[:, None] + rng.standard_normal((300, 4000)) * size[..., None, None]
    assert noisy_error(margins, size) == pytest.approx((drawn <= 0).mean((-1, -2)), abs=0.003)


def test_a_budget_buys_whole_nets():
    table = xr.Dataset({"M": ("h", [20, 20]), "single": ("h", [0.3, 0.2]), "error": ("h", [0.11, 0.15])},
                       coords={"h": [4, 8]})  # fmt: skip
    cost = xr.DataArray([10.0, 25.0], dims="h", coords={"h": [4, 8]})
    infinite_ones = [0.11 - 0.19 / 19, 0.15 - 0.05 / 19]
    assert at_budget(table, cost, 69.0).values == pytest.approx(
        [infinite_ones[0] + 0.2 / 6, infinite_ones[1] + (0.2 - infinite_ones[1]) / 2]
    )
    assert at_budget(table, cost, 200.0).values[0] == pytest.approx(0.11)  # as many as there are
    assert np.isnan(at_budget(table, cost, 24.0).sel(h=8)) and np.isnan(at_budget(table, cost, 9.0)).all()


def test_bias_and_variance_add_up():
    """For the square error the cost of the fluctuation is the fluctuation: E (f - y)^2 = (<f> - y)^2 + Var f."""
    f = xr.DataArray(MARGINS, dims=("seed", "test"))
    M = f.sizes["seed"]
    square = ((f - 1) ** 2).mean(("seed", "test")) - ((f.mean("seed") - 1) ** 2).mean("test")
    assert float(square) == pytest.approx(float(deviations(f).mean()) * (M - 1) / M, rel=1e-12)


def test_kernels_fluctuate_as_one_over_the_root_of_the_width():
    setup = Setup(dataset="teacher", preprocessing="none", P=10, P_test=10, P_kernel=12)
    kernels = kernels_at_start(setup, h=[32, 512], seed=range(12))
    one = setup.replace(h=32, seed=3)
    w0 = stack([one.network.init(torch.Generator().manual_seed(3))])
    expected = ntk(one.network, w0, training_data(one).kernel.x).flatten()
    assert torch.equal(torch.from_numpy(kernels.sel(h=32, seed=3).values), expected)
    squares = relative_deviations(kernels, "pair").mean("seed")
    assert 8 < float(squares.sel(h=32) / squares.sel(h=512)) < 32
    spread = kernels.var("seed", ddof=1).mean("pair") / (kernels.mean("seed") ** 2).mean("pair")
    assert squares.values == pytest.approx(spread.values)
