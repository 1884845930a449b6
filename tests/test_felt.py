"""Patterns that are not felt: what is left out pulls on nothing, and a run does not notice."""

from dataclasses import replace

import pytest
import torch
from problems import make, normal, nothing, tensor

from lazyjam import felt as module
from lazyjam.felt import REACH, REFUSED, felt
from lazyjam.flow import FAILED, FITTED, gradient_flow
from lazyjam.losses import LOSSES
from lazyjam.networks import convolutional, fully_connected
from lazyjam.setups import Setup
from lazyjam.steppers import METHODS
from lazyjam.tangents import flatten
from lazyjam.training import train

P = 60
X = normal(P, 4)
NET = fully_connected(4, 12, 2)


def halfway(loss: str = "soft_hinge", runs: int = 1, network=NET, x=X):
    """A batch whose patterns are satisfied for the most part, and some of them by far."""
    problem = make(network, loss, tensor(*[1.0] * runs), x, X[:, 0].sign())
    for now in gradient_flow(problem.network, problem.like, (problem.x, problem.y), loss, problem.alpha):
        if bool((now.N_delta < 0.1 * P).all()):
            return problem, problem.at(now.w)
    raise AssertionError("no such state was passed")


@pytest.mark.parametrize(("loss", "error"), [("soft_hinge", 1e-9), ("quadratic_hinge", 1e-12)])
@pytest.mark.parametrize("runs", [1, 2])
def test_the_velocity_is_that_of_all_patterns(loss, error, runs):
    problem, point = halfway(loss, runs)
    near = felt(problem, point)
    assert 0 < len(near.problem.y) < 0.7 * P and len(near.problem.y) + len(near.far) == P and near.problem.P == P
    torch.testing.assert_close(near.point.v, point.v, rtol=0, atol=error * float(point.v.abs().max()))
    some = torch.isin(torch.arange(P), near.far, invert=True)
    torch.testing.assert_close(near.point.f, point.f[:, some], rtol=0, atol=1e-12)


def test_nothing_is_left_out_that_may_be_felt_within_a_step():
    problem, point = halfway("quadratic_hinge")
    delta = problem.delta(point.f)[0]
    far = felt(problem, point).far
    assert bool((delta[far] <= -REACH).all())
    assert set((delta <= -REACH).nonzero()[:, 0].tolist()) == set(far.tolist())


def test_a_pattern_that_any_run_feels_is_felt():
    problem, point = halfway(runs=2)
    one = [
        set(felt(problem.of(run), problem.of(run).at(point.w[run])).far.tolist())
        for run in (torch.tensor([True, False]), torch.tensor([False, True]))
    ]
    assert set(felt(problem, point).far.tolist()) == one[0] & one[1] != one[0]


def test_at_the_start_all_patterns_are_felt():
    problem = make(fully_connected(4, 12, 2), "soft_hinge", tensor(1.0), X, X[:, 0].sign())
    point = problem.at(flatten(problem.like))
    near = felt(problem, point)
    assert near.far is None and near.problem is problem and near.point is point
    assert felt(problem, point).error(problem, point.f, tensor(0.5)) == tensor(0.5)


def test_a_margin_of_every_pattern_and_a_decay_come_along():
    problem, point = halfway()
    margin = torch.linspace(0.5, 1.0, P).double()
    problem = replace(problem, margin=margin, decay=0.1, start=2 * point.w)
    point = problem.at(point.w)
    near = felt(problem, point)
    assert near.far is not None and len(near.problem.margin) == len(near.problem.y)
    torch.testing.assert_close(near.point.v, point.v, rtol=0, atol=1e-9 * float(point.v.abs().max()))


def test_a_step_that_feels_a_pattern_too_late_is_refused():
    problem, point = halfway("quadratic_hinge")
    near, small = felt(problem, point), tensor(0.1)
    moved = point.f.clone()
    moved[:, near.far[0]] = problem.y[near.far[0]] * 0.9
    assert float(near.error(problem, moved, small)) == REFUSED
    assert float(near.error(problem, moved, 10 * REFUSED * small)) == REFUSED
    assert float(near.error(problem, moved, 100 * REFUSED * small)) == 10 * REFUSED
    assert float(near.error(problem, point.f, small)) == float(small)


@pytest.mark.parametrize("method", ["rkc", "implicit"])
def test_every_method_asks_whether_a_pattern_was_felt_too_late(method, monkeypatch):
    problem, point = halfway()
    assert float(METHODS[method].step(problem, point, tensor(1e-3), nothing(problem), 1.0).error) < 1
    monkeypatch.setattr(module.Felt, "error", lambda self, whole, f, error: REFUSED + 0 * error)
    assert float(METHODS[method].step(problem, point, tensor(1e-3), nothing(problem), 1.0).error) == REFUSED


# rkc rounds to a whole number of stages: a tenth of the tolerance of a step is asked of it
@pytest.mark.parametrize(
    ("method", "alpha_tilde", "error"), [("rkc", 1.0, 1e-3), ("implicit", 1.0, 1e-5), ("implicit", 1e3, 1e-5)]
)
def test_a_run_ends_where_it_does_when_all_are_felt(method, alpha_tilde, error, monkeypatch):
    setup = Setup(dataset="stripe", preprocessing="none", d=4, P=100, P_test=100, h=48, alpha_tilde=alpha_tilde)
    seen, at = [], module.Problem.on
    monkeypatch.setattr(module.Problem, "on", lambda self, rows: seen.append(len(rows)) or at(self, rows))
    some = train([setup], method=method)
    assert len(seen) > 5 and min(seen) < 60
    seen.clear()
    monkeypatch.setattr(module, "WORTH", 0.0)
    every = train([setup], method=method)
    assert not seen and int(some.state[0]) == int(every.state[0]) == FITTED
    torch.testing.assert_close(some.f_train, every.f_train, rtol=0, atol=error * float(every.f_train.abs().max()))
    assert int(some.gradients[0]) == pytest.approx(int(every.gradients[0]), rel=0.02)


def test_patterns_that_a_squared_loss_has_fitted_for_now_are_felt():
    problem, point = halfway("squared")
    moved = point._replace(f=problem.y * (1 + REACH) + 0 * point.f)
    assert felt(problem, moved).far is None


def test_at_the_edge_of_an_exponential_tail_a_pattern_is_felt_before_it_pulls():
    problem, point = halfway()
    problem, f = replace(problem, loss=LOSSES["cross_entropy"]), torch.full((1, P), 50.0, dtype=torch.float64)
    # e^-23.1 is just below FELT; e^-23.4 is still below it when its margin has fallen by REACH
    f[0, :3] = tensor(10.0, 10.0 + 23.1, 10.0 + 23.4)
    far = felt(problem, point._replace(f=problem.y * f)).far
    assert far.tolist() == list(range(2, P))


def test_a_convolutional_net_feels_as_much():
    problem, point = halfway(network=convolutional(16, 3, 1), x=torch.cat([X, X, X, X], 1))
    near = felt(problem, point)
    assert near.far is not None and near.point.tangent.f.shape == near.problem.f_tilde_0.shape
    torch.testing.assert_close(near.point.v, point.v, rtol=0, atol=1e-9 * float(point.v.abs().max()))


def test_where_nothing_is_felt_nothing_is_left_out():
    problem, point = halfway("quadratic_hinge")
    satisfied = point._replace(f=problem.y * 3 + 0 * point.f)
    assert felt(problem, satisfied).far is None


@pytest.mark.parametrize("h", [4, 12])
def test_a_run_that_is_lost_is_failed(h):
    problem = make(fully_connected(4, h, 2), "soft_hinge", tensor(1.0), X, X[:, 0].sign())
    problem.like["W1"][0, 0, 0] = float("nan")
    *_, last = gradient_flow(problem.network, problem.like, (X, problem.y), "soft_hinge", problem.alpha)
    assert int(last.state[0]) == FAILED


@pytest.mark.parametrize(("method", "error"), [("rkc", 1e-3), ("implicit", 1e-5)])
def test_a_run_ends_in_a_batch_where_it_does_alone(method, error):
    setup = Setup(dataset="stripe", preprocessing="none", d=4, P=100, P_test=100, h=48)
    both, alone = train([setup, setup.replace(seed=1)], method=method), train([setup], method=method)
    torch.testing.assert_close(both.f_train[:1], alone.f_train, rtol=0, atol=error * float(alone.f_train.abs().max()))


def test_single_precision_leaves_out_as_much(monkeypatch):
    setup = Setup(dataset="stripe", preprocessing="none", d=4, P=100, P_test=100, h=48)
    seen, on = [], module.Problem.on
    monkeypatch.setattr(module.Problem, "on", lambda self, rows: seen.append(self.x.dtype) or on(self, rows))
    single, double = (train([setup], precision=precision) for precision in ("single", "double"))
    assert {torch.float32, torch.float64} == set(seen)
    torch.testing.assert_close(single.f_train, double.f_train, rtol=0, atol=1e-3 * float(double.f_train.abs().max()))
