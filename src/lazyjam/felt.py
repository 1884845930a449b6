"""The patterns that are felt: others are satisfied by so wide a margin that the stages of a step leave them out."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .problem import Point, Problem
from .types import Outputs, PerRun

REACH = 0.3  # how far a margin may move within a step
FELT = 1e-10  # of the strongest pull l' of a run: what is weaker is not felt
WORTH = 0.7  # of the patterns: where more are felt, it does not pay to leave out the others
REFUSED = 8.0  # error of a step that felt a pattern too late


class Felt(NamedTuple):
    """A problem and a point of it, on the patterns that are felt. near: which each run feels, (R, P); None: all.

    What is left out pulls by less than FELT of the strongest pull, so a velocity is that of all patterns to about FELT.
    Every run decides for itself: what the others of its batch feel is evaluated, and does not pull at it. The gradient
    that makes the point is not counted as one.
    """

    problem: Problem
    point: Point
    near: Tensor | None

    def error(self, whole: Problem, f: Outputs, error: PerRun) -> PerRun:
        """The error of a step to f, (R, P): REFUSED or more, where a pattern that was left out is felt at its end."""
        if self.near is None:
            return error
        pull = whole.loss.slope(whole.delta(f)).abs()
        late = (~self.near & (pull > FELT * pull.amax(1, keepdim=True))).any(1)
        return torch.where(late, error.clamp(min=REFUSED), error)


def felt(problem: Problem, point: Point) -> Felt:
    """What is felt within a step from a point, by margins that move by no more than REACH.

    What is not a number is felt. A run feels all patterns, where it does not pay to leave out the others. On a GPU all
    runs do: its kernels are recorded for shapes that stay as they are.
    """
    if point.f.is_cuda:
        return Felt(problem, point, None)
    delta = problem.delta(point.f)
    now, ahead = (problem.loss.slope(of).abs() for of in (delta, delta + REACH))
    near = ~(now.maximum(ahead) <= FELT * now.amax(1, keepdim=True))
    count = near.sum(1, keepdim=True)
    pays = (0 < count) & (count < WORTH * near.shape[1])
    if not bool(pays.any()):
        return Felt(problem, point, None)
    near = near | ~pays
    rows = near.any(0)
    if bool(rows.all()):
        some = replace(problem, feels=near)
        return Felt(some, some.by(point.w, point.tangent), near)
    some = problem.on(rows.nonzero()[:, 0], near)
    return Felt(some, some.at(point.w), near)
