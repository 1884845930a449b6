"""Descents to the minima of the quadratic hinge, against convex problems whose minimum another method finds."""

from itertools import islice

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lazyjam.flow import FITTED, MINIMUM, OUT_OF_TIME
from lazyjam.hessian import contacts, hessian
from lazyjam.losses import LOSSES
from lazyjam.minima import BALANCED, CONVERGED, PATIENCE, PULL, STILL, _Model, descent, minimum
from lazyjam.networks import from_function, fully_connected
from lazyjam.problem import Problem
from lazyjam.tangents import flatten, stack, unflatten

LINEAR = from_function(lambda generator: {"w": torch.zeros(6, dtype=torch.float64)}, lambda w, x: w["w"] @ x.T)


def problem(network, P: int, d: int, seed: int = 0, alpha: float = 1.0) -> tuple[Problem, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    w0 = stack([network.init(generator)])
    x = torch.randn(P, d, generator=generator, dtype=torch.float64)
    y = torch.where(torch.arange(P) % 2 == 0, 1.0, -1.0).double()
    alpha = torch.tensor([alpha], dtype=torch.float64)
    return Problem(network, w0, x, y, LOSSES["quadratic_hinge"], alpha, network.apply(w0, x)), flatten(w0)


def energy(problem: Problem, w: torch.Tensor) -> torch.Tensor:
    """U from its definition, for differentiation."""
    f = problem.alpha[0] * (problem.network.apply(unflatten(w[None], problem.like), problem.x) - problem.f_tilde_0)[0]
    return (1 - problem.y * f).clamp(min=0).square().sum() / (2 * len(problem.y))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 5.0])
def test_the_minimum_of_a_linear_net_is_that_of_scipy(alpha):
    task, w = problem(LINEAR, 40, 6, alpha=alpha)
    found = minimum(task, w, 300)
    x, y = task.x.numpy(), task.y.numpy()

    def U(v):
        delta = np.maximum(1 - alpha * y * (x @ v), 0)
        return (delta**2).sum() / 80, -alpha * x.T @ (y * delta) / 40

    best = minimize(U, np.zeros(6), jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-12})
    assert found.state == MINIMUM and best.fun > 0.1
    assert float(energy(task, found.w[0])) == pytest.approx(best.fun, rel=1e-9)
    np.testing.assert_allclose(found.w[0].numpy(), best.x, rtol=1e-3 if alpha < 1 else 1e-4)


def test_a_linear_net_fits_what_is_separable():
    task, w = problem(LINEAR, 6, 6)
    found = minimum(task, w, 100, [1, 50, 100])
    assert found.state == FITTED and found.steps < 50
    assert float(energy(task, found.w[0])) <= 1e-20
    assert found.N_delta_at[0] > 0 and found.N_delta_at[1:].tolist() == [0, 0]


def test_the_energy_never_rises_and_the_steps_are_counted():
    task, w = problem(fully_connected(4, 4, 3, "softplus5", bias=True), 80, 4)
    walk = list(islice(descent(task, w), 60))
    U = [here.U for here in walk]
    assert len(walk) == 60 and 20 < sum(here.accepted for here in walk) <= 60
    assert all(b <= a * (1 + 1e-13) for a, b in zip(U, U[1:], strict=False)) and U[-1] < 0.5 * U[0]
    for here in walk[::20]:
        assert float(energy(task, here.w[0])) == pytest.approx(here.U, rel=1e-12)
        gradient = torch.func.grad(lambda v: energy(task, v))(here.w[0])
        assert float(gradient.norm()) == pytest.approx(here.gradient, rel=1e-9)


def test_a_certified_minimum_is_one():
    """By automatic differentiation: no force but the pull, no direction that leads down."""
    task, w = problem(fully_connected(3, 2, 2, "softplus5", bias=True), 60, 3)
    found = minimum(task, w, 2000)
    assert found.state == MINIMUM
    gradient = torch.func.grad(lambda v: energy(task, v))(found.w[0])
    point = task.at(found.w)
    delta = 1 - task.y * point.f
    touching = contacts(point.tangent, task.y, delta, 1.0)
    forces = touching.delta[:, None] * touching.jacobian / 60
    torch.testing.assert_close(-forces.sum(0), gradient, rtol=1e-6, atol=1e-10)
    assert float(gradient.norm()) < BALANCED * float(forces.norm())
    arrived = [here for here in islice(descent(task, found.w, pull=PULL), 2000) if here.gradient <= CONVERGED]
    later = float(energy(task, arrived[0].w[0]))
    assert later == pytest.approx(float(energy(task, found.w[0])), rel=2 * STILL)
    H = torch.func.hessian(lambda v: energy(task, v))(found.w[0])
    assert float(torch.linalg.eigvalsh(H)[0]) > -PULL
    torch.testing.assert_close(sum(hessian(point.tangent, task.y, delta, 1.0)), H, rtol=1e-8, atol=1e-8)
    assert int((delta > 0).sum()) > 0


def test_a_descent_that_is_cut_short_says_so():
    task, w = problem(fully_connected(4, 3, 3, "softplus5", bias=True), 200, 4)
    found = minimum(task, w, 5, [1, 2, 5])
    assert found.state == OUT_OF_TIME and found.steps == 5 * PATIENCE
    assert float(energy(task, found.w[0])) > 0 and len(found.N_delta_at) == 3


def test_the_wide_step_reaches_as_deep_as_many_small_ones():
    """A quadratic bowl (all patterns unsatisfied): one long step is exact."""
    task, w = problem(LINEAR, 40, 6, alpha=1e-3)
    walk = list(islice(descent(task, w), 40))
    H = 1e-6 * task.x.T @ task.x / 40
    best = torch.linalg.solve(H, 1e-3 * task.x.T @ task.y / 40)
    assert (1 - 1e-3 * task.y * (task.x @ best) > 0).all()
    torch.testing.assert_close(walk[-1].w[0], best, rtol=1e-4, atol=1e-4)


def test_a_pattern_that_comes_and_goes_within_a_step_counts_once():
    """The rows that a step corrects are those that are unsatisfied at its end, each of them once."""
    task, w = problem(fully_connected(4, 3, 3, "softplus5", bias=True), 80, 4, seed=3)
    for here in islice(descent(task, w), 80):
        point = task.at(here.w)
        step = _Model(task, point, here.delta, 0.0, here.w).step(10.0)
        if step is not None:
            assert sorted(step.rows.tolist()) == sorted({*step.rows.tolist()})
            J = task.y[step.rows, None] * point.tangent.jacobian(0, step.rows)
            torch.testing.assert_close(step.jacobian, J)
