"""Descent to the minima of U = (1/2P) sum_mu max(0, Delta_mu)^2, where a gradient flow would take too long.

What is found this way is a statement on the landscape, and neither on gradient flow nor on a budget of it.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from .flow import FITTED, HELD, MINIMUM, OUT_OF_TIME, unsatisfied
from .hessian import bending, contacts, hessian
from .losses import ENERGY_END
from .problem import Point, Problem
from .types import Flat

PULL = 1e-6  # of the polish, small against the curvature of the landscape
TRUST = 0.03  # by how much a margin may end elsewhere than where the linearised network puts it
ROUNDS = 12  # of guessing which patterns will be unsatisfied at the end of a step
CONVERGED = 1e-8  # norm of the gradient, with the pull, at which a descent has arrived
BALANCED = 1e-4  # of what the unsatisfied patterns exert, the force that may be left at a minimum
STILL = 0.01  # relative change of U from one arrival to the next at which it is a minimum
FREE = 100  # steps without a pull from one arrival to the next
PATIENCE = 6  # times the steps asked for, after which what has not arrived has not converged
ROUNDING = 1e-14  # relative to U: by so much a step may raise it
SMALLEST = 1e-15  # a step of this size dt cannot go on


class Valley(NamedTuple):
    """Where a descent is after an attempted step: weights w (1, N), energy U and norm of its gradient, with the pull.

    delta: (1, P). accepted: whether the step counted. dt: the size of the next one.
    """

    w: Flat
    U: float
    gradient: float
    delta: Tensor
    accepted: bool
    dt: float


def descent(problem: Problem, w: Flat, *, pull: float = 0.0) -> Iterator[Valley]:
    """Walk down the landscape of one run until the caller stops, or no step leads further down.

    A step dw minimises U with the network linearised around w, but the hinge taken as it is, plus the bending of the
    network dw^T H_p dw / 2, plus |dw|^2 / (2 dt). Which patterns are unsatisfied at its end is found by repeating it
    with those that the last guess leaves (a semi-smooth Newton method); that is why it does not chatter at the kinks
    of the hinge. A second solve with the same factor takes back what the curvature of the network did to the margins.
    dt grows and shrinks so that no margin near the hinge ends further than TRUST from the linear guess.

    problem: of one run, with the quadratic hinge. w: (1, N). pull: strength of a weight decay towards the first w,
    pull |w - w_0|^2 / 2 (footnote 8 of the review): it makes a minimum of a valley that leads to infinity.
    """
    start = w

    def energy(point: Point) -> tuple[float, Tensor]:
        delta = problem.delta(point.f)
        return float(_energy(problem, delta) + pull * (point.w - start).square().sum() / 2), delta

    dt, point = 1.0, problem.at(w)
    U, delta = energy(point)
    model = _Model(problem, point, delta, pull, start)
    while dt > SMALLEST:
        step, accepted = model.step(dt), False
        if step is None:  # the Hessian has a direction that leads down faster than 1 / dt
            dt /= 4
        else:
            new, (U_new, delta_new) = _lower(problem, point.w, step, energy)
            near = (delta_new > -0.5) | (step.delta > -0.5)
            off = float(torch.where(near, delta_new - step.delta, 0.0).abs().max()) / TRUST
            accepted = U_new <= U * (1 + ROUNDING) and off <= 1
            bold = 0.8 / math.sqrt(max(off, 1e-9))
            dt = min(dt * min(max(bold, 0.2), 3.0), 1e15) if accepted or off > 1 else dt / 4
            if accepted:
                point, U, delta = new, U_new, delta_new
                model = _Model(problem, point, delta, pull, start)
        yield Valley(point.w, U, float(model.force.norm()), delta, accepted, dt)


class Minimum(NamedTuple):
    """The end of a descent: w (1, N), FITTED, MINIMUM or OUT_OF_TIME, steps tried, N_delta at the counts asked for.

    MINIMUM: the descent arrived twice, under a PULL towards where it was before, and U changed by less than STILL from
    one arrival to the next; no direction leads down faster than the pull holds, and the force that is left, |grad U|,
    is below BALANCED of what the unsatisfied patterns exert, the root of sum Delta^2 |grad Delta|^2 over P.
    """

    w: Flat
    state: int
    steps: int
    N_delta_at: Tensor


class _Step(NamedTuple):
    dw: Flat
    delta: Tensor
    factor: Tensor
    jacobian: Tensor
    rows: Tensor


class _Model:
    """The landscape near w: quadratic but for the hinge."""

    def __init__(self, problem: Problem, point: Point, delta: Tensor, pull: float, start: Flat):
        self._problem, self._point, self._delta = problem, point, delta
        touching = contacts(point.tangent, problem.y, delta, problem.alpha[0])
        self._rows, self._J = touching.rows, touching.jacobian
        self._bent = bending(point.tangent, problem.y, delta, problem.alpha[0])
        self._bent.diagonal().add_(pull)
        self._stiff = self._J.T @ self._J / len(problem.y)
        self._push = self._J.T @ touching.delta / len(problem.y)
        self._decay = -pull * (point.w - start)[0]
        self.force = self._push + self._decay  # minus the gradient

    def step(self, dt: float) -> _Step | None:
        """The step of size dt; None if the model has no minimum."""
        problem, tangent, alpha, P = self._problem, self._point.tangent, self._problem.alpha[0], len(self._problem.y)
        stiff, push, J, rows = self._stiff, self._push, self._J, self._rows
        guess = self._delta[0] > 0
        for _ in range(ROUNDS):
            matrix = stiff + self._bent
            matrix.diagonal().add_(1 / dt)
            factor, failed = torch.linalg.cholesky_ex(matrix)
            if failed:
                return None
            dw = torch.cholesky_solve((push + self._decay)[:, None], factor).T
            delta = self._delta - problem.y * alpha * tangent.jvp(dw)
            found = delta[0] > 0
            changed = (found != guess).nonzero()[:, 0]
            if not len(changed):
                break
            sign = torch.where(found[changed], 1.0, -1.0).to(dw.dtype)
            more = alpha * problem.y[changed, None] * tangent.jacobian(0, changed)
            stiff = stiff + (sign[:, None] * more).T @ more / P
            push = push + more.T @ (sign * self._delta[0, changed]) / P
            fresh = ~torch.isin(changed, rows)  # others have been here before
            J, rows, guess = torch.cat([J, more[fresh]]), torch.cat([rows, changed[fresh]]), found
        kept = guess[rows]
        return _Step(dw, delta, factor, J[kept], rows[kept])


def _lower(problem: Problem, w: Flat, step: _Step, energy) -> tuple[Point, tuple[float, Tensor]]:
    """The end of the step, or that of the corrected one if it lies lower."""
    plain = problem.at(w + step.dw)
    there = energy(plain)
    surprise = (there[1] - step.delta)[0, step.rows]
    back = torch.cholesky_solve((step.jacobian.T @ surprise / len(problem.y))[:, None], step.factor).T
    mended = problem.at(w + step.dw + back)
    better = energy(mended)
    return (mended, better) if better[0] < there[0] else (plain, there)


def minimum(problem: Problem, w: Flat, steps: int, counts: Sequence[int] = ()) -> Minimum:
    """Descend from w, (1, N), for so many steps, or to U <= 1e-20. What is jammed then is polished, and not converged
    if PATIENCE times as many steps do not suffice.

    counts: ascending numbers of steps, at most `steps`, after which N_delta is recorded. With a weight decay the end is
    HELD: a minimum of U and the decay together, with a gradient below CONVERGED and a positive Hessian. U alone may
    lead down from there.
    """
    if problem.start is not None:
        return _held(problem, w, steps, counts)
    seen = [w.new_zeros(0, dtype=torch.long)]
    for taken, here in enumerate(islice(descent(problem, w), steps), 1):
        fitted = here.U <= ENERGY_END
        while len(seen) <= len(counts) and (fitted or taken >= counts[len(seen) - 1]):
            seen.append(unsatisfied(problem, here.delta))
        if fitted:
            return Minimum(here.w, FITTED, taken, torch.cat(seen))
    at = torch.cat(seen + [unsatisfied(problem, here.delta)] * (len(counts) + 1 - len(seen)))
    before = math.inf
    while taken < PATIENCE * steps:
        held = descent(problem, here.w, pull=PULL)
        for here in islice(held, PATIENCE * steps - taken):
            taken += 1
            if here.gradient <= CONVERGED:
                break
        U, w = float(_energy(problem, here.delta)), here.w
        if here.gradient <= CONVERGED and abs(before - U) < STILL * U and _is_minimum(problem, here):
            return Minimum(w, MINIMUM, taken, at)
        before = U
        for here in islice(descent(problem, w), min(FREE, PATIENCE * steps - taken)):
            taken += 1
            if here.U <= ENERGY_END:
                return Minimum(here.w, FITTED, taken, at)
    return Minimum(here.w, OUT_OF_TIME, taken, at)


def _held(problem: Problem, w: Flat, steps: int, counts: Sequence[int]) -> Minimum:
    seen, state, pull = [], OUT_OF_TIME, problem.decay * float(problem.alpha) ** 2
    for taken, here in enumerate(islice(descent(problem, w, pull=pull), steps), 1):
        if here.gradient <= CONVERGED and _is_stable(problem, here, pull):
            state = HELD
            break
        while len(seen) < len(counts) and taken >= counts[len(seen)]:
            seen.append(unsatisfied(problem, here.delta))
    last = unsatisfied(problem, here.delta)
    return Minimum(here.w, state, taken, torch.cat([*seen, *[last] * (len(counts) - len(seen)), last[:0]]))


def _energy(problem: Problem, delta: Tensor) -> Tensor:
    return delta.clamp(min=0).square().sum() / (2 * len(problem.y))


def _is_minimum(problem: Problem, here: Valley) -> bool:
    """Whether the forces balance, and no direction leads down from where the pull holds."""
    tangent, alpha = problem.at(here.w).tangent, problem.alpha[0]
    touching = contacts(tangent, problem.y, here.delta, alpha)
    forces = touching.delta[:, None] * touching.jacobian
    if forces.sum(0).norm() > BALANCED * forces.norm():
        return False
    return _is_stable(problem, here, PULL)


def _is_stable(problem: Problem, here: Valley, pull: float) -> bool:
    """Whether no direction leads down from where such a pull holds."""
    H = sum(hessian(problem.at(here.w).tangent, problem.y, here.delta, problem.alpha[0]))
    H.diagonal().add_(pull)
    return not bool(torch.linalg.cholesky_ex(H).info)
