"""Ways to train: each takes a batch of runs from its first weights to its end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .flow import FAILED, FITTED, OUT_OF_TIME, gradient_flow, unsatisfied
from .losses import LOSSES
from .minima import minimum
from .networks import Network
from .steppers import Problem
from .tangents import flatten
from .types import Flat, Inputs, Labels, Outputs, Params, PerRun

BUDGETS = (0.01, 0.1, 1.0)
"""Fractions of t_max at which N_delta is recorded: 3, 30 and 300 tau of the phase diagram."""


class End(NamedTuple):
    """The runs at their end. t: flow time, or steps. N_delta_at: (R, 3), N_delta at BUDGETS. Else as in Snapshot."""

    t: PerRun
    w: Flat
    f: Outputs
    state: Tensor
    N_delta: Tensor
    N_delta_at: Tensor
    gradients: Tensor
    factorisations: Tensor


def flow(
    network: Network, w0: Params, data: tuple[Inputs, Labels], loss: str, alpha: PerRun, t_max: PerRun, **how: Any
) -> End:
    """Gradient flow: see `flow.gradient_flow`, which takes `how`."""
    budgets = t_max[:, None] * torch.tensor(BUDGETS, dtype=torch.float64, device=alpha.device)
    counts = torch.full(budgets.shape, -1, dtype=torch.long, device=alpha.device)
    for now in gradient_flow(network, w0, data, loss, alpha, t_max=t_max, landmarks=budgets[:, :-1], **how):
        passed = (now.t[:, None] >= budgets) & (counts < 0)
        counts = torch.where(passed, now.N_delta[:, None], counts)
    counts = torch.where(counts < 0, now.N_delta[:, None], counts)
    return End(now.t, now.w, now.f, now.state, now.N_delta, counts, now.gradients, now.factorisations)


def descend(
    network: Network, w0: Params, data: tuple[Inputs, Labels], loss: str, alpha: PerRun, t_max: PerRun, **how: Any
) -> End:
    """To a minimum of the quadratic hinge, in at most t_max steps and as many for its polish: see `minima.minimum`."""
    x, y = data
    ends = []
    for run in range(len(alpha)):  # alone, because a rounding error made by its batch would lead to another minimum
        one = {name: value[run : run + 1] for name, value in w0.items()}
        problem = Problem(network, one, x, y, LOSSES[loss], alpha[run : run + 1], network.apply(one, x))
        counts = [math.ceil(share * float(t_max[run])) for share in BUDGETS]
        found = minimum(problem, flatten(one), counts[-1], counts)
        f, steps = problem.at(found.w).f, torch.tensor([found.steps], device=alpha.device)
        state, N_delta = torch.full_like(steps, found.state), unsatisfied(problem, 1 - y * f)
        ends.append(End(steps.to(alpha.dtype), found.w, f, state, N_delta, found.N_delta_at[None], 4 * steps, steps))
    return End(*(torch.cat(parts) for parts in zip(*ends, strict=True)))


LEARNING_RATE, DECAY_EVERY, LOWEST_RATE = 1e-4, 250_000, 1e-7  # the authors': divided by ten every so many steps


def adam(
    network: Network, w0: Params, data: tuple[Inputs, Labels], loss: str, alpha: PerRun, t_max: PerRun, **how: Any
) -> End:
    """Full-batch Adam with the authors' learning rates, until no pattern is unsatisfied or t_max steps are made."""
    x, y = data
    problem = Problem(network, w0, x, y, LOSSES[loss], alpha, network.apply(w0, x))
    budgets = t_max[:, None] * torch.tensor(BUDGETS, dtype=torch.float64, device=alpha.device)
    w, t = flatten(w0), torch.zeros_like(alpha)
    point, end, running = problem.at(w), w.clone(), torch.ones_like(alpha, dtype=torch.bool)
    counts = unsatisfied(problem, 1 - y * point.f)[:, None].repeat(1, len(BUDGETS))
    optimiser = torch.optim.Adam([w], lr=LEARNING_RATE)
    while bool(running.any()):
        steps = int(t.max())
        optimiser.param_groups[0]["lr"] = max(LEARNING_RATE * 0.1 ** (steps // DECAY_EVERY), LOWEST_RATE)
        w.grad = -alpha[:, None].square() * point.v
        optimiser.step()
        point = problem.at(w)
        t = t + running
        end = torch.where(running[:, None], w, end)
        N_delta = unsatisfied(problem, 1 - y * point.f)
        counts = torch.where(running[:, None] & (t[:, None] <= budgets.ceil()), N_delta[:, None], counts)
        running = running & (N_delta > 0) & (t < t_max) & point.f.isfinite().all(1)
    f = problem.at(end).f
    N_delta = unsatisfied(problem, 1 - y * f)
    counts = torch.where((N_delta == 0)[:, None] & (t[:, None] <= budgets.ceil()), 0, counts)
    lost = torch.where(f.isfinite().all(1), OUT_OF_TIME, FAILED)
    state = torch.where(N_delta == 0, FITTED, lost)
    return End(t, end, f, state, N_delta, counts, t.long(), torch.zeros_like(state))


DYNAMICS: dict[str, Callable[..., End]] = {"flow": flow, "descent": descend, "adam": adam}
