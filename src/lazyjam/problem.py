"""Gradient flow of a batch of networks on one training set, as a problem: from weights to predictor and velocity.

The flow is w' = -grad L / alpha^2 with L = (1/P) sum_mu l(Delta_mu), Delta = 1 - y f, f = alpha (f_tilde - f_tilde_0).
With J_y = y J, the labelled Jacobian of f_tilde, it reads w' = J_y^T l'(Delta) / (alpha P).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from torch import Tensor

from .chebyshev import Stages
from .layered import LayeredTangent
from .losses import Loss
from .networks import Network
from .tangents import Tangent, flatten, unflatten
from .types import Flat, Outputs, Params, PerRun


@dataclass(frozen=True)
class Problem:
    """A batch of runs on one training set. `like` gives names and shapes of the parameters.

    decay: of the weights towards `start`, (R, N), where there is one: it adds decay |w - start|^2 / 2 to L / alpha^2.
    margin: that y f is to reach, one number or one for every pattern. among: how many patterns the loss is the mean of,
    where x and y are only those of them that some run feels; None: x and y are all. feels: which of them each run does,
    (R, P); the others do not pull at it; None: all do.
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
    among: int | None = None
    feels: Tensor | None = None

    @property
    def P(self) -> int:
        """The number of patterns that the loss is the mean of."""
        return self.among or len(self.y)

    def delta(self, f: Outputs) -> Outputs:
        """Delta = margin - y f: by how much a pattern misses its margin."""
        return self.margin - self.y * f

    def of(self, runs: Tensor) -> "Problem":
        """The same problem for a part of the batch."""
        start, feels = (None if of is None else of[runs] for of in (self.start, self.feels))
        return replace(self, alpha=self.alpha[runs], f_tilde_0=self.f_tilde_0[runs], start=start, feels=feels)

    def on(self, rows: Tensor, feels: Tensor) -> "Problem":
        """The same problem where all other patterns are not felt, and these by the runs that feel them, (R, P)."""
        margin = self.margin[rows] if isinstance(self.margin, Tensor) else self.margin
        some = dict(x=self.x[rows], y=self.y[rows], f_tilde_0=self.f_tilde_0[:, rows], feels=feels[:, rows])
        return replace(self, margin=margin, among=self.P, **some)

    def at(self, w: Flat) -> "Point":
        """Predictor and velocity at the weights w: one gradient."""
        return self.by(w, self.network.tangent(unflatten(w, self.like), self.x))

    def by(self, w: Flat, tangent: Tangent) -> "Point":
        """The same, where the tangent of the network at w is known."""
        f = self.alpha[:, None] * (tangent.f - self.f_tilde_0)
        slope = self.loss.slope(self.delta(f))
        v = tangent.vjp(slope * self._per_slope)
        return Point(w, f, v if self.start is None else v - self.decay * (w - self.start), tangent)

    @cached_property
    def _per_slope(self) -> Outputs:
        """By how much a pattern pulls at its output where l' is one."""
        every = self.y / (self.alpha[:, None] * self.P)
        return every if self.feels is None else every * self.feels

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

    @property
    def layered_on_gpu(self) -> bool:
        """Whether these are fully connected nets on a GPU, where to call a kernel takes longer than to run it."""
        return self.f.is_cuda and isinstance(self.tangent, LayeredTangent)
