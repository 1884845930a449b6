"""What a network is before it is trained: its parameters, its scaling with the width, and a convolution as a matrix."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from .networks import PADDING
from .setups import Setup
from .tangents import stack
from .types import Inputs, Params

SCALINGS = {"1 / h": 0.5, "1 / sqrt(h)": 0.0, "1": -0.5}
"""By its factor in front of the sums over h neurons: the power of 1 / h that it has more than ours."""


def number_of_parameters(d: int, h: int, L: int, bias: bool = False) -> int:
    """N = d h + (L - 1) h^2 + h for L hidden layers of h neurons, and L h + 1 more with biases."""
    return d * h + (L - 1) * h**2 + h + (L * h + 1 if bias else 0)


def drawn(setup: Setup, seed: Iterable[int]) -> Params:
    """The initial weights of nets that differ in their seed alone, as a batch."""
    return stack([setup.network.init(torch.Generator().manual_seed(one)) for one in seed])


def on_the_sphere(P: int, d: int, seed: int = 0) -> Inputs:
    """Random inputs (P, d) of norm sqrt(d)."""
    x = torch.randn(P, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x / x.square().mean(1, keepdim=True).sqrt()


def preactivation_variance(setup: Setup, x: Inputs, *, h: Sequence[int], seed: Sequence[int]) -> xr.DataArray:
    """The mean square of the pre-activations of every hidden layer at the start, over neurons and inputs.

    Over h, seed and layer. For |x|^2 = d and no biases it is one on average in the first two layers, and up to O(1 / h)
    in the others.
    """
    values = []
    for setup in (setup.replace(h=width) for width in h):
        a = setup.network.tangent(drawn(setup, seed), x).preactivations
        values.append(torch.stack([layer.square().mean((1, 2)) for layer in a], dim=1))
    names = {"h": list(h), "seed": list(seed), "layer": range(1, setup.L + 1)}
    return xr.DataArray(torch.stack(values).numpy(), dims=tuple(names), coords=names)


def spread_of_outputs(setup: Setup, x: Inputs, *, h: Sequence[int], seed: Sequence[int]) -> xr.DataArray:
    """The root mean square of f_tilde(x) at the start over the inputs, over scaling, h and seed, for each of SCALINGS.

    The mean over seeds of f_tilde is zero by symmetry, so its spread is that over seeds.
    """
    table = []
    for setup in (setup.replace(h=width) for width in h):
        w = drawn(setup, seed)
        inner = [f"W{layer}" for layer in range(2, setup.L + 2)]  # those whose fan-in is h
        scaled = [{**w, **{name: w[name] * setup.h**-power for name in inner}} for power in SCALINGS.values()]
        table.append(torch.stack([setup.network.apply(one, x).square().mean(1).sqrt() for one in scaled]))
    names = {"scaling": list(SCALINGS), "h": list(h), "seed": list(seed)}
    return xr.DataArray(torch.stack(table, dim=1).numpy(), dims=tuple(names), coords=names)


def convolution_matrix(W: Float[Tensor, "out into k k"], side: int, stride: int = 1) -> Tensor:
    """The matrix of a convolution of images of side x side pixels, with the padding of our convolutional nets.

    (out pixels_out, into side^2): that of a fully connected layer in which most weights are zero and the others repeat.
    Entry by entry: the weight between an output and an input is that of the filter where their distance fits in it.
    """
    out, into, k, _ = W.shape
    left = (side + 2 * PADDING - k) // stride + 1
    matrix = W.new_zeros(out, left, left, into, side, side)
    for row, column, i, j in np.ndindex(left, left, k, k):
        y, x = row * stride + i - PADDING, column * stride + j - PADDING
        if 0 <= y < side and 0 <= x < side:
            matrix[:, row, column, :, y, x] = W[:, :, i, j]
    return matrix.reshape(out * left**2, into * side**2)
