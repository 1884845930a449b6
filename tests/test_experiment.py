"""Setups and their keys, the sweep and its table, the cache under it, and the phase diagram that comes of it."""

import itertools
import math
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch
import xarray as xr

from lazyjam import dynamics, experiment, jamming, training
from lazyjam.cache import Cache, Record
from lazyjam.cache import key as key_of
from lazyjam.experiment import missing, sweep
from lazyjam.flow import FITTED
from lazyjam.observables import STANDARD, N_delta, capped, observable, rms_output, t_end, train_loss
from lazyjam.setups import Setup
from lazyjam.training import train

BASE = Setup(P=20, P_test=50, P_kernel=10, d=5, L=1, h=10, alpha_tilde=10.0)
AXES = dict(alpha_tilde=[3.0, 30.0], seed=range(4))


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def small_batches(monkeypatch):
    """Two runs a batch, so that a sweep over AXES is four batches."""
    monkeypatch.setitem(training.BATCH_ELEMENTS, "cpu", 2 * BASE.P * BASE.h)


def quiet(setup=BASE, wanted=(N_delta, t_end, rms_output), cache=None, **how) -> xr.Dataset:
    return sweep(setup, list(wanted), cache, progress=False, **how)


def forbid(monkeypatch):
    def never(*args, **how):
        raise AssertionError("a run was trained again")

    monkeypatch.setattr(training, "train", never)


def count(monkeypatch) -> list:
    trained, really = [], training.train

    def counting(setups, **how):
        trained.extend(setups)
        return really(setups, **how)

    monkeypatch.setattr(training, "train", counting)
    return trained


# Setup ---------------------------------------------------------------------------------------------------------------

BAD = [
    (dict(dataset="mnits"), "Unknown data set 'mnits': did you mean 'mnist'?"),
    (dict(dataset="stripe"), "The synthetic data set 'stripe' is used as drawn: set preprocessing='none'"),
    (dict(P=0), "P must be positive, got 0."),
    (dict(P=10**6), "The data set 'digits' has 1740 images in balanced classes: P + P_test + P_kernel must be at most"),
    (dict(P="20"), "P must be of type int, got '20'."),
    (dict(P_test=-1), "P_test must be a whole number, 0 or larger, got -1."),
    (dict(P_kernel=-1), "P_kernel must be a whole number, 0 or larger, got -1."),
    (dict(d=0), "d must be positive, got 0."),
    (dict(d=65), "The images of 'digits' have 64 pixels: d must be at most that, got 65."),
    (dict(preprocessing="pac"), "Unknown preprocessing 'pac': did you mean 'pca'?"),
    (dict(pca_on="test"), "Unknown pca_on 'test': choose one of pool, train."),
    (dict(architecture="transformer"), "unknown architecture 'transformer': choose one of fc, cnn"),
    (dict(h=0), "h must be positive, got 0."),
    (dict(h=10**30), f"h must be at most 1000000000, got 1{30 * '0'}."),
    (dict(h=2.5), "h must be of type int, got 2.5."),
    (dict(h=True), "h must be of type int, got True."),
    (dict(L=0), "L must be positive, got 0."),
    (dict(activation="rleu"), "unknown activation 'rleu': did you mean 'relu'?"),
    (dict(bias=1), "bias must be of type bool, got 1."),
    (dict(loss="soft_hing"), "unknown loss 'soft_hing': did you mean 'soft_hinge'?"),
    (dict(alpha_tilde=-1), "alpha_tilde must be positive, got -1.0."),
    (dict(alpha_tilde=0), "alpha_tilde must be positive, got 0.0."),
    (dict(alpha_tilde=math.inf), "alpha_tilde must be finite, got inf."),
    (dict(alpha_tilde=math.nan), "alpha_tilde must be positive, got nan."),
    (dict(dynamics="adma"), "unknown dynamics 'adma': did you mean 'adam'?"),
    (dict(dynamics="adam"), "t_max is a number of steps of 'adam': give a whole one, got inf."),
    (dict(dynamics="descent", t_max=0.5), "t_max is a number of steps of 'descent': give a whole one, got 0.5."),
    (dict(dynamics="descent", t_max=5), "a descent needs the loss 'quadratic_hinge', got 'soft_hinge'."),
    (dict(t_max=0), "t_max must be positive, got 0.0."),
    (dict(t_max=math.nan), "t_max must be positive, got nan."),
    (dict(seed=-1), "seed must be zero or a positive integer, got -1."),
    (dict(seed_data=-2), "seed_data must be zero or a positive integer, got -2."),
    (dict(decay=-0.5), "decay must be zero or positive, and finite, got -0.5."),
    (dict(batch=8), "batch and rate belong to 'sgd', got 8 and 0.0 for 'flow'."),
    (dict(rate=0.1), "batch and rate belong to 'sgd', got 0 and 0.1 for 'flow'."),
    (dict(bias_std=1.0), "bias_std is that of biases, zero or positive, got 1.0 and bias=False."),
    (dict(ceiling=2.0), "a ceiling is above one and for a 'descent', got 2.0 for 'flow'."),
    (dict(alpha_tild=1.0), "a Setup has no 'alpha_tild': did you mean 'alpha_tilde'?"),
]


@pytest.mark.parametrize("changes, sentence", BAD, ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_a_wrong_value_is_one_sentence(as_a_user, changes, sentence):
    with pytest.raises(ValueError) as error:
        Setup().replace(**changes)
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)


def test_every_field_is_validated():
    assert {field.name for field in fields(Setup)} <= {name for changes, _ in BAD for name in changes}


KEYS = [
    (dict(), "2430f1a2ad2982d0067885488a4c89e2"),
    (dict(dataset="mnist", P=1000, P_test=10_000, h=64), "4661a3bad4875e7436970b0f9e81d648"),
    (dict(dataset="cifar10", d=30, P=1000, alpha_tilde=0.25), "d5ea3222d805f66b52faff17d038f60a"),
    (dict(dataset="stripe", preprocessing="none", L=1, activation="softplus5"), "518de9903a04c35a667a5b3f442a8a06"),
    (dict(P=250, seed=3), "6c1e8d173fec787ce75fe28b7c539cd0"),
    (dict(alpha_tilde=1e6, t_max=1234.5), "e180062913f3b0697851117fef8db027"),
    (dict(loss="quadratic_hinge", activation="relu", bias=True, L=3, preprocessing="pca_whitened"),
     "cdb195be503ebaf1ce97b0f8ecaf8e2b"),
    (dict(seed_data=1, pca_on="train"), "d2c1823aef6e27a546cda0d00ece82f4"),
    (dict(h=4, t_max=300.0, alpha_tilde=4e-3, seed=9), "9e0476d678f8dbabf413f36106ff016f"),
    (dict(P_kernel=0, P_test=100, loss="cross_entropy"), "a4c43b11f10ae88276f95276027ab21d"),
]


@pytest.mark.parametrize("changes, key", KEYS)
def test_keys_never_change(changes, key):
    """What is committed is found by its key. A new field must have the old behaviour as its default."""
    assert Setup(**changes).key == key


def test_a_flow_to_an_exponential_end_has_another_key_than_one_that_could_leap():
    """Its results have changed, and those of a descent on the same loss have not."""
    for loss, same in (("quadratic_hinge", False), ("squared", False), ("cross_entropy", True)):
        flow = Setup(loss=loss, t_max=9.0)
        assert (flow.key == key_of(flow.fields)) is same
    descent = Setup(loss="quadratic_hinge", dynamics="descent", t_max=9.0)
    assert descent.key == key_of(descent.fields)


def test_a_key_hashes_only_what_differs_from_the_defaults():
    assert Setup().fields == {} and Setup().key == key_of({})
    assert Setup(h=64, seed=0, alpha_tilde=1.0).fields == {"h": 64}
    assert Setup(h=64).key == key_of({"h": 64})


def test_one_value_has_one_key_whatever_its_type(as_a_user):
    same = [Setup(alpha_tilde=two) for two in (2, 2.0, np.float64(2), np.int64(2))]
    assert len({setup.key for setup in same}) == len(set(same)) == 1
    assert Setup(h=np.int64(8)).key == Setup(h=8).key == Setup(h=8.0).key
    assert type(Setup(h=np.int32(8)).h) is int and type(Setup(t_max=5).t_max) is float


def test_every_field_is_part_of_the_key():
    other = dict(dataset="mnist", P=7, P_test=7, P_kernel=7, d=7, preprocessing="pca_whitened", pca_on="train", h=7,
                 L=7, activation="relu", bias=True, loss="squared", alpha_tilde=7.0, t_max=7.0, seed=7, seed_data=7)
    other |= dict(dynamics="adam", decay=0.5)
    untried = {field.name for field in fields(Setup)} - set(other)
    assert untried == {"architecture", "batch", "rate", "ceiling", "bias_std"}, "these follow"
    base = Setup(P=20, t_max=20.0)
    keys = {base.key} | {base.replace(**{name: value}).key for name, value in other.items()}
    assert len(keys) == 1 + len(other)
    sgd = Setup(P=20, t_max=20.0, dynamics="sgd", batch=5, rate=0.1)
    assert len({sgd.key, sgd.replace(batch=6).key, sgd.replace(rate=0.2).key}) == 3
    cnn = Setup(P=20, d=64, preprocessing="none", architecture="cnn")
    assert cnn.key != cnn.replace(architecture="fc").key
    assert Setup(bias=True).key != Setup(bias=True, bias_std=1.0).key
    descent = Setup(P=20, t_max=20.0, dynamics="descent", loss="quadratic_hinge")
    assert descent.key != descent.replace(ceiling=7.0).key


def test_number_of_parameters():
    assert Setup(d=10, h=32, L=2).N == 10 * 32 + 32**2 + 32


# train ---------------------------------------------------------------------------------------------------------------


def test_seed_data_is_not_tied_to_seed():
    """The seed draws the weights and nothing else, seed_data the split and nothing else."""
    one, other, split = (train([BASE.replace(**change)]) for change in (dict(), dict(seed=1), dict(seed_data=1)))
    assert all(torch.equal(a, b) for part in range(3) for a, b in zip(one.data[part], other.data[part], strict=True))
    assert not torch.equal(one.w0["W1"], other.w0["W1"])
    assert not torch.equal(one.data.train.x, split.data.train.x)
    assert torch.equal(one.w0["W1"], split.w0["W1"])


def test_alpha_is_alpha_tilde_over_the_root_of_the_width():
    assert train([BASE.replace(h=25)]).alpha.item() == pytest.approx(2.0, rel=1e-15)


def test_a_batch_differs_in_alpha_tilde_t_max_and_seed_alone():
    train([BASE, BASE.replace(alpha_tilde=3.0, t_max=1.0, seed=4)])
    with pytest.raises(ValueError, match="may differ in alpha_tilde, t_max and seed alone"):
        train([BASE, BASE.replace(h=11)])


@pytest.mark.parametrize("h", [10, 28])
def test_a_run_does_not_feel_its_batch(h):
    setups = [BASE.replace(L=2, h=h, alpha_tilde=a, seed=s) for s, a in enumerate((1.0, 10.0, 100.0, 1e5))]
    together = train(setups)
    assert together.state.eq(FITTED).all()
    for run in (0, 3):
        alone = train([setups[run]])
        torch.testing.assert_close(alone.f_test[0], together.f_test[run], rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(alone.t[0], together.t[run], rtol=1e-8, atol=0)


def test_near_jamming_a_batch_moves_a_run_by_no_more_than_rounding_does(as_a_user):
    """Rounding is amplified there: by how much, eight copies tell whose weights differ by a part in 1e15.

    They tell the order of magnitude: what one rounding is amplified by differs from the next by more than a factor.
    """
    def shaken(w):
        return {name: x * (1 + 1e-15 * torch.randn(x.shape, generator=noise, dtype=x.dtype)) for name, x in w.items()}

    noise = torch.Generator().manual_seed(0)
    near = dict(dataset="stripe", preprocessing="none", P=100, P_test=200, P_kernel=0, h=5, L=2, alpha_tilde=1.0,
                t_max=1e4)  # fmt: skip
    setups = [BASE.replace(**near, seed=seed) for seed in range(2)]
    together = train(setups)
    assert 1 <= int(together.N_delta.min()) <= int(together.N_delta.max()) < 10
    for run, setup in enumerate(setups):
        alone, copies = train([setup]), train([setup] * 8, init=shaken)
        spread = float((copies.f_test - alone.f_test).abs().max())
        off = float((together.f_test[run] - alone.f_test[0]).abs().max())
        assert off <= 10 * spread and int(together.N_delta[run]) == int(alone.N_delta[0])


def test_a_run_of_a_sweep_takes_one_thread(monkeypatch):
    @observable()
    def threads(trained):
        return torch.full_like(trained.t, torch.get_num_threads())

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert quiet(wanted=[threads], seed=[0]).threads.item() == 1 and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_other_threads_change_the_last_digits_alone():
    wide, predictors = BASE.replace(P=200, h=64), []
    threads = torch.get_num_threads()
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            predictors.append(train([wide]).f_test)
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*predictors, rtol=1e-8, atol=1e-8)


def test_a_device_that_is_not_there_is_a_sentence(as_a_user):
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 'tpu'."):
        quiet(device="tpu")
    with pytest.raises(ValueError, match="device must be 'cpu' or 'cuda', got 0."):
        training.checked_device(0)
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ValueError, match="device 'cuda' needs a GPU that torch can see.*use device='cpu'."):
        quiet(device="cuda")


def test_an_empty_batch_is_a_sentence():
    with pytest.raises(ValueError, match="a batch needs at least one setup, got none."):
        train([])


def test_what_makes_a_batch():
    grid = itertools.product((8, 40), (0.01, 0.05, 10.0), range(2))
    setups = [BASE.replace(L=2, h=h, alpha_tilde=alpha_tilde, seed=seed) for h, alpha_tilde, seed in grid]
    alike = [{(one.h, one.alpha_tilde) for one in batch} for batch in training.batches_of(setups)]
    assert alike[0] == {(40, 0.01)} and len(alike) == 6 and all(len(of) == 1 for of in alike)
    on_gpu = training.batches_of([one for one in setups if one.h == 40], "cuda:1")
    assert [{(one.h, one.alpha_tilde) for one in batch} for batch in on_gpu] == [{(40, a)} for a in (0.01, 0.05, 10.0)]
    large = [BASE.replace(dataset="stripe", preprocessing="none", L=2, P=2000, h=100, seed=s) for s in range(40)]
    assert [len(batch) for batch in training.batches_of(large, "cuda")] == [31, 9]
    paper = [one.replace(P=5000, h=24) for one in large]
    assert [len(batch) for batch in training.batches_of(paper, "cuda")] == [5] * 8
    feature, lazy = (large[0].replace(P=5000, h=h, alpha_tilde=a) for h, a in ((24, 4e-3), (128, 1e4)))
    assert training.batches_of([lazy, feature], "cuda") == [[feature], [lazy]], "it has far more gradients"
    images = [large[0].replace(architecture="cnn", d=16, L=1, seed=seed) for seed in range(3)]
    assert [len(batch) for batch in training.batches_of(images, "cuda")] == [1] * 3, "they go one by one"


def test_a_batch_too_large_for_a_gpu_is_halved(monkeypatch):
    sizes, compute = [], training._computed

    def small_gpu(setups, observables, how):
        sizes.append(len(setups))
        if len(setups) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return compute(setups, observables, {**how, "device": "cpu"})

    monkeypatch.setattr(training, "_computed", small_gpu)
    how, setups = dict(device="cuda", method=None, max_gradients=50), [BASE.replace(seed=seed) for seed in range(5)]
    most = 2
    assert [*training.compute(setups, [], how)] == setups and sizes == [5, 2, 3, 1, 2]
    most = 0
    with pytest.raises(MemoryError, match=f"a run with P = {BASE.P} and h = {BASE.h} does not fit into what"):
        training.compute(setups, [], how)


# sweep ---------------------------------------------------------------------------------------------------------------


def test_a_sweep_is_a_table_with_named_axes():
    table = quiet(wanted=STANDARD, h=[8, 12], **AXES)
    assert dict(table.sizes) == {"h": 2, "alpha_tilde": 2, "seed": 4, "budget": 3}
    assert table.N_delta.dims == ("h", "alpha_tilde", "seed")
    assert table.N_delta_at.dims == ("h", "alpha_tilde", "seed", "budget")
    assert table.h.values.tolist() == [8, 12] and table.alpha_tilde.values.tolist() == [3.0, 30.0]
    one = train([BASE.replace(h=12, alpha_tilde=30.0, seed=2)])
    cell = table.sel(h=12, alpha_tilde=30.0, seed=2)
    assert cell.rms_output.item() == pytest.approx(rms_output(one).item(), rel=1e-8)
    assert cell.gradients.item() == one.gradients.item() and cell.cpu_seconds >= 0
    assert {"N_delta", "kernel_change", "test_error", "t_end"} <= set(table)


def test_a_gpu_is_shared_by_processes(monkeypatch):
    asked, shares = [], []
    monkeypatch.setattr(experiment, "spread", lambda task, batches, executor, **how: asked.append(how) or [])
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *share: shares.append(share))
    for device in ("cpu", "cpu:0", "cuda", "cuda:1"):
        list(experiment.collect(lambda batch: {}, [], None, None, {"device": device}))
    assert asked[:2] == [{}, {}]
    assert [how["processes"] for how in asked[2:]] == [training.GPU_PROCESSES] * 2 and training.GPU_PROCESSES > 1
    for how in asked[2:]:
        how["initializer"](*how["initargs"])
    assert [index for _, index in shares] == [None, 1]
    assert shares[0][0] * (training.GPU_PROCESSES + 1) < 1, "all of them and the one that started them find room"


def test_where_a_dependent_axis_is_nan_there_is_no_run():
    longest = xr.DataArray([[np.nan, 50.0], [60.0, 60.0]], coords={"alpha_tilde": [3.0, 30.0], "h": [8, 12]})
    part = quiet(wanted=STANDARD, **{**AXES, "h": [8, 12]}, t_max=longest)
    whole = quiet(wanted=STANDARD, **{**AXES, "h": [8, 12]}, t_max=longest.fillna(50.0))
    gone = dict(h=8, alpha_tilde=3.0)
    assert all(bool(column.isnull().all()) for column in part.sel(gone).data_vars.values())
    names = [f.__name__ for f in STANDARD]
    assert part[names].drop_sel(h=8).equals(whole[names].drop_sel(h=8).astype(float))
    assert part.N_delta.count() == whole.N_delta.count() - len(AXES["seed"])
    with pytest.raises(ValueError, match="no run is left: t_max is NaN everywhere."):
        quiet(alpha_tilde=[3.0], t_max=longest.sel(h=8, alpha_tilde=[3.0]))


def test_a_second_call_reads_everything(cache, monkeypatch, capfd):
    first = sweep(BASE, STANDARD, cache, **AXES)
    assert "runs: 100%" in capfd.readouterr().err and missing(BASE, STANDARD, cache, **AXES) == []
    forbid(monkeypatch)
    second = sweep(BASE, STANDARD, Cache(cache.folder), **AXES)
    assert capfd.readouterr() == ("", ""), "nothing to do is nothing to say"
    xr.testing.assert_identical(first, second)


def test_a_bad_value_anywhere_is_found_before_the_first_run(cache, monkeypatch):
    forbid(monkeypatch)
    with pytest.raises(ValueError, match="alpha_tilde must be positive, got -1.0."):
        quiet(cache=cache, alpha_tilde=[1.0, 2.0, -1.0])
    with pytest.raises(ValueError, match="the axis seed is empty"):
        quiet(cache=cache, seed=[])
    with pytest.raises(ValueError, match=r"the values of an axis differ, got h = \[8, 8\]."):
        quiet(cache=cache, h=[8, 8])
    with pytest.raises(ValueError, match="an axis is a list of values, got dataset = 'digits': put a single value in"):
        quiet(cache=cache, dataset="digits")
    with pytest.raises(ValueError, match="the loss 'cross_entropy' never comes to an end: give a finite t_max."):
        quiet(cache=cache, loss=["soft_hinge", "cross_entropy"])
    with pytest.raises(ValueError, match="a Setup has no 'sed': did you mean 'seed'?"):
        quiet(cache=cache, sed=[1])


def test_an_interrupted_sweep_resumes_to_the_same_bits(cache, tmp_path, monkeypatch, small_batches):
    whole = quiet(cache=Cache(tmp_path / "whole"), **AXES)
    really, calls = training.train, []

    def interrupted(setups, **how):
        calls.append(setups)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return really(setups, **how)

    monkeypatch.setattr(training, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quiet(cache=cache, **AXES)
    assert len(missing(BASE, [N_delta], cache, **AXES)) == 4, "what was finished is kept"
    resumed = quiet(cache=cache, **AXES)
    assert len(calls) == 5
    xr.testing.assert_identical(resumed.drop_vars("cpu_seconds"), whole.drop_vars("cpu_seconds"))
    last = BASE.replace(alpha_tilde=30.0, seed=3).key
    kept = [Cache(folder).get(last) for folder in (cache.folder, tmp_path / "whole")]
    assert all(np.array_equal(kept[0].columns[name], kept[1].columns[name]) for name in kept[0].columns)


def test_a_missing_observable_trains_again_and_keeps_the_other_columns(cache, monkeypatch):
    quiet(wanted=[N_delta], cache=cache, seed=[0, 1])
    trained = count(monkeypatch)
    quiet(wanted=[N_delta, t_end], cache=cache, seed=[0])
    assert trained == [BASE]
    assert missing(BASE, [t_end], cache, seed=[0, 1]) == [BASE.replace(seed=1)]
    quiet(wanted=[N_delta], cache=cache, seed=[0, 1])
    assert len(trained) == 1 and {"N_delta", "t_end", "capped"} <= set(cache.get(BASE.key).columns)


def test_a_raised_version_trains_again(cache, monkeypatch):
    @observable(version=1)
    def mine(trained):
        return trained.t

    quiet(wanted=[mine], cache=cache)
    trained = count(monkeypatch)
    quiet(wanted=[mine], cache=cache)
    assert not trained
    monkeypatch.setattr(mine, "version", 2)
    quiet(wanted=[mine], cache=cache)
    quiet(wanted=[mine], cache=cache)
    assert trained == [BASE]


def test_a_capped_run_is_computed_again_when_the_cap_is_raised(cache, monkeypatch):
    first = quiet(wanted=[N_delta, capped], cache=cache, max_gradients=40)
    assert first.capped.item() and np.isnan(first.N_delta.item()), "it decides nothing"
    trained = count(monkeypatch)
    assert quiet(wanted=[N_delta, capped], cache=cache, max_gradients=40).capped.item() and not trained
    second = quiet(wanted=[N_delta, capped], cache=cache)
    assert trained == [BASE] and not second.capped.item() and second.N_delta.item() == 0
    assert not quiet(wanted=[N_delta, capped], cache=cache, max_gradients=40).capped.item() and len(trained) == 1


def test_nothing_of_a_run_that_was_broken_off_is_left_beside_what_came_of_it(cache):
    first = quiet(wanted=[N_delta, t_end, rms_output], cache=cache, max_gradients=40)
    cache.pack([BASE.key], "first")
    quiet(wanted=[N_delta, t_end], cache=cache)
    assert "rms_output" not in cache.get(BASE.key).columns
    second = quiet(wanted=[rms_output, N_delta], cache=cache)
    assert second.rms_output.item() != first.rms_output.item() and cache.get(BASE.key).columns["t_end"] > first.t_end
    whole = cache.get(BASE.key)
    assert quiet(wanted=[capped, train_loss], cache=cache, max_gradients=40).capped.item()
    assert cache.get(BASE.key).columns.keys() == whole.columns.keys() and not cache.get(BASE.key).columns["capped"]


def test_what_a_census_counts():
    columns = {"N_delta": [0, 0, 7, np.nan], "capped": [False, False, False, True], "cpu_seconds": [1800] * 4}
    table = xr.Dataset({name: ("seed", values) for name, values in columns.items()})
    assert experiment.census(some=table) == "some: 4 runs, 2 fitted, 1 jammed, 1 broken off, 2.0 CPU hours"
    table = table.assign_coords(seed=range(4))
    joined = xr.concat([table, table.isel(seed=[0, 1])], xr.Variable("h", [4, 8]), join="outer")
    assert experiment.census(some=joined) == "some: 6 runs, 4 fitted, 1 jammed, 1 broken off, 3.0 CPU hours"


def test_a_cache_that_cannot_be_written_is_found_before_the_first_run(tmp_path, monkeypatch):
    forbid(monkeypatch)
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="cannot write to the cache folder"):
        quiet(cache=Cache(tmp_path / "file" / "cache"))


def test_a_file_that_has_changed_is_other_data(tmp_path, cache):
    rng, results = np.random.default_rng(0), []
    setup = BASE.replace(dataset=f"file:{tmp_path}/mine.npz")
    for shift in (0.0, 1.0, 1.0):
        x, y = rng.normal(size=(200, 8)), np.arange(200) % 2
        if len(results) < 2:
            np.savez(tmp_path / "mine.npz", x=x + shift * y[:, None], y=y)
        results.append(quiet(setup, cache=cache).rms_output.item())
    assert results[0] != results[1] == results[2]
    (tmp_path / "mine.npz").unlink()
    assert quiet(setup, cache=cache).rms_output.item() == results[2], "what is kept needs no file"


@pytest.mark.parametrize(
    "alpha_tilde, h, method", [(0.05, 40, "switching"), (0.05, 8, "implicit"), (1.0, 40, "implicit")]
)
def test_which_method_is_the_default(alpha_tilde, h, method):
    assert training.default_method(Setup(alpha_tilde=alpha_tilde, h=h)) == method
    assert training.default_method(Setup(alpha_tilde=alpha_tilde, h=h, loss="hinge")) == "euler"
    image = Setup(alpha_tilde=alpha_tilde, h=h, d=64, preprocessing="none", architecture="cnn")
    assert training.default_method(image) == "implicit"


def test_euler_starts_with_the_step_of_the_authors(monkeypatch):
    """dt = 1 in the units of their code is alpha_tilde / h in ours."""
    really, seen = dynamics.gradient_flow, []
    monkeypatch.setattr(dynamics, "gradient_flow", lambda *a, **k: seen.append(k["first_dt"]) or really(*a, **k))
    train([BASE], method="euler")
    assert seen[0].tolist() == [BASE.alpha_tilde / BASE.h]


def test_a_field_that_depends_on_an_axis():
    t_max = xr.DataArray([0.05, 0.2], dims="alpha_tilde", coords={"alpha_tilde": [3.0, 30.0]})
    table = quiet(t_max=t_max, **AXES)
    assert table.t_end.dims == ("alpha_tilde", "seed")
    assert table.t_end.values.tolist() == [[0.05] * 4, [0.2] * 4]


def test_the_record_says_how_it_was_made(cache):
    quiet(cache=cache)
    record = cache.get(BASE.key)
    assert isinstance(record, Record) and record.meta["fields"] == BASE.fields
    how = dict(device="cpu", method="implicit", tol=1e-2, max_gradients=training.MAX_GRADIENTS,
               precision="double")
    assert record.meta["how"] == how
    assert record.meta["provenance"]["torch"] == torch.__version__ and len(record.meta["provenance"]["checksum"]) == 64
    assert record.meta["cost"]["gradients"] > 0 and record.meta["versions"]["N_delta"] == N_delta.version


def test_a_complete_cache_need_not_be_writable(cache, monkeypatch):
    whole = quiet(cache=cache, **AXES)

    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Cache, "_write", fail)
    xr.testing.assert_identical(quiet(cache=cache, **AXES), whole)
    with pytest.raises(OSError, match="Read-only"):
        quiet(cache=cache, **{**AXES, "seed": [99]})


def test_a_slip_of_the_finger_is_no_sweep(as_a_user):
    for many in (dict(seed=range(10**30)), dict(seed=itertools.count()), dict(seed=range(60_000), h=[4, 8])):
        with pytest.raises(ValueError, match="a sweep has at most 100,000 runs, got more: make several of it."):
            quiet(**many)
    assert Setup(seed=2**63).seed == 2**63


def test_processes_give_the_same_table(cache, small_batches):
    serial = quiet(**AXES)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        parallel = quiet(cache=cache, executor=executor, **AXES)
    xr.testing.assert_identical(parallel.drop_vars("cpu_seconds"), serial.drop_vars("cpu_seconds"))
    assert missing(BASE, [N_delta], cache, **AXES) == []


def test_what_a_method_makes_another_confirms():
    by = [quiet(wanted=[rms_output, t_end], method=method, alpha_tilde=[3.0, 300.0]) for method in ("implicit", "rkc")]
    xr.testing.assert_allclose(by[0][["rms_output", "t_end"]], by[1][["rms_output", "t_end"]], rtol=0.02)


# the phase diagram ---------------------------------------------------------------------------------------------------


def test_time_to_fit_is_the_median_rounded_to_two_digits():
    how = dict(alpha_tilde=[3.0, 300.0], progress=False)
    tau = jamming.fit_time(BASE, None, h=16, **how)
    table = sweep(BASE, [t_end], None, h=[16], seed=range(3), **how)
    expected = [float(f"{t:.1e}") for t in table.t_end.isel(h=0).median("seed").values]
    assert tau.values.tolist() == expected and tau.dims == ("alpha_tilde",)
    with pytest.raises(ValueError, match="nets of width 1 do not fit 20 patterns: choose a wider one"):
        jamming.fit_time(BASE.replace(t_max=10.0), None, h=1, alpha_tilde=[3.0], progress=False)


def test_the_phase_diagram_has_black_and_coloured_cells_and_both_regimes():
    """Digits: narrow nets jam, wide ones fit; the kernel of a wide one changes by more or by less than itself."""
    setup = Setup(P=50, P_test=100, P_kernel=20, d=5)
    axes = jamming.plane(setup, None, h=[1, 16], alpha_tilde=[0.3, 1000.0], progress=False)
    table = sweep(setup, STANDARD, None, seed=range(3), progress=False, **axes)
    assert (table.N_delta.sel(h=1) > 0).all() and (table.N_delta.sel(h=16) == 0).all()
    assert jamming.jamming_width(table.N_delta).values.tolist() == [16, 16]
    change = table.kernel_change.sel(h=16)
    assert (change.sel(alpha_tilde=0.3) > 10).all() and (change.sel(alpha_tilde=1000.0) < 0.1).all()
    assert (table.test_error.sel(h=16) < 0.35).all() and not table.capped.any() and (axes["t_max"].sel(h=1) > 100).all()
    jammed = table.sel(h=1)
    assert (jammed.t_end == axes["t_max"].sel(h=1)).all(), "each for 300 times as long as a wide net needs"
    assert (jammed.N_delta_at.diff("budget") <= 2).all(), "more time leaves fewer unsatisfied"
