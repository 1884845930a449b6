"""One step of gradient flow: by three methods, and by two of them in turn.

A method makes a step of size dt per run and estimates its error. A weight decay is slow beside what is stiff, and left
to the explicit part of every method.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from .chebyshev import MAX_STAGES, first_stage, next_stage, table_of
from .felt import REACH, felt
from .problem import Point, Problem
from .solver import solve, solvers
from .types import Flat, Outputs, PerRun


class Cost(NamedTuple):
    """What a step cost each run: gradients (a product with J counts as one) and factorisations."""

    gradients: Tensor
    factorisations: Tensor


class Step(NamedTuple):
    """Candidate end point, error in units of the tolerance (at most 1 is good), memory for the next step, cost."""

    point: Point
    error: PerRun
    memory: Tensor
    cost: Cost


class Method(NamedTuple):
    """step(problem, point, dt, memory, tol) -> Step. next_dt(dt, error) proposes the next step after one of size dt."""

    step: Callable[[Problem, Point, PerRun, Tensor, float], Step]
    next_dt: Callable[[PerRun, PerRun], PerRun]
    tol: float


def _cost(dt: Tensor, gradients: int | Tensor, factorisations: int = 0) -> Cost:
    return Cost(torch.zeros_like(dt) + gradients, torch.full_like(dt, factorisations))


def _second_order_dt(dt: PerRun, error: PerRun) -> PerRun:
    """The local error of a second-order step is of third order."""
    return dt * (0.8 * error.clamp(1e-6, 1e6) ** (-1 / 3)).clamp(0.1, 3.0)


def _error(problem: Problem, df: Outputs, before: Outputs, after: Outputs, tol: float) -> PerRun:
    """The error df of the predictor in units of tol, on the scale that matters: the margin is one.

    A loss that ends by its energy falls exponentially at last, to far below tol, and how long that takes is asked for:
    there the scale is the largest pull that is left, or a step might leap to the end. What rounding makes of f, a
    difference times alpha, is no error of a step.

    Infinite for a step that more than doubles the loss, which a gradient flow never raises, or hardly, where a weight
    decay pulls: such a step has exploded, and its output is so large that its error looks small beside it.
    """
    old, new = (problem.loss.value(problem.delta(f)).mean(1) for f in (before, after))
    left = 1.0
    if problem.loss.ends == "energy":
        rounding = 4 * torch.finfo(before.dtype).eps * problem.alpha * problem.f_tilde_0.abs().amax(1)
        left = problem.loss.slope(problem.delta(before)).abs().amax(1).maximum(rounding / tol).clamp(max=1)
    exploded = new > 2 * old + tol * left**2
    return torch.where(exploded, math.inf, (df.abs() / (1 + after.abs())).amax(1) / (tol * left))


# explicit Euler ------------------------------------------------------------------------------------------------------

MAX_DGRAD, MAX_DOUT = 1e-4, 0.1  # the authors' bounds


def euler_step(problem: Problem, point: Point, dt: PerRun, memory: Tensor, tol: float) -> Step:
    """Euler with the authors' rule: accept iff |g - g'|^2 / (|g| |g'|) < 1e-4 and max_mu |f - f'| < 0.1.

    The bounds are those at tol = 1; tol scales the relative change of the gradient and the change of the predictor.
    """
    new = problem.at(point.w + dt[:, None] * point.v)
    norms = point.v.norm(dim=1) * new.v.norm(dim=1)
    dgrad = torch.where(norms > 0, (point.v - new.v).square().sum(1) / norms, 0.0)
    dout = (new.f - point.f).abs().amax(1)
    # strictly smaller is accepted, so a ratio of exactly one must count as an error
    error = torch.maximum(dgrad / (MAX_DGRAD * tol**2), dout / (MAX_DOUT * tol)) * (1 + 1e-15)
    return Step(new, error, memory, _cost(dt, 1))


def _euler_dt(dt: PerRun, error: PerRun) -> PerRun:
    return torch.where(error > 1, dt / 10, torch.where(error < 0.5, dt * 1.1, dt))


# Runge-Kutta-Chebyshev -----------------------------------------------------------------------------------------------

def _stiffness(problem: Problem, point: Point, memory: Tensor) -> tuple[Tensor, Tensor, int]:
    """Largest eigenvalue of the Hessian of the loss over alpha^2, per run, by power iteration from the last vector.

    The Gauss-Newton part counts with the largest l'' within REACH of each pattern's Delta, because patterns enter the
    curved part of the loss within a step. What the network bends adds to it, and comes from a difference of velocities.
    """
    P, delta, vector = problem.P, problem.delta(point.f), memory
    ahead = problem.loss.curvature(torch.full_like(delta, problem.loss.peak).clamp(delta - REACH, delta + REACH))
    more = (ahead - problem.loss.curvature(delta)) / P
    rounds = 1 if memory.numel() else 12
    if not memory.numel():
        vector = point.v + 1e-3 * point.w
    for _ in range(rounds):
        vector = vector / vector.norm(dim=1, keepdim=True).clamp(min=1e-300)
        small = 1e-7 * point.w.norm(dim=1, keepdim=True)
        bent = (point.v - problem.at(point.w + small * vector).v) / small
        vector = bent + point.tangent.vjp(more * point.tangent.jvp(vector))
    return 1.3 * vector.norm(dim=1), vector, 3 * rounds


def _stages(problem: Problem, last: Sequence[int], w: Flat, v: Flat, table: Tensor) -> Flat:
    """What `Stages` does, one by one. A run leaves the batch after its last stage."""
    end, runs, before, now = torch.empty_like(w), torch.arange(len(w)), w, first_stage(table, w, v)
    counts, ends = torch.tensor(last), {*last}
    for j in range(2, len(table)):
        if j - 1 in ends:
            going = counts[runs] >= j
            end[runs[~going]] = now[~going]
            problem, runs, before, now = problem.of(going), runs[going], before[going], now[going]
            w, v, table = w[going], v[going], table[:, going]
        before, now = now, next_stage(table[j], w, v, before, now, problem.at(now).v)
    end[runs] = now
    return end


def rkc_step(problem: Problem, point: Point, dt: PerRun, memory: Tensor, tol: float) -> Step:
    """Stabilised explicit step: s gradients reach dt = 0.65 s^2 / lambda_max. Each run has its own s."""
    near = felt(problem, point)
    stiffness, vector, products = _stiffness(near.problem, near.point, memory)
    counts = (1 + (1 + 1.54 * dt * stiffness).sqrt().floor()).nan_to_num(2).clamp(2, MAX_STAGES).long()
    dt_used = dt.minimum(0.649 * (counts**2 - 1) / stiffness)  # only less than dt where the stages are capped
    last = counts.tolist()
    stages = problem.stages if point.layered_on_gpu else partial(_stages, near.problem, last)
    end = stages(point.w, near.point.v, table_of(last, dt_used))
    new = problem.at(end)
    f_dot = problem.alpha[:, None] * point.tangent.jvp(point.v), problem.alpha[:, None] * new.tangent.jvp(new.v)
    estimate = 0.8 * (point.f - new.f) + 0.4 * dt_used[:, None] * (f_dot[0] + f_dot[1])
    # a step that had to be cut is refused, and tried again with what the stages allow
    error = torch.where(dt_used < dt, (dt / dt_used) ** 2 * 1.6, _error(problem, estimate, point.f, new.f, tol))
    return Step(new, near.error(problem, new.f, error), vector, _cost(dt, counts + 2 + products))


# linearly implicit ---------------------------------------------------------------------------------------------------

def implicit_step(problem: Problem, point: Point, dt: PerRun, memory: Tensor, tol: float) -> Step:
    """Linearly implicit Euler, one whole step against two halves with the same matrix, extrapolated to second order.

    (1 + dt A) dw = dt v(w), with A of `Solver`: a W-method, of second order whatever A is (Hairer, Wanner, IV.9), so
    what A leaves out costs stability only. The error is the defect of the trapezoidal rule, filtered by (1 + dt A)^-1
    against stiff noise and measured on the predictor.
    """
    near, h = felt(problem, point), dt[:, None]
    tangent, v = near.point.tangent, near.point.v
    one, two = zip(*((solver.at(1.0), solver.at(0.5)) for solver in solvers(near.problem, near.point, dt)), strict=True)
    whole = h * solve(tangent, one, v)
    first = h / 2 * solve(tangent, two, v)
    second = h / 2 * solve(tangent, two, near.problem.at(point.w + first).v)
    move = 2 * (first + second) - whole
    new = problem.at(point.w + move)
    defect = solve(tangent, one, move - h / 2 * (point.v + new.v))
    error = _error(problem, problem.alpha[:, None] * point.tangent.jvp(defect), point.f, new.f, tol)
    return Step(new, near.error(problem, new.f, error), memory, _cost(dt, 12, 2))


# explicit, and implicit where what is left is stiff ------------------------------------------------------------------

GIVE_UP = 0.01
"""Implicit steps are no good where they are shorter than this part of the explicit one that cost too much."""


def switching_step(problem: Problem, point: Point, dt: PerRun, memory: Tensor, tol: float) -> Step:
    """Explicit steps until one costs MAX_STAGES gradients, then implicit ones until they are too short: each run alone.

    While features are learnt the curvature of the network limits a step, and explicit ones go further. What is left at
    the end, near jamming above all, is slow and stiff. memory: (R, N + 1), what explicit steps remember, and the dt of
    the one that cost too much, or 0 while steps are explicit.
    """
    vector, limit = memory[:, :-1], memory[:, -1] if memory.numel() else torch.zeros_like(dt)
    implicit = limit > 0
    known = implicit.tolist()
    if len({*known}) == 1:
        made = (implicit_step if known[0] else rkc_step)(problem, point, dt, vector, tol)
    else:
        made = _mixed_step(problem, point, dt, vector, tol, implicit)
    stay, begin = implicit & (dt >= GIVE_UP * limit), ~implicit & (made.cost.gradients >= MAX_STAGES)
    limit = torch.where(begin, dt, torch.where(stay, limit, 0.0))
    return made._replace(memory=torch.cat([made.memory, limit[:, None]], dim=1))


def _mixed_step(problem: Problem, point: Point, dt: PerRun, vector: Tensor, tol: float, implicit: Tensor) -> Step:
    """Implicit steps for some runs, explicit ones for the others.

    These are made with the whole batch, whose stages a GPU has recorded, and the former stand still meanwhile. What
    that takes, and what makes the point of a part, is not counted: what a run costs does not depend on its batch.
    """
    rows, some = implicit.nonzero()[:, 0], problem.of(implicit)
    explicit = rkc_step(problem, point, dt.masked_fill(implicit, 0.0), vector, tol)
    part = implicit_step(some, some.at(point.w[rows]), dt[rows], vector[rows], tol)

    def joined(of_all: Tensor, of_some: Tensor) -> Tensor:
        return of_all.index_copy(0, rows, of_some)

    new = problem.at(joined(explicit.point.w, part.point.w))
    cost = Cost(*(joined(*costs) for costs in zip(explicit.cost, part.cost, strict=True)))
    return Step(new, joined(explicit.error, part.error), joined(explicit.memory, vector[rows]), cost)


METHODS: dict[str, Method] = {
    "euler": Method(euler_step, _euler_dt, tol=1.0),
    "rkc": Method(rkc_step, _second_order_dt, tol=1e-2),
    "implicit": Method(implicit_step, _second_order_dt, tol=1e-2),
    "switching": Method(switching_step, _second_order_dt, tol=1e-2),
}
