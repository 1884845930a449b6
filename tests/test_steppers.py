"""One step of each method: the authors' rule by hand, stability functions, order of convergence."""

import math

import numpy as np
import pytest
import torch
from numpy.polynomial import Chebyshev
from problems import make, minus_gradient, normal, nothing, tensor
from scipy.integrate import solve_ivp

from lazyjam import solver, steppers
from lazyjam.chebyshev import chebyshev, first_stage, next_stage, table_of
from lazyjam.data import load
from lazyjam.losses import LOSSES
from lazyjam.networks import from_function, fully_connected
from lazyjam.problem import Problem
from lazyjam.solver import Solver
from lazyjam.steppers import METHODS, implicit_step
from lazyjam.tangents import flatten, stack

# explicit Euler: a net of three parameters, f_tilde(x) = a b x + c, written out --------------------------------------

XS, YS = (1.0, -0.5), (1.0, -1.0)
START = (0.5, -0.3, 0.2)


def toy(alpha: float, loss: str) -> Problem:
    def apply(w, x):
        return w["a"] * w["b"] * x[:, 0] + w["c"]

    def init(generator):
        return {name: tensor(value) for name, value in zip("abc", START, strict=True)}

    x, y = tensor(*XS)[:, None], tensor(*YS)
    return make(from_function(init, apply), loss, tensor(alpha), x, y)


def toy_outputs(w, alpha):
    a, b, c = w
    a0, b0, c0 = START
    return [alpha * (a * b * x + c - a0 * b0 * x - c0) for x in XS]


def toy_gradient(w, alpha, loss):
    """dL/dw of L = (1/2) sum_mu l(Delta_mu), term by term; l' is Delta, or 1 where Delta > 0."""
    a, b, c = w
    deltas = [1 - y * f for y, f in zip(YS, toy_outputs(w, alpha), strict=True)]
    slopes = deltas if loss == "squared" else [float(delta > 0) for delta in deltas]
    pulls = [-slope * y * alpha / 2 for y, slope in zip(YS, slopes, strict=True)]
    return [sum(p * b * x for p, x in zip(pulls, XS, strict=True)),
            sum(p * a * x for p, x in zip(pulls, XS, strict=True)), sum(pulls)]


def toy_attempt(w, alpha, loss, dt):
    """End of a tentative step, dgrad and dout as the authors have them (their |f - f'| is multiplied by alpha here)."""
    g = toy_gradient(w, alpha, loss)
    new = [u - dt * v / alpha**2 for u, v in zip(w, g, strict=True)]
    g_new = toy_gradient(new, alpha, loss)
    dgrad = sum((u - v) ** 2 for u, v in zip(g, g_new, strict=True)) / (math.hypot(*g) * math.hypot(*g_new))
    dout = max(abs(u - v) for u, v in zip(toy_outputs(w, alpha), toy_outputs(new, alpha), strict=True))
    return new, dgrad, dout


CASES = [(3.0, "squared", "dgrad"), (0.05, "squared", "dgrad"), (300.0, "hinge", "dout")]  # and the bound that acts


@pytest.mark.parametrize("alpha, loss, bound", CASES)
def test_euler_accepts_and_rejects_as_by_hand(alpha, loss, bound):
    problem = toy(alpha, loss)
    w, dt, decisions = list(START), 0.4, []
    point = problem.at(tensor(*w)[None])
    for _ in range(120 if loss == "squared" else 14):  # the hinge before it comes to its kink
        step = METHODS["euler"].step(problem, point, tensor(dt), nothing(problem), 1.0)
        proposed = METHODS["euler"].next_dt(tensor(dt), step.error).item()
        new, dgrad, dout = toy_attempt(w, alpha, loss, dt)
        decisions.append((dgrad < 1e-4 and dout < 0.1, "dgrad" if dgrad / 1e-4 > dout / 0.1 else "dout"))
        if decisions[-1][0]:
            w, point = new, step.point
            dt = dt * 1.1 if dgrad < 0.5e-4 and dout < 0.05 else dt
        else:
            dt = dt / 10
        assert (step.error.item() <= 1) == decisions[-1][0]
        assert proposed == pytest.approx(dt, rel=1e-12)
        torch.testing.assert_close(point.w[0], tensor(*w), rtol=1e-11, atol=1e-13)
    outcomes = {decision for decision, _ in decisions}
    assert outcomes == {True, False} and bound in {limit for decision, limit in decisions if not decision}


@pytest.mark.parametrize("alpha, loss, bound", CASES)
def test_euler_draws_the_line_where_the_authors_do(alpha, loss, bound):
    low, high = 1e-9, 0.5
    for _ in range(200):
        middle = math.sqrt(low * high)
        _, dgrad, dout = toy_attempt(START, alpha, loss, middle)
        low, high = (middle, high) if dgrad < 1e-4 and dout < 0.1 else (low, middle)
    problem = toy(alpha, loss)
    point = problem.at(tensor(*START)[None])
    for dt, accepted in ((low * (1 - 1e-6), True), (low * (1 + 1e-6), False)):
        error = METHODS["euler"].step(problem, point, tensor(dt), nothing(problem), 1.0).error
        assert (error.item() <= 1) == accepted and error.item() == pytest.approx(1, abs=1e-4)


def test_euler_changes_its_step_as_the_authors_do():
    proposed = METHODS["euler"].next_dt(tensor(2.0, 2.0, 2.0, 2.0, 2.0), tensor(0.499, 0.5, 0.9, 1.0, 1.0001))
    torch.testing.assert_close(proposed, tensor(2.2, 2.0, 2.0, 2.0, 0.2))


def test_euler_refuses_a_bound_met_exactly():
    """The authors accept what is strictly smaller."""
    one = from_function(lambda generator: {"a": tensor(0.0)}, lambda w, x: w["a"] * x[:, 0])
    problem = make(one, "hinge", tensor(1.0), tensor(1.0)[:, None], tensor(1.0))  # a' = 1 until the margin
    point = problem.at(tensor(0.0)[None])
    errors = [METHODS["euler"].step(problem, point, tensor(dt), nothing(problem), 1.0).error.item()
              for dt in (0.1, 0.1 * (1 - 1e-14))]
    assert errors[0] > 1 >= errors[1]


def test_tolerance_of_euler_scales_the_change_of_the_gradient_and_of_the_predictor():
    for alpha, loss, bound in CASES:
        problem, power = toy(alpha, loss), {"dgrad": 2, "dout": 1}[bound]  # dgrad is a square
        point = problem.at(tensor(*START)[None])
        dt = tensor(0.05)
        errors = [METHODS["euler"].step(problem, point, dt, nothing(problem), tol).error for tol in (1.0, 0.1)]
        assert (errors[1] / errors[0]).item() == pytest.approx(10**power, rel=1e-9)


# stability functions: f_tilde(x) = w x with orthogonal patterns is a linear flow Delta_mu' = -lambda_mu Delta_mu -----


def linear(rates: torch.Tensor) -> Problem:
    """One run whose flow has the given rates: |x_mu|^2 / P = rate."""
    d = len(rates)
    network = from_function(
        lambda generator: {"a": torch.randn(d, generator=generator, dtype=torch.float64)}, lambda w, x: w["a"] @ x.T
    )
    y = tensor(*[(-1.0) ** i for i in range(d)])
    return make(network, "squared", tensor(0.3), torch.diag((rates * d).sqrt()), y)


def amplification(method: str, rates: torch.Tensor, dt: float) -> torch.Tensor:
    problem = linear(rates)
    point = problem.at(flatten(problem.like))
    new = METHODS[method].step(problem, point, tensor(dt), nothing(problem), 1.0).point
    return (1 - problem.y * new.f)[0]


def rkc_polynomial(s: int, z: np.ndarray) -> np.ndarray:
    """a_s + b_s T_s(w0 + w1 z), eq. 2.1 of Sommeijer, Shampine, Verwer (1998)."""
    T = Chebyshev.basis(s)
    w0 = 1 + 2 / 13 / s**2
    w1 = T.deriv(1)(w0) / T.deriv(2)(w0)
    b = T.deriv(2)(w0) / T.deriv(1)(w0) ** 2
    return 1 - b * T(w0) + b * T(w0 + w1 * z)


def rkc_recurrence(s: int, z: np.ndarray) -> np.ndarray:
    table = chebyshev(s).numpy()
    before, now = np.ones_like(z), 1 + table[1, 2] * z
    for mu, nu, mu_tilde, gamma_tilde in table[2:]:
        before, now = now, (1 - mu - nu) + mu * now + nu * before + mu_tilde * z * now + gamma_tilde * z
    return now


@pytest.mark.parametrize("s", [2, 3, 5, 20, 100, 250])
def test_chebyshev_coefficients(s):
    z = -np.linspace(0, 0.65 * (s**2 - 1), 20_001)
    R = rkc_recurrence(s, z)
    if s <= 20:  # numpy's own basis loses digits beyond
        np.testing.assert_allclose(R, rkc_polynomial(s, z), atol=1e-9)
    assert np.abs(R).max() <= 1 + 1e-12, "stable on the interval that the step size assumes"
    assert np.abs(R[z < -1.5]).max() < 0.97, "and damped"
    assert abs(rkc_recurrence(s, np.array([-0.68 * s**2]))[0]) > 1 or s < 5, "which is nearly all there is"
    small = np.array([1e-2, 5e-3])
    defect = np.abs(rkc_recurrence(s, -small) - (1 - small + small**2 / 2))
    assert (defect < small**3 / 5).all(), "second order"
    assert s == 2 or defect[0] / defect[1] == pytest.approx(8, rel=0.02), "and no more; for two stages it is exact"


def test_rkc_step_is_its_polynomial():
    rates, dt = tensor(0.01, 0.7, 3.0, 40.0), 2.5
    s = 1 + math.floor(math.sqrt(1 + 1.54 * dt * 1.3 * 40))
    problem = linear(rates)
    step = METHODS["rkc"].step(problem, problem.at(flatten(problem.like)), tensor(dt), nothing(problem), 1.0)
    expected = rkc_polynomial(s, -dt * rates.numpy())
    np.testing.assert_allclose((1 - problem.y * step.point.f)[0].numpy(), expected, atol=1e-10)
    assert step.cost.gradients.item() == s + 2 + 36, "stages, two products for the estimate, twelve rounds of three"
    assert step.memory.shape == (1, 4), "the vector of the largest rate, for the next step"
    assert (step.memory[0].abs() / step.memory.norm())[3] > 0.999


def test_a_run_that_has_made_its_stages_stays_where_it_is():
    """So all runs can make as many, where that is quicker: then every run ends as it does alone."""
    y = normal(9, seed=2).sign()
    problem = make(fully_connected(4, 6, 2), "soft_hinge", tensor(0.5, 2.0, 9.0), normal(9, 4), y)
    w, last = flatten(problem.like), [3, 7, 5]
    table, v = table_of(last, tensor(0.1, 0.2, 0.3)), problem.at(w).v
    before, now = w, first_stage(table, w, v)
    for j in range(2, 8):
        before, now = now, next_stage(table[j], w, v, before, now, problem.at(now).v)
    torch.testing.assert_close(now, steppers._stages(problem, last, w, v, table), rtol=1e-13, atol=1e-14)
    assert not torch.equal(now[0], w[0])


def test_rkc_refuses_a_step_beyond_its_stages_and_proposes_a_shorter_one(monkeypatch):
    monkeypatch.setattr(steppers, "MAX_STAGES", 5)
    problem, dt = linear(tensor(0.01, 100.0)), tensor(3.0)
    point = problem.at(flatten(problem.like))
    for _ in range(20):
        step = METHODS["rkc"].step(problem, point, dt, nothing(problem), 1e6)
        if step.error.item() <= 1:
            break
        shorter = METHODS["rkc"].next_dt(dt, step.error)
        assert shorter < dt
        dt = shorter
    assert 0.05 < dt.item() * 130 / (0.649 * 24) <= 1


def test_implicit_step_is_its_stability_function(monkeypatch):
    rates, dt = tensor(0.6, 2.0, 50.0, 1e7), 1.0
    z = dt * rates
    expected = 2 / (1 + z / 2) ** 2 - 1 / (1 + z)
    torch.testing.assert_close(amplification("implicit", rates, dt), expected, rtol=0, atol=1e-8)
    monkeypatch.setattr(solver, "MAX_DENSE_BY_AUTOGRAD", 0)  # in function space
    torch.testing.assert_close(amplification("implicit", rates, dt), expected, rtol=0, atol=1e-8)


def test_wide_implicit_leaves_slow_patterns_explicit(monkeypatch):
    monkeypatch.setattr(solver, "MAX_DENSE_BY_AUTOGRAD", 0)
    z = tensor(0.1, 0.3, 50.0)  # the first two add up to less than one half
    expected = torch.where(z < 1, 1 - z + z**2 / 2, 2 / (1 + z / 2) ** 2 - 1 / (1 + z))
    torch.testing.assert_close(amplification("implicit", z, 1.0), expected, rtol=0, atol=1e-10)


def test_switching_is_explicit_until_a_step_costs_too_much_and_implicit_until_they_are_too_short(monkeypatch):
    monkeypatch.setattr(steppers, "MAX_STAGES", 60)
    problem = linear(tensor(0.01, 1.0, 40.0))
    point, memory, seen = problem.at(flatten(problem.like)), nothing(problem), []
    below, above = (((54 + more) ** 2 - 1) / 1.54 / 1.3 / 40 for more in (-0.5, 0.5))  # 54 stages and 55, with 5 more
    for dt in (0.1, below, above, 0.1 * above, 0.011 * above, 0.009 * above, 0.1):
        step = METHODS["switching"].step(problem, point, tensor(dt), memory, 1.0)
        way = "implicit" if step.cost.factorisations.item() else "rkc"
        alone = METHODS[way].step(problem, point, tensor(dt), memory[:, :-1], 1.0)
        assert torch.equal(step.point.w, alone.point.w) and torch.equal(step.error, alone.error)
        assert step.cost == alone.cost and torch.equal(step.memory[:, :-1], alone.memory)
        seen.append((way, step.memory[0, -1].item() / above, step.cost.gradients.item()))
        point, memory = step.point, step.memory
    assert [way for way, _, _ in seen] == ["rkc"] * 3 + ["implicit"] * 3 + ["rkc"]
    assert [limit for _, limit, _ in seen] == [0, 0, 1, 1, 1, 0, 0], "the step that cost too much is remembered"
    assert [cost for _, _, cost in seen[1:3]] == [59, 60]


@pytest.mark.parametrize("h", [6, 24])
def test_where_some_runs_have_switched_every_run_steps_as_it_does_alone(h):
    y = normal(9, seed=2).sign()
    problem = make(fully_connected(4, h, 2), "soft_hinge", tensor(9.0, 0.5, 2.0, 30.0), normal(9, 4), y)
    w, dt, limit = flatten(problem.like), tensor(0.3, 0.1, 0.2, 0.4), tensor(1.0, 0.0, 0.0, 100.0)
    memory = torch.cat([normal(*w.shape, seed=3), limit[:, None]], dim=1)
    together = METHODS["switching"].step(problem, problem.at(w), dt, memory, 1e-2)
    assert together.cost.factorisations.tolist() == [2, 0, 0, 2]
    assert together.memory[:, -1].tolist() == [1, 0, 0, 0]
    for run in range(4):
        one = problem.of(torch.tensor([run]))
        alone = METHODS["switching"].step(one, one.at(w[[run]]), dt[[run]], memory[[run]], 1e-2)
        for mine, its in ((together.point.w, alone.point.w), (together.point.v, alone.point.v),
                          (together.error, alone.error), (together.memory, alone.memory)):  # fmt: skip
            torch.testing.assert_close(mine[run], its[0], rtol=1e-8, atol=1e-12)
        assert together.cost.gradients[run] == alone.cost.gradients[0]


# order of convergence ------------------------------------------------------------------------------------------------


def smooth_problem(h: int) -> Problem:
    return make(fully_connected(3, h, 2, "tanh"), "squared", tensor(0.25), normal(8, 3), normal(8, seed=2).sign())


def exact(problem: Problem, T: float) -> torch.Tensor:
    """Predictor at time T by a high-order method of scipy on the gradient that autograd gives."""
    def rhs(t, w):
        return minus_gradient(problem, torch.from_numpy(w)[None])[0].numpy()

    w = solve_ivp(rhs, (0, T), flatten(problem.like)[0].numpy(), method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    return problem.at(torch.from_numpy(w)[None]).f


def march(problem: Problem, method: str, T: float, steps: int) -> torch.Tensor:
    point, memory = problem.at(flatten(problem.like)), nothing(problem)
    for _ in range(steps):
        step = METHODS[method].step(problem, point, tensor(T / steps), memory, 1.0)
        point, memory = step.point, step.memory
    return point.f


@pytest.mark.parametrize(
    "method, h, order", [("euler", 5, 1), ("rkc", 5, 2), ("implicit", 5, 2), ("implicit", 25, 2), ("rkc", 25, 2)]
)
def test_order_of_convergence(method, h, order):
    """h = 25 has more than 600 parameters: the Gauss-Newton part alone in function space, and still second order."""
    problem, T = smooth_problem(h), 4.0
    f, counts = exact(problem, T), np.array([20, 40, 80, 160])
    errors = np.array([(march(problem, method, T, n) - f).abs().max().item() for n in counts.tolist()])
    assert f.abs().max() > 0.4 and errors[0] > 1e-7, "something happened"
    slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert slope == pytest.approx(order, abs=0.3), (slope, errors)


@pytest.mark.parametrize("method", ["rkc", "implicit"])
def test_estimated_error_is_of_third_order_and_of_the_size_of_the_true_one(method):
    problem = smooth_problem(5)
    point = problem.at(flatten(problem.like))
    estimates, truths = [], []
    for dt in (0.02, 0.01, 0.005):
        step = METHODS[method].step(problem, point, tensor(dt), nothing(problem), 1.0)
        estimates.append(step.error.item())
        truths.append(((step.point.f - exact(problem, dt)).abs() / (1 + step.point.f.abs())).max().item())
    for series in (estimates, truths):
        slopes = np.diff(np.log(series)) / math.log(0.5)
        assert slopes == pytest.approx([3, 3], abs=0.3), series
    assert 0.3 < estimates[-1] / truths[-1] < 10


def test_second_order_controller():
    dt = METHODS["rkc"].next_dt(tensor(1.0, 1.0, 1.0, 1.0), tensor(0.0, 1.0, 8.0, math.inf))
    torch.testing.assert_close(dt, tensor(3.0, 0.8, 0.4, 0.1))


def test_a_step_that_explodes_is_refused():
    """Where the landscape curves down, a half step can hit the singularity of its matrix."""
    x, y = load("stripe", 60, 0, 5, 0, preprocessing="none").train
    network = fully_connected(5, 6, 2)
    w0 = stack([network.init(torch.Generator().manual_seed(0))])
    alpha = torch.tensor([4e-3 / 6**0.5], dtype=torch.float64)
    problem = Problem(network, w0, x, y, LOSSES["soft_hinge"], alpha, network.apply(w0, x))
    point = problem.at(flatten(w0))
    delta = 1 - y * point.f
    pull = y * problem.loss.slope(delta) / alpha[:, None]
    narrow = Solver(point.tangent, 0, 1 / 60, problem.loss.curvature(delta)[0], pull[0], None, True)
    lowest = torch.linalg.eigvalsh(narrow._matrix)[0]
    assert narrow.in_parameters and lowest < 0
    step = implicit_step(problem, point, -2 / lowest[None] * (1 + 1e-9), torch.zeros(1, 0), tol=1e-2)
    assert step.point.f.abs().max() > 1e6 and step.error == torch.inf
