"""Networks as tuples of pure functions.

Fully connected nets follow Eqs. 1-3 of the review: weights N(0, 1), a factor 1/sqrt(fan-in) in front of every layer
(the last one included), activations rescaled so that E[sigma(z)^2] = 1 for a normal z.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from .activations import ACTIVATIONS, second_moment
from .layered import LayeredTangent, Layers
from .tangents import AutogradTangent, StoredTangent, Tangent, outputs_and_jacobian
from .types import Inputs, Outputs, Params


class Network(NamedTuple):
    """init draws the weights of one run (on the CPU, in float64). apply and tangent act on a batch of runs."""

    init: Callable[[Generator], Params]
    apply: Callable[[Params, Inputs], Outputs]
    tangent: Callable[[Params, Inputs], Tangent]


def _biases(size: int, bias_std: float, generator: Generator) -> Tensor:
    zeros = torch.zeros(size, dtype=torch.float64)
    return zeros.normal_(std=bias_std, generator=generator) if bias_std else zeros


def fully_connected(
    d: int, h: int, L: int, activation: str = "swish10", bias: bool = False, bias_std: float = 0.0
) -> Network:
    """L hidden layers of width h, one output (Eqs. 1-3). N = d h + (L-1) h^2 + h, plus L h + 1 biases.

    Parameters W1 (h, d), W2..WL (h, h), W{L+1} (1, h), and b1..b{L+1} after each weight if there are biases, which are
    N(0, bias_std^2) at the start.
    """
    phi = ACTIVATIONS[activation]
    fans = [d] + [h] * L + [1]
    gains = [phi.gain] * L + [1.0]
    scales = [gains[0] * d**-0.5]
    # the factor that rescales sigma rides along
    scales += [gain * (second_moment(activation) * h) ** -0.5 / phi.gain for gain in gains[1:]]

    def init(generator: Generator) -> Params:
        w = {}
        for layer in range(1, L + 2):
            w[f"W{layer}"] = torch.randn(fans[layer], fans[layer - 1], generator=generator, dtype=torch.float64)
            if bias:
                w[f"b{layer}"] = _biases(fans[layer], bias_std, generator)
        return w

    def tangent(w: Params, x: Inputs) -> LayeredTangent:
        weights = [scale * w[f"W{i}"] for i, scale in enumerate(scales, 1)]
        inputs, u = [x.unsqueeze(0)], []
        for layer, W in enumerate(weights, 1):
            u.append(torch.bmm(inputs[-1].expand(len(W), -1, -1), W.mT))
            if bias:
                u[-1] = u[-1] + gains[layer - 1] * w[f"b{layer}"].unsqueeze(1)
            if layer <= L:
                inputs.append(phi.value(u[-1]))
        return LayeredTangent(u.pop().squeeze(-1), Layers(weights, scales, gains, bias, inputs, u), phi)

    return Network(init, lambda w, x: tangent(w, x).f, tangent)


def from_function(init: Callable[[Generator], Params], apply: Callable[[Params, Inputs], Outputs]) -> Network:
    """Any other network: `apply` maps parameters with an axis of runs and inputs (P, ...) to outputs (R, P).

    Neither runs nor patterns may mix: an output depends on its own run and its own pattern alone.
    """
    return Network(init, apply, lambda w, x: AutogradTangent(apply, w, x))


def image_shape(d: int) -> tuple[int, int]:
    """Channels and side of a square image of d numbers. Raises ValueError if there is none of one or three channels."""
    for channels in (1, 3):
        side = math.isqrt(d // channels)
        if channels * side**2 == d:
            return channels, side
    raise ValueError(f"square images of 1 or 3 channels are needed, got d = {d} numbers.")


KEPT = 2**27  # numbers of a Jacobian, a GiB: a larger one is not kept
FILTER, PADDING = 5, 1  # the authors' filters; every other layer, from the first on, has stride 2


def convolutional(
    d: int, h: int, L: int, activation: str = "swish10", bias: bool = False, bias_std: float = 0.0
) -> Network:
    """L convolutional layers of h channels, the mean over pixels, one output: the authors' `CV`, in our normalisation.

    Inputs (P, d) are square images of one or three channels, one channel after the other. Filters are 5 x 5, the
    padding is 1, and layers 1, 3, ... have stride 2. Each is divided by the root of its fan-in, the last by sqrt(h).
    Parameters W1 (h, channels, 5, 5), W2..WL (h, h, 5, 5), W{L+1} (1, h), and biases as in `fully_connected`.

    Raises ValueError for a d that is no square image, and for an image too small for L layers.
    """
    phi = ACTIVATIONS[activation]
    channels, side = image_shape(d)
    left = side
    for layer in range(L):
        if left + 2 * PADDING < FILTER:
            raise ValueError(f"images of {side} x {side} pixels allow {layer} convolutional layers, got L = {L}.")
        left = (left + 2 * PADDING - FILTER) // (2 - layer % 2) + 1
    fans = [channels * FILTER**2] + [h * FILTER**2] * (L - 1) + [h]
    scales = [(fan * (second_moment(activation) if layer else 1)) ** -0.5 for layer, fan in enumerate(fans)]
    shapes = [(h, channels, FILTER, FILTER)] + [(h, h, FILTER, FILTER)] * (L - 1) + [(1, h)]

    def init(generator: Generator) -> Params:
        w = {}
        for layer, shape in enumerate(shapes, 1):
            w[f"W{layer}"] = torch.randn(shape, generator=generator, dtype=torch.float64)
            if bias:
                w[f"b{layer}"] = _biases(shape[0], bias_std, generator)
        return w

    def one(w: Params, x: Inputs) -> Tensor:
        """The outputs (P,) of one run."""
        a = x.unflatten(1, (channels, side, side))
        for layer in range(L):
            W, b = scales[layer] * w[f"W{layer + 1}"], w.get(f"b{layer + 1}")
            a = phi(F.conv2d(a, W, b, stride=2 - layer % 2, padding=PADDING))
        return F.linear(a.mean((2, 3)), scales[L] * w[f"W{L + 1}"], w.get(f"b{L + 1}"))[:, 0]

    def apply(w: Params, x: Inputs) -> Outputs:
        runs = range(len(w["W1"]))
        return torch.stack([one({name: value[r] for name, value in w.items()}, x) for r in runs])

    def tangent(w: Params, x: Inputs) -> Tangent:
        general = partial(AutogradTangent, apply, w, x)
        if len(x) * sum(value.numel() for value in w.values()) > KEPT:
            return general()
        return StoredTangent(*outputs_and_jacobian(apply, w, x), lambda *of: general().hessian(*of))

    return Network(init, apply, tangent)


NETWORKS: dict[str, Callable[..., Network]] = {"fc": fully_connected, "cnn": convolutional}
