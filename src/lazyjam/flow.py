"""Gradient flow of a batch of networks, as a generator of snapshots.

The caller owns the loop: what to measure, and when to stop caring, is written around it. Every run has its own time,
step and end. Runs that have ended leave the batch.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from .losses import ENERGY_END, LOSSES
from .networks import Network
from .problem import Point, Problem
from .spelling import nearest
from .steppers import METHODS
from .tangents import flatten
from .types import Flat, Inputs, Labels, Outputs, Params, PerRun

RUNNING, FITTED, OUT_OF_TIME, CAPPED, FAILED, MINIMUM, HELD = range(7)
"""States of a run: still going, the loss reached its end, t_max reached, cap on gradients reached, not a number; and
the ends of what is no flow: a minimum of the loss that is not zero, and one of the loss and a weight decay together."""

SLACK = 1e-8  # below it, the largest Delta, which falls for ever, is zero
OVERSHOOT = 1e-4  # a fitted run ends where its smallest margin lies between 1 and 1 + OVERSHOOT
SMALLEST = 1e-15  # a step below this fraction of the time passed cannot advance it
MAX_REFUSALS = 60


class Snapshot(NamedTuple):
    """State of all runs after one attempted step of those still going. Every entry has the axis of runs, R.

    t: flow time. w: weights, as one row per run. f: predictor on the training set. dt: the step to try next.
    N_delta: number of patterns with y f < 1, see `unsatisfied`. state: RUNNING, FITTED, OUT_OF_TIME, CAPPED or FAILED.
    accepted: whether the last step of a run counted. gradients, factorisations: what was spent so far.
    """

    t: PerRun
    w: Flat
    f: Outputs
    dt: PerRun
    N_delta: Tensor
    state: Tensor
    accepted: Tensor
    gradients: Tensor
    factorisations: Tensor


def gradient_flow(
    network: Network,
    w0: Params,
    data: tuple[Inputs, Labels],
    loss: str,
    alpha: PerRun,
    *,
    method: str = "implicit",
    tol: float | None = None,
    t_max: float | PerRun = math.inf,
    landmarks: Tensor | None = None,
    max_gradients: int = 100_000,
    first_dt: PerRun | None = None,
    decay: float = 0.0,
) -> Iterator[Snapshot]:
    """Integrate w' = -grad L / alpha^2 with f = alpha (f_tilde - f_tilde_0) and L = (1/P) sum_mu l(y f) (Eqs. 4, 8).

    w0: initial weights with an axis of runs R. data: inputs (P, d) and labels +-1 (P,). alpha: (R,), the scale of the
    output in the NTK normalisation (alpha_tilde = sqrt(h) alpha). method: "euler" (the authors' rule), "rkc",
    "implicit", or "switching" from the one to the other; tol is its tolerance: the error of the predictor per step
    (of a quadratic loss, in units of the largest pull that is left, down to rounding), for Euler the factor on the
    authors' bounds. landmarks: (R, K) ascending times at which every run lands exactly. A run
    ends when its loss does (LOSSES), at t_max, or at the guard max_gradients, which is reported as CAPPED and decides
    nothing.

    first_dt: (R,), the step to try first; without it, one that moves the predictor by a tenth of tol. decay: strength
    of a weight decay towards w0, decay |w - w_0|^2 / 2 is added to L / alpha^2 (footnote 8 of the review).

    Raises ValueError for an unknown loss or method, a tol or max_gradients that is not positive, a negative decay,
    shapes that do not agree, or a method the loss does not allow.
    """
    for name, value in (("tol", tol), ("max_gradients", max_gradients)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, got {value}.")
    problem = _problem(network, w0, data, loss, alpha, method, decay)
    stepper = METHODS[method]
    tol = stepper.tol if tol is None else tol
    R, device = len(alpha), alpha.device
    t_max = torch.as_tensor(t_max, dtype=alpha.dtype, device=device).expand(R)
    marks = t_max[:, None] if landmarks is None else torch.cat([landmarks.minimum(t_max[:, None]), t_max[:, None]], 1)

    point = problem.at(flatten(w0))
    now = _start(problem, point, _first_dt(problem, point, tol) if first_dt is None else first_dt)
    live = torch.arange(R, device=device)
    refusals, memory = torch.zeros_like(live), torch.zeros(R, 0, dtype=alpha.dtype, device=device)
    seen_past = torch.zeros_like(live, dtype=torch.bool)  # a run that stepped past its end aims at it from then on
    while len(live):
        target = torch.where(marks[live] > now.t[live, None], marks[live], math.inf).amin(1)
        step_dt = now.dt[live].minimum(target - now.t[live])
        step = stepper.step(problem, point, step_dt, memory, tol)
        error = torch.where(step.point.f.isfinite().all(1) & step.error.isfinite(), step.error, math.inf)
        ended, past = _end(problem, step.point.f)
        accepted = (error <= 1) & ~past
        lands = accepted & (step_dt == target - now.t[live])
        t = torch.where(lands, target, now.t[live] + step_dt * accepted)

        went_past = (error <= 1) & past
        seen_past = seen_past | went_past
        # a step cut short to land on a mark says nothing against the step that was planned
        planned = torch.where(lands & (step_dt < now.dt[live]), now.dt[live], 0.0)
        proposed = stepper.next_dt(step_dt, error).maximum(planned)
        aim = step_dt * _aim(problem, point.f, step.point.f)
        proposed = _aimed(proposed, step_dt, aim, went_past, accepted & seen_past)

        refusals = torch.where(accepted, 0, refusals + 1)
        gradients = now.gradients[live] + step.cost.gradients.long()
        stuck = (refusals > MAX_REFUSALS) | (proposed < SMALLEST * t) | ~(proposed > 0)
        state = _state(accepted & ended, accepted & (t >= t_max[live]), gradients >= max_gradients, stuck)

        going = state == RUNNING
        # what the host has to know, asked for once: a GPU is waited for
        every, some, all_go_on = torch.stack((accepted.all(), accepted.any(), going.all())).tolist()
        if some:
            point = step.point if every else problem.at(torch.where(accepted[:, None], step.point.w, point.w))
        N_delta = unsatisfied(problem, problem.delta(point.f))
        now = _write(now, live, t, point, proposed, N_delta, state, accepted, gradients,
                     now.factorisations[live] + step.cost.factorisations.long())
        memory = step.memory
        if not all_go_on:
            live, problem, refusals, seen_past = live[going], problem.of(going), refusals[going], seen_past[going]
            memory = memory[going]
            if len(live):
                point = problem.at(point.w[going])
        yield now


def _problem(network: Network, w0: Params, data, loss: str, alpha: PerRun, method: str, decay: float) -> Problem:
    x, y = data
    if not decay >= 0:
        raise ValueError(f"decay must be zero or positive, got {decay}.")
    for name, table, what in ((loss, LOSSES, "loss"), (method, METHODS, "method")):
        if name not in table:
            raise ValueError(f"unknown {what} {name!r}{nearest(name, table)}")
    if loss == "hinge" and method != "euler":
        raise ValueError(f"method {method!r} cannot follow the hinge along its kink: use 'euler' or the soft hinge.")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} inputs but {len(y)} labels: there must be one label per input.")
    if any(len(value) != len(alpha) for value in w0.values()):
        runs = len(next(iter(w0.values())))
        raise ValueError(f"weights of {runs} runs but {len(alpha)} values of alpha: give one per run.")
    if not bool((alpha > 0).all()):
        raise ValueError(f"alpha must be positive, got {alpha.min().item()}.")
    start = flatten(w0) if decay else None
    return Problem(network, w0, x, y, LOSSES[loss], alpha, network.apply(w0, x), decay, start)


def _start(problem: Problem, point: Point, dt: PerRun) -> Snapshot:
    """All runs at time zero."""
    zero = torch.zeros(len(dt), dtype=torch.long, device=dt.device)
    N_delta = unsatisfied(problem, problem.delta(point.f))
    return Snapshot(torch.zeros_like(dt), point.w, point.f, dt, N_delta, zero, zero.bool(), zero + 1, zero)


def _first_dt(problem: Problem, point: Point, tol: float) -> PerRun:
    """A step over which the predictor moves by a tenth of the tolerance."""
    speed = (problem.alpha[:, None] * point.tangent.jvp(point.v)).abs().amax(1)
    return 0.1 * tol / speed.clamp(min=1e-300)


def unsatisfied(problem: Problem, delta: Outputs) -> Tensor:
    """N_delta: the number of patterns with Delta > 0. What is not a number is not satisfied.

    A loss that ends by its energy comes near zero and never there: a net with no Delta above 1e-8, or above what one
    pattern can have at that end, counts as fitted.
    """
    counts = (~(delta <= 0)).sum(1)
    slack = max(SLACK, math.sqrt(2 * delta.shape[1] * ENERGY_END))
    return torch.where(delta.amax(1) <= slack, 0, counts) if problem.loss.ends == "energy" else counts


def _end(problem: Problem, f: Outputs) -> tuple[Tensor, Tensor]:
    """Whether the loss is at its end, and whether the step went too far past it."""
    never = torch.zeros(len(f), dtype=torch.bool, device=f.device)
    if problem.loss.ends == "margin":
        smallest = (problem.y * f).amin(1)
        return smallest >= 1, smallest > 1 + OVERSHOOT
    if problem.loss.ends == "energy":
        return problem.loss.value(problem.delta(f)).mean(1) <= ENERGY_END, never
    return never, never


def _state(fitted: Tensor, out_of_time: Tensor, capped: Tensor, failed: Tensor) -> Tensor:
    """The state of every run: the first of these that holds."""
    state = torch.where(capped, CAPPED, torch.where(failed, FAILED, RUNNING))
    return torch.where(fitted, FITTED, torch.where(out_of_time, OUT_OF_TIME, state))


def _aim(problem: Problem, before: Outputs, after: Outputs) -> Tensor:
    """In units of the step: when the smallest margin reaches its end, by the secant."""
    m0, m1 = ((problem.y * f).amin(1) for f in (before, after))
    return (1 + OVERSHOOT / 2 - m0) / (m1 - m0)


def _aimed(proposed: PerRun, dt: PerRun, aim: PerRun, went_past: Tensor, aims: Tensor) -> PerRun:
    """The step to try after one of size dt: a run that went past its end tries again, and then goes no further."""
    proposed = torch.where(went_past, aim.clamp(0.02 * dt, 0.98 * dt), proposed)
    left = torch.where(aim > dt, aim - dt, math.inf)
    return torch.where(aims, proposed.minimum(left), proposed)


def _write(now: Snapshot, live: Tensor, t: Tensor, point: Point, *rest: Tensor) -> Snapshot:
    fields = (t, point.w, point.f, *rest)
    return Snapshot(*(old.index_copy(0, live, new.to(old.dtype)) for old, new in zip(now, fields, strict=True)))
