"""Ways to train: each takes a batch of runs from its first weights to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor

from .flow import FAILED, FITTED, OUT_OF_TIME, gradient_flow, unsatisfied
from .losses import LOSSES
from .minima import minimum
from .networks import Network
from .problem import Problem
from .tangents import flatten
from .types import Flat, Inputs, Labels, Outputs, Params, PerRun

BUDGETS = (0.01, 0.1, 1.0)
"""Fractions of t_max at which N_delta is recorded: 3, 30 and 300 tau of the phase diagram."""


class Start(NamedTuple):
    """A batch of runs before it is trained, and how: the fields of Setup of these names.

    data: inputs (P, d) and labels (P,). alpha, t_max: (R,). margin: as in Problem. generators: of every run, after its
    weights were drawn.
    """

    network: Network
    w0: Params
    data: tuple[Inputs, Labels]
    loss: str
    alpha: PerRun
    t_max: PerRun
    decay: float
    batch: int
    rate: float
    margin: float | Tensor
    generators: Sequence[Generator]

    @property
    def problem(self) -> Problem:
        """The batch as what a step is made on."""
        x, y = self.data
        start, loss = flatten(self.w0) if self.decay else None, LOSSES[self.loss]
        f_tilde_0 = self.network.apply(self.w0, x)
        return Problem(self.network, self.w0, x, y, loss, self.alpha, f_tilde_0, self.decay, start, self.margin)

    def alone(self, run: int) -> Start:
        """One of the runs."""
        one = {name: value[run : run + 1] for name, value in self.w0.items()}
        alpha, t_max = self.alpha[run : run + 1], self.t_max[run : run + 1]
        return self._replace(w0=one, alpha=alpha, t_max=t_max, generators=self.generators[run : run + 1])


class End(NamedTuple):
    """The runs at their end. t: flow time, or steps. N_delta_at: (R, 3), N_delta at BUDGETS. Else as in Snapshot.

    w_tenth: of a flow, the weights when more than a tenth of the patterns were first satisfied, or NaN.
    """

    t: PerRun
    w: Flat
    f: Outputs
    state: Tensor
    N_delta: Tensor
    N_delta_at: Tensor
    gradients: Tensor
    factorisations: Tensor
    w_tenth: Flat | None = None


def flow(start: Start, **how: Any) -> End:
    """Gradient flow: see `flow.gradient_flow`, which takes `how`."""
    budgets = start.t_max[:, None] * torch.tensor(BUDGETS, dtype=torch.float64, device=start.alpha.device)
    counts = torch.full(budgets.shape, -1, dtype=torch.long, device=start.alpha.device)
    how = dict(t_max=start.t_max, landmarks=budgets[:, :-1], decay=start.decay, **how)
    w_tenth = torch.full_like(flatten(start.w0), math.nan)
    for now in gradient_flow(start.network, start.w0, start.data, start.loss, start.alpha, **how):
        passed = (now.t[:, None] >= budgets) & (counts < 0)
        counts = torch.where(passed, now.N_delta[:, None], counts)
        begun = w_tenth[:, 0].isnan() & (now.N_delta < 0.9 * len(start.data[1]))
        w_tenth = torch.where(begun[:, None], now.w, w_tenth)
    counts = torch.where(counts < 0, now.N_delta[:, None], counts)
    return End(now.t, now.w, now.f, now.state, now.N_delta, counts, now.gradients, now.factorisations, w_tenth)


def none(start: Start, **how: Any) -> End:
    """The nets as they were drawn: f is zero, and nothing is satisfied."""
    problem, zero = start.problem, torch.zeros_like(start.alpha)
    f = torch.zeros_like(problem.f_tilde_0)
    N_delta = unsatisfied(problem, problem.delta(f))
    state = torch.full_like(N_delta, OUT_OF_TIME)
    counts = N_delta[:, None].repeat(1, len(BUDGETS))
    return End(zero, flatten(start.w0), f, state, N_delta, counts, torch.ones_like(state), torch.zeros_like(state))


def _joined(ends: Sequence[End]) -> End:
    return End(*(None if parts[0] is None else torch.cat(parts) for parts in zip(*ends, strict=True)))


def descend(start: Start, **how: Any) -> End:
    """To a minimum of the quadratic hinge in t_max steps, or up to six times as many with the polish: see minima.py."""
    ends = []
    for run in range(len(start.alpha)):
        one = start.alone(run)  # because a rounding error made by its batch would lead to another minimum
        problem, t_max = one.problem, float(one.t_max)
        counts = [math.ceil(share * t_max) for share in BUDGETS]
        found = minimum(problem, flatten(one.w0), counts[-1], counts)
        f, steps = problem.at(found.w).f, torch.tensor([found.steps], device=start.alpha.device)
        state, N_delta = torch.full_like(steps, found.state), unsatisfied(problem, problem.delta(f))
        t = steps.to(start.alpha.dtype)
        ends.append(End(t, found.w, f, state, N_delta, found.N_delta_at[None], 4 * steps, steps))
    return _joined(ends)


LEARNING_RATE, DECAY_EVERY, LOWEST_RATE = 1e-4, 250_000, 1e-7  # the authors': divided by ten every so many steps


def adam(start: Start, **how: Any) -> End:
    """Full-batch Adam with the authors' learning rates, until no pattern is unsatisfied or t_max steps are made."""
    problem, alpha, t_max = start.problem, start.alpha, start.t_max
    budgets = t_max[:, None] * torch.tensor(BUDGETS, dtype=torch.float64, device=alpha.device)
    w, t = flatten(start.w0), torch.zeros_like(alpha)
    point, end, running = problem.at(w), w.clone(), torch.ones_like(alpha, dtype=torch.bool)
    counts = unsatisfied(problem, problem.delta(point.f))[:, None].repeat(1, len(BUDGETS))
    optimiser = torch.optim.Adam([w], lr=LEARNING_RATE)
    while bool(running.any()):
        steps = int(t.max())
        optimiser.param_groups[0]["lr"] = max(LEARNING_RATE * 0.1 ** (steps // DECAY_EVERY), LOWEST_RATE)
        w.grad = -alpha[:, None].square() * point.v
        optimiser.step()
        point = problem.at(w)
        t = t + running
        end = torch.where(running[:, None], w, end)
        N_delta = unsatisfied(problem, problem.delta(point.f))
        counts = torch.where(running[:, None] & (t[:, None] <= budgets.ceil()), N_delta[:, None], counts)
        running = running & (N_delta > 0) & (t < t_max) & point.f.isfinite().all(1)
    f = problem.at(end).f
    N_delta = unsatisfied(problem, problem.delta(f))
    counts = torch.where((N_delta == 0)[:, None] & (t[:, None] <= budgets.ceil()), 0, counts)
    lost = torch.where(f.isfinite().all(1), OUT_OF_TIME, FAILED)
    state = torch.where(N_delta == 0, FITTED, lost)
    return End(t, end, f, state, N_delta, counts, t.long(), torch.zeros_like(state))


def sgd(start: Start, **how: Any) -> End:
    """Steps of size `rate`, in flow time, each on `batch` patterns drawn anew, until all are satisfied or t_max steps.

    Whether all are satisfied is looked at once per epoch.
    """
    ends = [_sgd(start.alone(run)) for run in range(len(start.alpha))]
    return _joined(ends)


def _sgd(start: Start) -> End:
    problem, (x, y), generator = start.problem, start.data, start.generators[0]
    P, t_max, w = len(y), int(start.t_max), flatten(start.w0)
    counts, marks = [], [math.ceil(share * t_max) for share in BUDGETS]
    steps, N_delta = 0, unsatisfied(problem, problem.delta(problem.at(w).f))
    while steps < t_max and int(N_delta) and bool(w.isfinite().all()):
        for rows in torch.randperm(P, generator=generator).split(start.batch):
            if steps == t_max:
                break
            some = replace(problem, x=x[rows], y=y[rows], f_tilde_0=problem.f_tilde_0[:, rows])
            w, steps = w + start.rate * some.at(w).v, steps + 1
            if steps in marks:
                counts.append(unsatisfied(problem, problem.delta(problem.at(w).f)))
        N_delta = unsatisfied(problem, problem.delta(problem.at(w).f))
    f = problem.at(w).f
    lost = OUT_OF_TIME if bool(f.isfinite().all()) else FAILED
    state = torch.where(N_delta == 0, FITTED, lost)
    at = torch.stack([*counts, *[N_delta] * (len(BUDGETS) - len(counts))], dim=1)
    taken = torch.full_like(N_delta, steps)
    return End(taken.to(w.dtype), w, f, state, N_delta, at, taken, torch.zeros_like(state))


DYNAMICS: dict[str, Callable[..., End]] = {"flow": flow, "none": none, "descent": descend, "adam": adam, "sgd": sgd}
