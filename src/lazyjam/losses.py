"""Losses as functions of Delta = 1 - y f, by how much a pattern misses the margin one.

The training loss is L = (1/P) sum_mu l(Delta_mu) (Eq. 4 of the review). An integrator needs the value, the two
derivatives with respect to Delta, where the second is largest (it sets the stiffness), and when training ends.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ENERGY_END = 1e-20  # a quadratic loss below this is zero: its approach is exponential and never ends


class Loss(NamedTuple):
    """value l(Delta), slope l'(Delta), curvature l''(Delta), and the Delta at which the curvature peaks.

    ends: "margin" when min_mu y f = 1, "energy" when L <= 1e-20, "never" otherwise.
    """

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    curvature: Callable[[Tensor], Tensor]
    peak: float
    ends: str


def _soft_hinge(beta: float) -> Loss:
    """softplus(beta Delta) / beta: the hinge with its kink rounded over a width 1/beta."""

    def curvature(delta: Tensor) -> Tensor:
        s = torch.sigmoid(beta * delta)
        return beta * s * (1 - s)

    return Loss(
        value=lambda delta: F.softplus(beta * delta, threshold=700) / beta,
        slope=lambda delta: torch.sigmoid(beta * delta),
        curvature=curvature,
        peak=0.0,
        ends="margin",
    )


def _logistic_curvature(delta: Tensor) -> Tensor:
    s = torch.sigmoid(delta - 1)
    return s * (1 - s)


LOSSES: dict[str, Loss] = {
    "hinge": Loss(
        value=lambda delta: delta.clamp(min=0),
        slope=lambda delta: (delta > 0).to(delta.dtype),
        curvature=torch.zeros_like,
        peak=0.0,
        ends="margin",
    ),
    "soft_hinge": _soft_hinge(20.0),  # the runs behind Figs 4 and 5
    "soft_hinge_200": _soft_hinge(200.0),  # close to the hinge of the text, and still smooth
    "quadratic_hinge": Loss(
        value=lambda delta: delta.clamp(min=0).square() / 2,
        slope=lambda delta: delta.clamp(min=0),
        curvature=lambda delta: (delta > 0).to(delta.dtype),
        peak=math.inf,
        ends="energy",
    ),
    "cross_entropy": Loss(  # log(1 + exp(-y f)), and y f = 1 - Delta
        value=lambda delta: F.softplus(delta - 1, threshold=700),
        slope=lambda delta: torch.sigmoid(delta - 1),
        curvature=_logistic_curvature,
        peak=1.0,
        ends="never",
    ),
    "squared": Loss(
        value=lambda delta: delta.square() / 2,
        slope=lambda delta: delta,
        curvature=torch.ones_like,
        peak=0.0,
        ends="energy",
    ),
}
