"""One step of gradient flow, by three methods.

The flow is w' = -grad L / alpha^2 with L = (1/P) sum_mu l(Delta_mu), Delta = 1 - y f, f = alpha (f_tilde - f_tilde_0).
With J_y = y J, the labelled Jacobian of f_tilde, it reads w' = J_y^T l'(Delta) / (alpha P). To first order in a change
of the weights l' changes by -alpha D J_y dw, D = diag(l''): the stiff part of the flow is -(1/P) J_y^T D J_y, whose
spectrum is that of the neural tangent kernel. A method makes a step of size dt per run and estimates its error.
A weight decay is slow beside that, and left to the explicit part of every method.
"""

import math
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from .chebyshev import MAX_STAGES, Stages, first_stage, next_stage, table_of
from .layered import LayeredTangent
from .losses import Loss
from .networks import Network
from .tangents import Tangent, flatten, unflatten
from .types import Flat, Outputs, Params, PerRun


@dataclass(frozen=True)
class Problem:
    """A batch of runs on one training set. `like` gives names and shapes of the parameters.

    decay: of the weights towards `start`, (R, N), where there is one: it adds decay |w - start|^2 / 2 to L / alpha^2.
    margin: that y f is to reach, one number or one for every pattern.
    """

    network: Network
    like: Params
    x: Tensor
    y: Tensor
    loss: Loss
    alpha: PerRun
    f_tilde_0: Outputs
    decay: float = 0.0
    start: Flat | None = None
    margin: float | Tensor = 1.0

    def delta(self, f: Outputs) -> Outputs:
        """Delta = margin - y f: by how much a pattern misses its margin."""
        return self.margin - self.y * f

    def of(self, runs: Tensor) -> "Problem":
        """The same problem for a part of the batch."""
        start = None if self.start is None else self.start[runs]
        return replace(self, alpha=self.alpha[runs], f_tilde_0=self.f_tilde_0[runs], start=start)

    def at(self, w: Flat) -> "Point":
        """Predictor and velocity at the weights w: one gradient."""
        tangent = self.network.tangent(unflatten(w, self.like), self.x)
        f = self.alpha[:, None] * (tangent.f - self.f_tilde_0)
        slope = self.loss.slope(self.delta(f))
        v = tangent.vjp(self.y * slope / (self.alpha[:, None] * len(self.y)))
        return Point(w, f, v if self.start is None else v - self.decay * (w - self.start), tangent)

    @cached_property
    def stages(self) -> Stages:
        """Stages of an explicit step of this batch on a GPU."""
        bare = replace(self)  # one that does not know its stages, so that no circle keeps them in memory
        return Stages(lambda w: bare.at(w).v, flatten(self.like)[: len(self.alpha)])


class Point(NamedTuple):
    """Weights w, predictor f on the training set, velocity v = w', and the tangent of the network there."""

    w: Flat
    f: Outputs
    v: Flat
    tangent: Tangent


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


def together(tangent: Tangent) -> bool:
    """Whether all runs are worked on at once: on a GPU, where to call a kernel takes longer than a small one runs."""
    return tangent.f.is_cuda and isinstance(tangent, LayeredTangent)


def _cost(dt: Tensor, gradients: int | Tensor, factorisations: int = 0) -> Cost:
    return Cost(torch.zeros_like(dt) + gradients, torch.full_like(dt, factorisations))


def _second_order_dt(dt: PerRun, error: PerRun) -> PerRun:
    """The local error of a second-order step is of third order."""
    return dt * (0.8 * error.clamp(1e-6, 1e6) ** (-1 / 3)).clamp(0.1, 3.0)


def _error(problem: Problem, df: Outputs, before: Outputs, after: Outputs, tol: float) -> PerRun:
    """The error df of the predictor in units of tol, on the scale that matters: the margin is one.

    Infinite for a step that more than doubles the loss, which a gradient flow never raises, or hardly, where a weight
    decay pulls: such a step has exploded, and its output is so large that its error looks small beside it.
    """
    old, new = (problem.loss.value(problem.delta(f)).mean(1) for f in (before, after))
    return torch.where(new > 2 * old + tol, math.inf, (df.abs() / (1 + after.abs())).amax(1) / tol)


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

REACH = 0.3  # how far a margin may move within a step


def _stiffness(problem: Problem, point: Point, memory: Tensor) -> tuple[Tensor, Tensor, int]:
    """Largest eigenvalue of the Hessian of the loss over alpha^2, per run, by power iteration from the last vector.

    The Gauss-Newton part counts with the largest l'' within REACH of each pattern's Delta, because patterns enter the
    curved part of the loss within a step. What the network bends adds to it, and comes from a difference of velocities.
    """
    P, delta, vector = len(problem.y), problem.delta(point.f), memory
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


def _stages(problem: Problem, last: Tensor, w: Flat, v: Flat, dt: Tensor, table: Tensor) -> Flat:
    """What `Stages` does, one by one. A run leaves the batch after its last stage; `last` is on the host."""
    end, runs, before, now = torch.empty_like(w), torch.arange(len(w)), w, first_stage(table, w, v, dt)
    for j in range(2, len(table)):
        going = last[runs] >= j
        if not bool(going.all()):
            end[runs[~going]] = now[~going]
            problem, runs, before, now = problem.of(going), runs[going], before[going], now[going]
            w, v, dt, table = w[going], v[going], dt[going], table[:, going]
        before, now = now, next_stage(table[j], w, v, dt, before, now, problem.at(now).v)
    end[runs] = now
    return end


def rkc_step(problem: Problem, point: Point, dt: PerRun, memory: Tensor, tol: float) -> Step:
    """Stabilised explicit step: s gradients reach dt = 0.65 s^2 / lambda_max. Each run has its own s."""
    stiffness, vector, products = _stiffness(problem, point, memory)
    counts = (1 + (1 + 1.54 * dt * stiffness).sqrt().floor()).nan_to_num(2).clamp(2, MAX_STAGES).long()
    dt_used = dt.minimum(0.649 * (counts**2 - 1) / stiffness)  # only less than dt where the stages are capped
    last = counts.cpu()
    stages = problem.stages if together(point.tangent) else partial(_stages, problem, last)
    end = stages(point.w, point.v, dt_used[:, None], table_of(last.tolist()).to(dt))
    new = problem.at(end)
    f_dot = problem.alpha[:, None] * point.tangent.jvp(point.v), problem.alpha[:, None] * new.tangent.jvp(new.v)
    estimate = 0.8 * (point.f - new.f) + 0.4 * dt_used[:, None] * (f_dot[0] + f_dot[1])
    # a step that had to be cut is refused, and tried again with what the stages allow
    error = torch.where(dt_used < dt, (dt / dt_used) ** 2 * 1.6, _error(problem, estimate, point.f, new.f, tol))
    return Step(new, error, vector, _cost(dt, counts + 2 + products))


# linearly implicit ---------------------------------------------------------------------------------------------------

EXPLICIT = 0.5  # patterns whose stiffness adds up to less than this over a step are left to the explicit part
MAX_DENSE = 600  # up to so many parameters (fewer for few patterns) the whole Hessian pays
MAX_DENSE_BY_AUTOGRAD = 50  # where each of its rows is a derivative of a gradient
PER_STIFF_PATTERN = 0.75  # with fewer parameters for each of them, they are the better unknowns (benchmarks/solver.py)


def dense(N: int, P: int, most: int = MAX_DENSE) -> bool:
    """Whether the whole Hessian in the N parameters pays."""
    return N <= min(most, max(most // 2, 2 * P))


class Solver:
    """(1 + s A)^-1 for one run, A = the Hessian of the loss divided by alpha^2 or its Gauss-Newton part J^T D J / P.

    Narrow nets: the whole Hessian (`rows` is None), a matrix of the parameters. Wide ones: Gauss-Newton on the patterns
    `rows`, in the parameters as well where they are few, or in function space, (1 + J^T D J)^-1 r =
    r - J^T D^(1/2) (1 + D^(1/2) K D^(1/2))^-1 D^(1/2) J r with K = J J^T. Gauss-Newton serves all runs of a fully
    connected net at once, too: `run` and dt are columns (R, 1) then, and curvature (R, P) and rows (R, K) have a row
    for each.
    """

    def __init__(self, tangent: Tangent, run: int | Tensor, dt: float | Tensor, curvature: Tensor, pull: Tensor,
                 rows: Tensor | None, in_parameters: bool):  # fmt: skip
        self.in_parameters, self.of_all, self._factorise = in_parameters, isinstance(run, Tensor), _cholesky
        if rows is None:
            rows, bent = (dt * curvature > 1e-9).nonzero()[:, 0], (pull.abs() > 1e-6 * pull.abs().max()).nonzero()[:, 0]
            J = (dt * curvature[rows, None]).sqrt() * tangent.jacobian(run, rows)
            self._matrix, self._factorise = J.T @ J - dt * tangent.hessian(run, pull, bent), _lu
            return
        self._rows, self._root = rows, (dt * curvature.gather(-1, rows)).sqrt()
        if in_parameters:
            J = tangent.jacobian(run, rows).mul_(self._root.unsqueeze(-1))
            self._matrix = J.mT @ J
        else:
            self._matrix = tangent.gram(run, rows).mul_(self._root.unsqueeze(-1)).mul_(self._root.unsqueeze(-2))

    def at(self, fraction: float) -> "Solver":
        """Factorise for a step of this fraction of dt."""
        new, matrix = copy(self), fraction * self._matrix
        new._matrix = None  # a factor is all it needs, and memory is short on a GPU
        matrix.diagonal(dim1=-2, dim2=-1).add_(1)
        new._solve = self._factorise(matrix)
        new._fraction = fraction
        return new

    def weights(self, r: Tensor) -> Tensor:
        """(1 + s A)^-1 r, for a solver in the parameters."""
        return self._solve(r.unsqueeze(-1)).squeeze(-1)

    def cotangent(self, Jr: Tensor) -> Tensor:
        """The c with (1 + s A)^-1 r = r - J^T c, for a solver in function space."""
        stiff = (self._root * Jr.gather(-1, self._rows)).unsqueeze(-1)
        inner = self._fraction * self._root * self._solve(stiff).squeeze(-1)
        return torch.zeros_like(Jr).scatter(-1, self._rows, inner)


# a failure shows in the error of the step: to ask for it here would wait for a GPU


def _lu(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    return partial(torch.linalg.lu_solve, *torch.linalg.lu_factor_ex(matrix)[:2])


def _cholesky(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    factor = torch.linalg.cholesky_ex(matrix)[0]
    return lambda r: torch.cholesky_solve(r, factor)


def _left_out(traces: Tensor) -> tuple[Tensor, Tensor]:
    """The patterns of every run, (R, P), from the least trace to the largest, and which of them are left out.

    They are left out whose traces add up to no more than EXPLICIT: the eigenvalues of a sum are at most its trace.
    """
    traces, order = traces.sort(dim=1)
    return order, traces.cumsum(1) <= EXPLICIT


def _solvers(problem: Problem, point: Point, dt: PerRun) -> list[Solver]:
    """One for every run, or one for all of them."""
    P, runs, tangent, delta = len(problem.y), range(len(dt)), point.tangent, problem.delta(point.f)
    curvature, pull = problem.loss.curvature(delta), problem.y * problem.loss.slope(delta) / problem.alpha[:, None]
    dt, most = dt / P, MAX_DENSE if isinstance(tangent, LayeredTangent) else MAX_DENSE_BY_AUTOGRAD
    if dense(point.w.shape[1], P, most):
        return [Solver(tangent, *of, None, True) for of in zip(runs, dt.tolist(), curvature, pull, strict=True)]
    order, without = _left_out(dt[:, None] * curvature * tangent.diagonal())
    firsts = without.sum(1).tolist()  # where the stiff patterns of a run begin
    stiff = (sum((P - first) ** 3 for first in firsts) / len(firsts)) ** (1 / 3)  # what a factorisation takes
    few = point.w.shape[1] < PER_STIFF_PATTERN * stiff
    if together(tangent):
        # a pattern that others have and this run has not is one without curvature
        curvature = curvature.masked_fill(torch.zeros_like(without).scatter(1, order, without), 0.0)
        run = torch.arange(len(dt), device=dt.device)[:, None]
        rows = order[:, min(*firsts, P - 1) :]  # one at least, because a batch of empty matrices is asking for trouble
        return [Solver(tangent, run, dt[:, None], curvature, pull, rows, few)]
    rows = [row[first:] for row, first in zip(order, firsts, strict=True)]
    return [Solver(tangent, *of, few) for of in zip(runs, dt.tolist(), curvature, pull, rows, strict=True)]


def _solve(tangent: Tangent, solvers: Sequence[Solver], r: Flat) -> Flat:
    def every(solve: Callable[[Solver, Tensor], Tensor], of: Tensor) -> Tensor:
        if solvers[0].of_all:
            return solve(solvers[0], of)
        return torch.stack([solve(solver, row) for solver, row in zip(solvers, of, strict=True)])

    if solvers[0].in_parameters:
        return every(Solver.weights, r)
    return r - tangent.vjp(every(Solver.cotangent, tangent.jvp(r)))


def implicit_step(problem: Problem, point: Point, dt: PerRun, memory: Tensor, tol: float) -> Step:
    """Linearly implicit Euler, one whole step against two halves with the same matrix, extrapolated to second order.

    (1 + dt A) dw = dt v(w), with A of `Solver`: a W-method, of second order whatever A is (Hairer, Wanner, IV.9), so
    what A leaves out costs stability only. The error is the defect of the trapezoidal rule, filtered by (1 + dt A)^-1
    against stiff noise and measured on the predictor.
    """
    tangent, h = point.tangent, dt[:, None]
    one, two = zip(*((solver.at(1.0), solver.at(0.5)) for solver in _solvers(problem, point, dt)), strict=True)
    whole = h * _solve(tangent, one, point.v)
    first = h / 2 * _solve(tangent, two, point.v)
    second = h / 2 * _solve(tangent, two, problem.at(point.w + first).v)
    move = 2 * (first + second) - whole
    new = problem.at(point.w + move)
    defect = _solve(tangent, one, move - h / 2 * (point.v + new.v))
    error = _error(problem, problem.alpha[:, None] * tangent.jvp(defect), point.f, new.f, tol)
    return Step(new, error, memory, _cost(dt, 12, 2))


METHODS: dict[str, Method] = {
    "euler": Method(euler_step, _euler_dt, tol=1.0),
    "rkc": Method(rkc_step, _second_order_dt, tol=1e-2),
    "implicit": Method(implicit_step, _second_order_dt, tol=1e-2),
}
