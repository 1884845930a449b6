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


def left_out(problem, point) -> list[int]:
    """The patterns that no run feels."""
    return (~felt(problem, point).near).all(0).nonzero()[:, 0].tolist()


@pytest.mark.parametrize(("loss", "error"), [("soft_hinge", 1e-9), ("quadratic_hinge", 1e-12)])
@pytest.mark.parametrize("runs", [1, 2])
def test_the_velocity_is_that_of_all_patterns(loss, error, runs):
    problem, point = halfway(loss, runs)
    near = felt(problem, point)
    far = left_out(problem, point)
    assert 0 < len(near.problem.y) < 0.7 * P and len(near.problem.y) + len(far) == P and near.problem.P == P
    torch.testing.assert_close(near.point.v, point.v, rtol=0, atol=error * float(point.v.abs().max()))
    some = near.near.any(0)
    torch.testing.assert_close(near.point.f, point.f[:, some], rtol=0, atol=1e-12)


def test_nothing_is_left_out_that_may_be_felt_within_a_step():
    problem, point = halfway("quadratic_hinge")
    delta = problem.delta(point.f)[0]
    assert left_out(problem, point) == (delta <= -REACH).nonzero()[:, 0].tolist() != []


def test_a_run_of_a_batch_feels_what_it_feels_alone():
    problem, point = halfway(runs=2)
    near, alone = felt(problem, point), []
    for run in (torch.tensor([True, False]), torch.tensor([False, True])):
        one = problem.of(run)
        alone.append(felt(one, one.at(point.w[run])))
        torch.testing.assert_close(near.point.v[run], alone[-1].point.v, rtol=0, atol=1e-14)
    assert near.near.tolist() == [one.near[0].tolist() for one in alone]
    far = [set((~one.near[0]).nonzero()[:, 0].tolist()) for one in alone]
    assert set(left_out(problem, point)) == far[0] & far[1] != far[0]


def test_a_run_that_feels_all_does_not_change_what_another_feels():
    problem, point = halfway("quadratic_hinge", runs=2)
    mixed = problem.at(torch.stack([point.w[0], flatten(problem.like)[1]]))
    near = felt(problem, mixed)
    assert bool(near.near[1].all()) and len(near.problem.y) == P
    torch.testing.assert_close(near.point.v[:1], felt(problem, point).point.v[:1], rtol=0, atol=1e-14)
    moved = point.f.clone()
    first = int((~near.near[0]).nonzero()[0, 0])
    moved[:, first] = problem.y[first] * 0.9
    assert near.error(problem, moved, tensor(0.1, 0.1)).tolist() == [REFUSED, 0.1]


def test_at_the_start_all_patterns_are_felt():
    problem = make(fully_connected(4, 12, 2), "soft_hinge", tensor(1.0), X, X[:, 0].sign())
    point = problem.at(flatten(problem.like))
    near = felt(problem, point)
    assert near.near is None and near.problem is problem and near.point is point
    assert felt(problem, point).error(problem, point.f, tensor(0.5)) == tensor(0.5)


def test_a_margin_of_every_pattern_and_a_decay_come_along():
    problem, point = halfway()
    margin = torch.linspace(0.5, 1.0, P).double()
    problem = replace(problem, margin=margin, decay=0.1, start=2 * point.w)
    point = problem.at(point.w)
    near = felt(problem, point)
    assert near.near is not None and len(near.problem.margin) == len(near.problem.y)
    torch.testing.assert_close(near.point.v, point.v, rtol=0, atol=1e-9 * float(point.v.abs().max()))


def test_a_step_that_feels_a_pattern_too_late_is_refused():
    problem, point = halfway("quadratic_hinge")
    near, small = felt(problem, point), tensor(0.1)
    moved = point.f.clone()
    first = left_out(problem, point)[0]
    moved[:, first] = problem.y[first] * 0.9
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
    monkeypatch.setattr(module.Problem, "on", lambda self, rows, feels: seen.append(len(rows)) or at(self, rows, feels))
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
    assert felt(problem, moved).near is None


def test_at_the_edge_of_an_exponential_tail_a_pattern_is_felt_before_it_pulls():
    problem, point = halfway()
    problem, f = replace(problem, loss=LOSSES["cross_entropy"]), torch.full((1, P), 50.0, dtype=torch.float64)
    # e^-23.1 is just below FELT; e^-23.4 is still below it when its margin has fallen by REACH
    f[0, :3] = tensor(10.0, 10.0 + 23.1, 10.0 + 23.4)
    assert left_out(problem, point._replace(f=problem.y * f)) == list(range(2, P))


def test_a_convolutional_net_feels_as_much():
    problem, point = halfway(network=convolutional(16, 3, 1), x=torch.cat([X, X, X, X], 1))
    near = felt(problem, point)
    assert near.near is not None and near.point.tangent.f.shape == near.problem.f_tilde_0.shape
    torch.testing.assert_close(near.point.v, point.v, rtol=0, atol=1e-9 * float(point.v.abs().max()))


def test_where_nothing_is_felt_nothing_is_left_out():
    problem, point = halfway("quadratic_hinge")
    satisfied = point._replace(f=problem.y * 3 + 0 * point.f)
    assert felt(problem, satisfied).near is None


@pytest.mark.parametrize("h", [4, 12])
def test_a_run_that_is_lost_is_failed(h):
    problem = make(fully_connected(4, h, 2), "soft_hinge", tensor(1.0), X, X[:, 0].sign())
    problem.like["W1"][0, 0, 0] = float("nan")
    *_, last = gradient_flow(problem.network, problem.like, (X, problem.y), "soft_hinge", problem.alpha)
    assert int(last.state[0]) == FAILED


@pytest.mark.parametrize("method", ["rkc", "implicit"])
def test_a_run_ends_in_a_batch_where_it_does_alone(method, as_a_user):
    """To the 1e-8 that the book promises of nets that fit, though each of the six feels other patterns."""
    setup = Setup(dataset="stripe", preprocessing="none", d=4, P=100, P_test=100, h=48)
    batch = [setup.replace(seed=seed) for seed in range(6)]
    whole = train(batch, method=method)
    for run, one in enumerate(batch):
        alone = train([one], method=method)
        size = float(alone.f_train.abs().max())
        torch.testing.assert_close(whole.f_train[[run]], alone.f_train, rtol=0, atol=1e-8 * size)


def test_single_precision_leaves_out_as_much(monkeypatch):
    setup = Setup(dataset="stripe", preprocessing="none", d=4, P=100, P_test=100, h=48)
    seen, on = [], module.Problem.on
    of_type = lambda self, rows, feels: seen.append(self.x.dtype) or on(self, rows, feels)  # noqa: E731
    monkeypatch.setattr(module.Problem, "on", of_type)
    single, double = (train([setup], precision=precision) for precision in ("single", "double"))
    assert {torch.float32, torch.float64} == set(seen)
    torch.testing.assert_close(single.f_train, double.f_train, rtol=0, atol=1e-3 * float(double.f_train.abs().max()))
