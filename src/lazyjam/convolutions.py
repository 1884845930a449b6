"""Convolutional layers as products of matrices over windows: the outputs of one net and their whole Jacobian.

A CPU has no fast convolutions in float64, and automatic differentiation needs a gradient per pattern for a Jacobian.
With the windows of every layer at hand, both are matrix products, pattern by pattern, that cost little more than one
gradient.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .tangents import runs_of
from .types import Activate, Outputs, Params

FILTER, PADDING = 5, 1  # the authors' filters
PART = 16  # patterns at a time: the windows of more do not stay in the cache of a core


def stride(layer: int) -> int:
    """Every other layer, from the first on, halves the image."""
    return 2 - layer % 2


def windows(images: Tensor, layer: int) -> Tensor:
    """What the filters of a layer see: images (P, C, H, H) to (P, 25 C, pixels), as torch.nn.functional.unfold."""
    step = stride(layer)
    seen = F.pad(images, (PADDING,) * 4).unfold(2, FILTER, step).unfold(3, FILTER, step)  # (P, C, H', H', 5, 5)
    return seen.permute(0, 1, 4, 5, 2, 3).flatten(4).flatten(1, 3)


def outputs_and_jacobian(w: Params, images: Tensor, scales: Sequence[float], both: Activate) -> tuple[Outputs, Tensor]:
    """f_tilde (R, P), and its Jacobian (R, P, N) with the columns in the order of `tangents.flatten`.

    w: W1 (R, h, C, 5, 5), W2..WL (R, h, h, 5, 5), W{L+1} (R, 1, h) and biases. images: (P, C, H, H).
    scales: what multiplies the weights of each layer. both: value and slope of the activation.
    """
    runs, sizes = runs_of(w), [value[0].numel() for value in w.values()]
    f = images.new_empty(len(runs), len(images))
    J = images.new_empty(len(runs), len(images), sum(sizes))
    for run, weights in enumerate(runs):
        for start in range(0, len(images), PART):
            one = slice(start, start + PART)
            rows = dict(zip(w, J[run, one].split(sizes, dim=1), strict=True))
            f[run, one] = _part(weights, images[one], scales, both, rows)
    return f, J


def _part(w: Params, a: Tensor, scales: Sequence[float], both: Activate, rows: Params) -> Tensor:
    """The outputs of one run on some patterns; `rows`: where the Jacobian is written, parameter by parameter."""
    L = len(scales) - 1
    filters = [scale * w[f"W{layer}"].flatten(1) for layer, scale in enumerate(scales, 1)]
    biases = [w.get(f"b{layer}") for layer in range(1, L + 2)]
    seen, slopes, sides = [], [], [a.shape[3]]
    for layer in range(L):
        seen.append(windows(a, layer))
        z = filters[layer] @ seen[-1]
        value, slope = both(z if biases[layer] is None else z + biases[layer][:, None])
        slopes.append(slope)
        sides.append(math.isqrt(value.shape[2]))
        a = value.unflatten(2, (sides[-1],) * 2)
    mean = value.mean(2)
    rows[f"W{L + 1}"][:] = scales[L] * mean
    if biases[L] is not None:
        rows[f"b{L + 1}"].fill_(1)
    back = (filters[L].T / value.shape[2]).expand_as(value)  # df / da, one layer after the other
    for layer in reversed(range(L)):
        delta = back * slopes[layer]  # df / dz
        torch.mul((delta @ seen[layer].mT).flatten(1), scales[layer], out=rows[f"W{layer + 1}"])
        if biases[layer] is not None:
            rows[f"b{layer + 1}"][:] = delta.sum(2)
        if layer:
            delta, W = delta.unflatten(2, (sides[layer + 1],) * 2), filters[layer].view_as(w[f"W{layer + 1}"])
            lost = (sides[layer] + 2 * PADDING - FILTER) % stride(layer)  # rows that no window reaches
            how = dict(stride=stride(layer), padding=PADDING, output_padding=lost)
            back = F.conv_transpose2d(delta, W, **how).flatten(2)
    return F.linear(mean, filters[L], biases[L])[:, 0]
