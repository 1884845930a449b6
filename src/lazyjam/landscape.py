"""The loss between two solutions, along a straight path and along one with a bend, and in the plane of these points.

Two nets that were drawn apart live in one landscape if the same function is subtracted from both, f = alpha (f_tilde(w)
- f_tilde(w_0)) with the w_0 of the first. There the second net is trained from its own first weights. Whether the set
of zero loss is connected is asked of the path a - bend - b, whose middle point is free (Garipov et al. 2018).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .losses import LOSSES
from .minima import minimum
from .observables import observable
from .problem import Problem
from .setups import Setup, Trained
from .tangents import flatten, stack, unflatten
from .types import Flat, PerRun

OTHER = 10_000  # the second net has a seed larger by so much
NODES = 99  # points of the bent path on which its middle is chosen
ROUNDS = 200  # at most so many steps for that
ENOUGH = 1e-12  # mean loss at the nodes that is as good as zero
POINTS = 401  # of a path, on which its loss is looked at
SIDE = 41  # points along a side of a slice
MARGIN = 0.5  # by so much a slice reaches beyond the three points
AT_ONCE = 64  # weights whose losses are computed at once
RISE, RIM = 0.5, 32  # of the loss on the rim of a disc, and points of it
FLAT = 1e-6  # an eigenvalue below this share of the largest leads nowhere


def loss_at(problem: Problem, w: Flat) -> Tensor:
    """The training loss (K,) of one run at K weights (K, N)."""
    losses = []
    for part in w.split(AT_ONCE):
        f = problem.alpha[0] * (problem.network.apply(unflatten(part, problem.like), problem.x) - problem.f_tilde_0)
        losses.append(problem.loss.value(problem.delta(f)).mean(1))
    return torch.cat(losses)


def along(corners: Float[Tensor, "C N"], t: PerRun) -> Flat:
    """Points of a path of straight legs from corner to corner, 0 <= t <= 1, each leg as long as the others in t."""
    leg = (t * (len(corners) - 1)).floor().clamp(max=len(corners) - 2).long()
    s = (t * (len(corners) - 1) - leg)[:, None]
    return (1 - s) * corners[leg] + s * corners[leg + 1]


def bent(problem: Problem, a: Flat, b: Flat) -> Flat:
    """The middle point, (1, N), of a path from a to b with one bend, of least mean loss along the path.

    By Gauss-Newton steps for the quadratic hinge, damped (Levenberg, Marquardt), from the middle of the straight line.
    What is found is the end of a descent: another bend may do better.
    """
    t = torch.arange(1, NODES + 1, dtype=a.dtype, device=a.device) / (NODES + 1)
    share, scale = 1 - (2 * t - 1).abs(), 1 / (len(problem.y) * NODES)
    every = problem.of(torch.zeros(NODES, dtype=torch.long, device=a.device))
    middle, damping = (a + b) / 2, 1e-3

    def at(middle: Flat):
        point = every.at(along(torch.cat([a, middle, b]), t))
        delta = problem.delta(point.f).clamp(min=0)
        return point.tangent, delta, float(delta.square().sum()) * scale / 2

    tangent, delta, U = at(middle)
    for _ in range(ROUNDS):
        if U < ENOUGH or damping > 1e9:
            break
        rows = [(d > 0).nonzero()[:, 0] for d in delta]
        J = torch.cat([share[k] * problem.alpha[0] * problem.y[r, None] * tangent.jacobian(k, r)
                       for k, r in enumerate(rows)])  # fmt: skip
        push = J.T @ torch.cat([d[r] for d, r in zip(delta, rows, strict=True)]) * scale
        H = J.T @ J * scale
        while damping <= 1e9:
            damped = H + damping * torch.eye(len(H), dtype=H.dtype, device=H.device)
            new = middle + torch.cholesky_solve(push[:, None], torch.linalg.cholesky(damped)).T
            there = at(new)
            if there[2] < U:
                middle, (tangent, delta, U), damping = new, there, damping / 4
                break
            damping *= 3
    return middle


def _asked_of(setup: Setup) -> None:
    if setup.dynamics != "descent" or setup.ceiling < math.inf or setup.decay:
        way = f"{setup.dynamics!r} with ceiling = {setup.ceiling:g} and decay = {setup.decay:g}"
        raise ValueError(f"paths join minima that a descent found, without a ceiling or a decay, got {way}.")


def _landscape(trained: Trained, run: int) -> tuple[Problem, Flat]:
    """The landscape of a run, and its end (1, N)."""
    (x, y), loss = trained.data.train, LOSSES[trained.setup.loss]
    w0, w = ({name: value[run : run + 1] for name, value in one.items()} for one in (trained.w0, trained.w))
    network, alpha = trained.network, trained.alpha[run : run + 1]
    return Problem(network, w0, x, y, loss, alpha, network.apply(w0, x)), flatten(w)


def _corners(trained: Trained, run: int) -> tuple[Problem, Flat]:
    """The landscape of a run, and in it its end, the bend, and the end of the other net, (3, N)."""
    setup, (problem, a) = trained.setups[run], _landscape(trained, run)
    drawn = trained.network.init(torch.Generator().manual_seed(setup.seed + OTHER))
    b = minimum(problem, flatten(stack([drawn])).to(a.device), int(setup.t_max)).w
    return problem, torch.cat([a, bent(problem, a, b), b])


@observable(dims={"path": 2, "point": POINTS}, needs=_asked_of)
def loss_between(trained: Trained) -> Tensor:
    """The loss from the end of a run to that of the other net: along a straight path, and along one with a bend."""
    rows, t = [], torch.linspace(0, 1, POINTS, dtype=torch.float64, device=trained.alpha.device)
    for run in range(len(trained.setups)):
        problem, corners = _corners(trained, run)
        rows.append(torch.stack([loss_at(problem, along(path, t)) for path in (corners[::2], corners)]))
    return torch.stack(rows)


def slice_axis() -> Tensor:
    """The coordinates u, and v, of `loss_in_plane`, (SIDE,)."""
    return torch.linspace(-MARGIN, 1 + MARGIN, SIDE, dtype=torch.float64)


@observable(dims={"v": SIDE, "u": SIDE}, needs=_asked_of)
def loss_in_plane(trained: Trained) -> Tensor:
    """The loss in the plane of the bent path, at w = a + u (b - a) + v (bend - (a + b) / 2), in single precision.

    The two ends lie at (0, 0) and (1, 0), the bend at (1/2, 1): the picture is sheared, what is connected stays so.
    """
    line = slice_axis().to(trained.alpha.device)
    v, u = (grid.reshape(-1, 1) for grid in torch.meshgrid(line, line, indexing="ij"))
    planes = []
    for run in range(len(trained.setups)):
        problem, (a, bend, b) = _corners(trained, run)
        planes.append(loss_at(problem, a + u * (b - a) + v * (bend - (a + b) / 2)).reshape(SIDE, SIDE))
    return torch.stack(planes).float()


def disc_axis() -> Tensor:
    """The coordinates u, and v, of `loss_around`, (SIDE,)."""
    return torch.linspace(-1, 1, SIDE, dtype=torch.float64)


@observable(dims={"y": SIDE, "x": SIDE})
def loss_around(trained: Trained) -> Tensor:
    """The loss around the end of a run, at w + r (u e_1 + v e_2), over v and u, in single precision.

    e_1, e_2: random directions at right angles, drawn with the seed of the run. r is such that the loss is RISE higher
    on average over the circle u^2 + v^2 = 1: a steep valley is seen from as near as it takes.
    """
    line, slices = disc_axis().to(trained.alpha.device), []
    v, u = (grid.reshape(-1, 1) for grid in torch.meshgrid(line, line, indexing="ij"))
    angle = torch.arange(RIM, dtype=line.dtype, device=line.device)[:, None] * (2 * math.pi / RIM)
    for run, setup in enumerate(trained.setups):
        problem, w = _landscape(trained, run)
        drawn = torch.randn(w.shape[1], 2, generator=torch.Generator().manual_seed(setup.seed), dtype=w.dtype)
        one, two = torch.linalg.qr(drawn).Q.T.to(w.device)
        rim, low, high = angle.cos() * one + angle.sin() * two, 1e-9, 1e9
        target = float(loss_at(problem, w)) + RISE
        for _ in range(60):
            r = math.sqrt(low * high)
            low, high = (low, r) if float(loss_at(problem, w + r * rim).mean()) > target else (r, high)
        slices.append(loss_at(problem, w + r * (u * one + v * two)).reshape(SIDE, SIDE))
    return torch.stack(slices).float()


def curvature(trained: Trained, run: int) -> Tensor:
    """The Hessian of any training loss of one run, (N, N): l'' grad f grad f^T, and what the net bends."""
    y, delta, alpha = trained.data.train.y, trained.delta[run], trained.alpha[run]
    loss, rows = LOSSES[trained.setup.loss], torch.arange(len(y), device=y.device)
    J = alpha * trained.tangent.jacobian(run, rows)
    bends = trained.tangent.hessian(run, -alpha * y * loss.slope(delta) / len(y), rows)
    return J.T @ (loss.curvature(delta)[:, None] / len(y) * J) + bends


@observable()
def flat_directions(trained: Trained) -> Tensor:
    """How many eigenvalues of the Hessian at the end are zero: smaller than FLAT of the largest, in absolute value."""
    values = [torch.linalg.eigvalsh(curvature(trained, run)).abs() for run in range(len(trained.setups))]
    return torch.stack([(one <= FLAT * one.max()).sum() for one in values])
