"""The audit: what is sampled, what agrees, and what does not."""

import math

import numpy as np
import pytest
import torch

from lazyjam import Setup, audit, sweep, train
from lazyjam.audit import AGREES, DISAGREES, NEAR_JAMMING, REFUSED, SKIPPED, WIDE
from lazyjam.cache import Cache, Record
from lazyjam.machines import machine_error, squeezed_machine_error
from lazyjam.observables import N_delta
from lazyjam.stripe import gradient_ratio

BASE = Setup(P=30, P_test=80, P_kernel=0, d=5, L=1, alpha_tilde=10.0, t_max=1e4)  # lazy, so little is chaotic


@pytest.fixture(scope="module")
def computed(tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("cache"))
    sweep(BASE, [N_delta], cache, h=[1, 8, 24], alpha_tilde=[10.0, 500.0], seed=range(2), progress=False)
    stripe = BASE.replace(dataset="stripe", preprocessing="none")
    sweep(stripe, [N_delta], cache, h=[24], seed=range(2), progress=False)
    return {key: cache.get(key) for key in cache.keys()}


@pytest.fixture
def cache(computed, tmp_path):
    copy = Cache(tmp_path)
    for key, record in computed.items():
        copy.put(key, record)
    return copy


def changed(record: Record, *, meta=None, **columns) -> Record:
    return Record({**record.meta, **(meta or {})}, {**record.columns, **columns})


def test_strata(cache):
    groups = audit.strata(audit.eligible(cache))
    assert {run.setup.h for run in groups[WIDE]} == {24} and all(run.fitted for run in groups[WIDE])
    assert {run.setup.h for run in groups[NEAR_JAMMING]} == {8}
    assert {run.setup.dataset for run in groups[WIDE]} == {"digits", "stripe"}  # of the stripe, every width fits
    assert {run.setup.alpha_tilde for run in groups["smallest alpha_tilde"]} == {10.0}
    assert {run.setup.alpha_tilde for run in groups["largest alpha_tilde"]} == {500.0}
    assert len(groups["digits"]) == 12 and len(groups["stripe"]) == 2


def test_the_sample_visits_every_stratum_and_is_drawn_by_its_seed(cache):
    groups = audit.strata(audit.eligible(cache))
    drawn = audit.sample(groups, 6, seed=1)
    assert {stratum for stratum, _ in drawn} == set(groups)
    assert [run.key for _, run in drawn] == [run.key for _, run in audit.sample(groups, 6, seed=1)]
    keys = {tuple(run.key for _, run in audit.sample(groups, 6, seed)) for seed in range(5)}
    assert len(keys) > 1
    assert len({run.key for _, run in audit.sample(groups, 100, seed=1)}) == 14


def test_what_was_computed_here_agrees(cache):
    outcomes = list(audit.audit(cache, 8, seed=0))
    assert len(outcomes) == 8 and {outcome.verdict for outcome in outcomes} == {AGREES}
    assert max(outcome.difference for outcome in outcomes) < 1e-2


@pytest.mark.parametrize("column, change", [("probe", lambda v: 1.03 * v), ("N_delta", lambda v: v + 1)])
def test_a_changed_number_of_a_wide_net_disagrees(cache, column, change):
    run = audit.strata(audit.eligible(cache))[WIDE][0]
    assert audit.compare(run).verdict == AGREES
    moved = changed(run.record, **{column: change(run.record.columns[column])})
    assert audit.compare(run._replace(record=moved)).verdict == DISAGREES


def test_near_jamming_the_measured_spread_is_allowed_and_no_more(cache):
    run = audit.strata(audit.eligible(cache))[NEAR_JAMMING][0]
    moved = run._replace(record=changed(run.record, probe=-run.record.columns["probe"]))
    outcome = audit.compare(moved)
    assert outcome.verdict == DISAGREES and outcome.difference > outcome.allowed >= audit.TOLERANCE
    assert "a change of the weights by 1e-15 makes" in outcome.reason
    barely = run._replace(record=changed(run.record, N_delta=np.array(1)))  # 1 % of 30 patterns is less than one
    assert audit.compare(barely).verdict == DISAGREES


def test_a_run_in_single_precision_is_compared_with_one_in_double(tmp_path):
    cache = Cache(tmp_path)
    sweep(BASE, [N_delta], cache, h=[24], precision="single", progress=False)
    (run,) = audit.eligible(cache)
    assert run.record.meta["how"]["precision"] == "single" and run.noise == 1e-7
    outcome = audit.compare(run)
    assert outcome.verdict == AGREES and 0 < outcome.difference < 1e-3
    off = audit.compare(run._replace(record=changed(run.record, probe=1.1 * run.record.columns["probe"])))
    assert off.verdict == DISAGREES and "a change of the weights by 1e-07" in off.reason
    older = {name: value for name, value in run.record.meta["how"].items() if name != "precision"}
    assert run._replace(record=changed(run.record, meta={"how": older})).noise == 1e-15


def test_disturbed_weights_move_the_outcome_by_little():
    def disturb(w):
        return {name: x * (1 + 1e-9) for name, x in w.items()}

    with torch.no_grad():
        plain, moved = (train([BASE.replace(h=24)], init=init) for init in (None, disturb))
    difference = (plain.f_test - moved.f_test).abs().max()
    assert 0 < difference < 1e-4


def test_other_data_are_refused_and_absent_data_are_skipped(cache, tmp_path):
    digits = next(run for run in audit.eligible(cache) if run.setup.dataset == "digits")
    lost, few = digits.setup.replace(dataset="file:lost.npz"), Cache(tmp_path / "few")
    few.put(digits.key, changed(digits.record, meta={"provenance": {"checksum": "0" * 64}}))
    few.put(lost.key, changed(digits.record, meta={"fields": lost.fields}))
    outcomes = {outcome.key: outcome for outcome in audit.audit(few, 100, seed=0)}
    assert outcomes[digits.key].verdict == REFUSED and "checksum 000000000000" in outcomes[digits.key].reason
    assert outcomes[lost.key].verdict == SKIPPED and "lost.npz" in outcomes[lost.key].reason


def test_a_record_under_a_key_that_is_not_its_own_disagrees(cache):
    run = audit.eligible(cache)[0]
    outcome = audit.compare(run._replace(key="0" * 32))
    assert outcome.verdict == DISAGREES and run.key in outcome.reason


def test_what_cannot_be_compared_is_not_drawn(cache):
    run = audit.eligible(cache)[0]
    columns = {name: column for name, column in run.record.columns.items() if name != "probe"}
    other = run.setup.replace(seed=77)
    cache.put(other.key, Record({**run.record.meta, "fields": other.fields}, columns))
    capped = run.setup.replace(seed=78)
    cache.put(capped.key, changed(run.record, meta={"fields": capped.fields}, capped=np.array(True)))
    cache.put("f" * 32, Record({"fields": {}, "versions": {}, "ensemble": []}, {"error": np.array(0.1)}))
    assert {other.key, capped.key, "f" * 32}.isdisjoint(run.key for run in audit.eligible(cache))


def test_a_run_that_breaks_off_when_it_is_made_again_disagrees(cache, monkeypatch):
    """And where only a disturbed copy does, the spread in N_delta is all of P."""
    kept, measured = audit.eligible(cache)[0], audit._measured

    def broken(trained):
        outputs, unfit = measured(trained)
        unfit = torch.full(unfit.shape, math.nan) if len(unfit) in broken.runs else unfit
        return outputs + (len(unfit) == 1), unfit

    monkeypatch.setattr(audit, "_measured", broken)
    broken.runs = (1,)
    outcome = audit.compare(kept)
    assert outcome.verdict == audit.DISAGREES and outcome.reason == "it was broken off this time"
    broken.runs = (audit.DISTURBED,)
    assert "a change of the weights" in audit.compare(kept).reason


def test_of_two_jammed_runs_few_patterns_may_differ_but_none_may_become_fitted(cache, monkeypatch):
    run = audit.eligible(cache)[0]
    run = run._replace(setup=run.setup.replace(P=1000, P_test=100), record=changed(run.record, N_delta=np.array(5)))
    run = run._replace(key=run.setup.key)
    probe = torch.from_numpy(run.record.columns["probe"].astype(float))[None]
    monkeypatch.setattr(audit, "_train", lambda run, copies, disturbed=False: copies)
    for now, verdict in ((12, AGREES), (16, DISAGREES), (0, DISAGREES)):
        counts = torch.tensor([float(now)])
        monkeypatch.setattr(audit, "_measured", lambda copies, n=counts: (probe.numpy(), n.expand(copies)))
        assert audit.compare(run).verdict == verdict, now


def test_what_was_asked_of_data_is_asked_again(tmp_path):
    cache = Cache(tmp_path)
    asked = [machine_error, gradient_ratio, squeezed_machine_error]
    one = BASE.replace(dataset="stripe", preprocessing="none", dynamics="none", P_test=500)
    sweep(one, asked, cache, seed=[0], progress=False)
    (outcome,) = audit.audit(cache, 5, seed=0)
    assert outcome.verdict == AGREES and outcome.difference < 1e-6
    record = cache.get(one.key)
    factors = record.columns["squeezed_machine_error"].copy()
    factors[3] += 0.03
    cache.put(one.key, changed(record, squeezed_machine_error=factors))
    (outcome,) = audit.audit(cache, 5, seed=0)
    assert outcome.verdict == DISAGREES and outcome.reason == "in squeezed_machine_error"
    ratio = record.columns["gradient_ratio"] * 1.02
    cache.put(one.key, changed(record, gradient_ratio=ratio))
    (outcome,) = audit.audit(cache, 5, seed=0)
    assert outcome.verdict == DISAGREES and outcome.reason == "in gradient_ratio", "of which no test point is a part"
