"""Activation functions, with what carries a derivative back through them and what bends them.

They are rescaled so that E[sigma(z)^2] = 1 for a normal z, as in the review.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.integrate import quad
from torch import Tensor

aten = torch.ops.aten  # its functions are one pass through the memory each, which is what they cost


class Activation(NamedTuple):
    """phi(z) = value(gain z) / gain, before it is rescaled; u = gain z, and a gain costs nothing within the weights.

    pull(D, u, value) -> D times the derivative of value(u). bend(u) -> its second derivative, away from kinks.
    """

    gain: float
    value: Callable[[Tensor], Tensor]
    pull: Callable[[Tensor, Tensor, Tensor], Tensor]
    bend: Callable[[Tensor], Tensor]

    def __call__(self, z: Tensor) -> Tensor:
        return self.value(self.gain * z) / self.gain


def _swish_pull(D: Tensor, u: Tensor, value: Tensor) -> Tensor:
    if torch.is_grad_enabled():  # whoever differentiates a tangent: torch has no derivative of its own formula
        s = torch.sigmoid(u)
        return D * (s + value * (1 - s))
    return aten.silu_backward(D, u)


def _swish_bend(u: Tensor) -> Tensor:
    s = torch.sigmoid(u)
    return s * (1 - s) * (2 + u * (1 - 2 * s))


def _softplus_bend(u: Tensor) -> Tensor:
    s = torch.sigmoid(u)
    return s * (1 - s)


def _tanh_bend(u: Tensor) -> Tensor:
    value = torch.tanh(u)
    return -2 * value * (1 - value.square())


ACTIVATIONS: dict[str, Activation] = {
    # swish(10 z) / 10 = z sigmoid(10 z), a smooth ReLU: Figs 4 and 5
    "swish10": Activation(10.0, F.silu, _swish_pull, _swish_bend),
    # softplus(5 z) / 5: Figs 9 and 10; exp(80) is a number in single precision, too
    "softplus5": Activation(
        5.0,
        lambda u: F.softplus(u, threshold=80),
        lambda D, u, value: aten.softplus_backward(D, u, 1, 80),
        _softplus_bend,
    ),
    "relu": Activation(1.0, F.relu, lambda D, u, value: aten.threshold_backward(D, u, 0), torch.zeros_like),
    "tanh": Activation(1.0, torch.tanh, lambda D, u, value: aten.tanh_backward(D, value), _tanh_bend),
}


@cache
def second_moment(activation: str) -> float:
    """E[phi(z)^2] for a standard normal z, by adaptive quadrature on both sides of 0, where phi may have a kink."""

    def integrand(z: float) -> float:
        phi = float(ACTIVATIONS[activation](torch.tensor(z, dtype=torch.float64)))
        return phi**2 * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    return sum(quad(integrand, *side, epsabs=1e-13, epsrel=1e-12)[0] for side in ((-20, 0), (0, 20)))
