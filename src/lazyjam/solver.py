"""The linear system of an implicit step, in the unknowns that are fewer: weights or patterns.

To first order in a change of the weights l' changes by -alpha D J_y dw, D = diag(l''): the stiff part of the flow is
-(1/P) J_y^T D J_y, whose spectrum is that of the neural tangent kernel.
"""

from collections.abc import Callable, Sequence
from copy import copy

import torch
from torch import Tensor

from .layered import LayeredTangent
from .problem import Point, Problem
from .tangents import Tangent
from .types import Flat, PerRun

EXPLICIT = 0.5  # patterns whose stiffness adds up to less than this over a step are left to the explicit part
MAX_DENSE = 600  # up to so many parameters (fewer for few patterns) the whole Hessian pays
MAX_DENSE_BY_AUTOGRAD = 50  # where each of its rows is a derivative of a gradient
TOGETHER = 1_000_000  # weights of all runs times patterns below which one solver serves all runs on a core
PER_STIFF_PATTERN = 0.75  # with fewer parameters for each of them, they are the better unknowns (benchmarks/solver.py)


def dense(N: int, P: int, most: int = MAX_DENSE) -> bool:
    """Whether the whole Hessian in the N parameters pays."""
    return N <= min(most, max(most // 2, 2 * P))


class Solver:
    """(1 + s A)^-1 for one run, A = the Hessian of the loss divided by alpha^2 or its Gauss-Newton part J^T D J / P.

    Narrow nets: the whole Hessian (`rows` is None), a matrix of the parameters. Wide ones: Gauss-Newton on the patterns
    `rows`, in the parameters as well where they are few, or in function space, (1 + J^T D J)^-1 r =
    r - J^T D^(1/2) (1 + D^(1/2) K D^(1/2))^-1 D^(1/2) J r with K = J J^T. One can serve all runs of a fully connected
    net at once, too: `run` and dt are columns (R, 1) then, and curvature (R, P), pull (R, P) and rows (R, K) have a row
    for each.
    """

    def __init__(self, tangent: Tangent, run: int | Tensor, dt: float | Tensor, curvature: Tensor, pull: Tensor,
                 rows: Tensor | None, in_parameters: bool):  # fmt: skip
        self.in_parameters, self.of_all, self._factorise = in_parameters, isinstance(run, Tensor), _cholesky
        if rows is None:
            stiff = torch.where(dt * curvature > 1e-9, dt * curvature, 0.0)
            bent = torch.where(pull.abs() > 1e-6 * pull.abs().amax(-1, keepdim=True), dt * pull, 0.0)
            rows, others = _nonzero(stiff, bent)
            J = tangent.jacobian(run, rows).mul_(stiff.gather(-1, rows).sqrt().unsqueeze(-1))
            self._matrix, self._factorise = J.mT @ J - tangent.hessian(run, bent, others), _lu
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
    factor, pivots, _ = torch.linalg.lu_factor_ex(matrix)
    return lambda r: torch.linalg.lu_solve(factor, pivots, r.to(factor.dtype)).to(r.dtype)


def _cholesky(matrix: Tensor) -> Callable[[Tensor], Tensor]:
    factor = torch.linalg.cholesky_ex(matrix)[0]
    return lambda r: torch.cholesky_solve(r.to(factor.dtype), factor).to(r.dtype)


def _nonzero(*numbers: Tensor) -> list[Tensor]:
    """Of each, (..., P), the patterns where it is not zero, in order. All runs have as many as the fullest of them."""
    most = torch.stack([(one != 0).sum(-1).max() for one in numbers]).tolist()  # a GPU is waited for once
    return [one.abs().topk(m, dim=-1).indices.sort(dim=-1).values for one, m in zip(numbers, most, strict=True)]


def _left_out(traces: Tensor) -> tuple[Tensor, Tensor]:
    """The patterns of every run, (R, P), from the least trace to the largest, and which of them are left out.

    They are left out whose traces add up to no more than EXPLICIT: the eigenvalues of a sum are at most its trace.
    """
    traces, order = traces.sort(dim=1)
    return order, traces.cumsum(1) <= EXPLICIT


def together(point: Point) -> bool:
    """Whether one solver serves all runs: on a GPU, and on a core while there is little to do."""
    small = point.w.numel() * point.f.shape[1] < TOGETHER
    return point.layered_on_gpu or small and isinstance(point.tangent, LayeredTangent)


def solvers(problem: Problem, point: Point, dt: PerRun) -> list[Solver]:
    """For a step of size dt, (R,): one for every run, or one for all of them."""
    P, runs, tangent, delta = problem.P, range(len(dt)), point.tangent, problem.delta(point.f)
    curvature, pull = problem.loss.curvature(delta), problem.y * problem.loss.slope(delta) / problem.alpha[:, None]
    dt, most = dt / P, MAX_DENSE if isinstance(tangent, LayeredTangent) else MAX_DENSE_BY_AUTOGRAD
    every = torch.arange(len(dt), device=dt.device)[:, None]
    if dense(point.w.shape[1], P, most):
        if together(point):
            return [Solver(tangent, every, dt[:, None], curvature, pull, None, True)]
        return [Solver(tangent, *of, None, True) for of in zip(runs, dt.tolist(), curvature, pull, strict=True)]
    order, without = _left_out(dt[:, None] * curvature * tangent.diagonal())
    firsts = without.sum(1).tolist()  # where the stiff patterns of a run begin
    K = order.shape[1]
    stiff = (sum((K - first) ** 3 for first in firsts) / len(firsts)) ** (1 / 3)  # what a factorisation takes
    few = point.w.shape[1] < PER_STIFF_PATTERN * stiff
    if together(point):
        # a pattern that others have and this run has not is one without curvature
        curvature = curvature.masked_fill(torch.zeros_like(without).scatter(1, order, without), 0.0)
        rows = order[:, min(*firsts, K - 1) :]  # one at least, because a batch of empty matrices is asking for trouble
        return [Solver(tangent, every, dt[:, None], curvature, pull, rows, few)]
    rows = [row[first:] for row, first in zip(order, firsts, strict=True)]
    return [Solver(tangent, *of, few) for of in zip(runs, dt.tolist(), curvature, pull, rows, strict=True)]


def solve(tangent: Tangent, solvers: Sequence[Solver], r: Flat) -> Flat:
    """(1 + s A)^-1 r for all runs, (R, N), by solvers that are factorised for one step: see `Solver.at`."""

    def of_all(by: Callable[[Solver, Tensor], Tensor], of: Tensor) -> Tensor:
        if solvers[0].of_all:
            return by(solvers[0], of)
        return torch.stack([by(solver, row) for solver, row in zip(solvers, of, strict=True)])

    if solvers[0].in_parameters:
        return of_all(Solver.weights, r)
    return r - tangent.vjp(of_all(Solver.cotangent, tangent.jvp(r)))
