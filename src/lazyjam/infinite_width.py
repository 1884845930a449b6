"""Networks on their way to infinite width: what they start as, and how flat they become (Section 1.3, Fig. 3)."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from .kernels import infinite_width, ntk, relative_change
from .networks import Network
from .observables import observable
from .setups import Setup, Trained
from .tangents import flatten, stack, unflatten
from .types import Inputs, Outputs, Params

AT_ONCE = 100  # nets drawn together
STEPS = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""How far `bend` moves the weights along two gradients: by so much the output would change if it were linear."""


def outputs_at_start(network: Network, x: Inputs, n: int, generator: Generator) -> Outputs:
    """f_tilde(x) of n nets that are drawn one after the other, (n, P)."""
    parts = [min(AT_ONCE, n - done) for done in range(0, n, AT_ONCE)]
    return torch.cat([network.apply(stack([network.init(generator) for _ in range(part)]), x) for part in parts])


def _known_limit(setup: Setup) -> None:
    if setup.architecture != "fc" or setup.activation != "relu" or (setup.bias and setup.bias_std != 1):
        what = f"{setup.architecture!r} with {setup.activation!r}, bias={setup.bias}, bias_std={setup.bias_std}"
        raise ValueError(f"the infinite kernel is known of 'fc' nets of 'relu', without biases or N(0, 1), got {what}.")


@observable(needs=_known_limit)
def distance_to_limit(trained: Trained) -> Tensor:
    """||Theta_0 - Theta_inf|| / ||Theta_inf||, Frobenius norms on the kernel set: initial against infinite kernel."""
    x, theta = trained.data.kernel.x, ntk(trained.network, trained.w0, trained.data.kernel.x)
    limit = infinite_width(x, x, trained.setup.L, trained.setup.bias).tangent
    return relative_change(theta, limit.expand_as(theta))


class Patch(NamedTuple):
    """A piece of the manifold of functions that a net can express, and of its tangent plane.

    outputs, linear: f_tilde at P inputs over two coordinates of the weights, (R, n, n, P).
    """

    outputs: Float[Tensor, "R n n P"]
    linear: Float[Tensor, "R n n P"]


def patch(network: Network, w0: Params, x: Inputs, steps: tuple[float, ...] = STEPS) -> Patch:
    """Where the outputs at x go when the weights move along the gradients g_1, g_2 of those at the first two inputs.

    w = w_0 + s g_1 / |g_1|^2 + t g_2 / |g_2|^2 with s and t in `steps`: to first order, s changes the output at the
    first input by s, and t that at the second one by t.
    """
    if len(x) < 2:
        raise ValueError(f"the weights move along gradients at two inputs, got {len(x)}.")
    tangent, flat, at = network.tangent(w0, x), flatten(w0), torch.eye(len(x), dtype=x.dtype, device=x.device)
    gradients = [tangent.vjp(at[i].expand_as(tangent.f)) for i in range(2)]
    one, two = (g / g.square().sum(1, keepdim=True) for g in gradients)
    df = [tangent.jvp(direction) for direction in (one, two)]
    rows = [[network.apply(unflatten(flat + s * one + t * two, w0), x) for t in steps] for s in steps]
    planes = [[tangent.f + s * df[0] + t * df[1] for t in steps] for s in steps]
    return Patch(*(torch.stack([torch.stack(row, 1) for row in grid], 1) for grid in (rows, planes)))


def _two_inputs(setup: Setup) -> None:
    if setup.P_kernel < 2:
        raise ValueError(f"the weights move along gradients at two inputs, got P_kernel = {setup.P_kernel}.")


@observable(needs=_two_inputs)
def bend(trained: Trained) -> Tensor:
    """How far the manifold leaves its tangent plane within a step of one, in units of the way within the plane.

    rms of f_tilde - f_lin over that of f_lin - f_tilde_0, over the grid of `patch` at the initial weights and over the
    kernel set.
    """
    outputs, linear = patch(trained.network, trained.w0, trained.data.kernel.x)
    middle = len(STEPS) // 2
    moved = linear - linear[:, middle : middle + 1, middle : middle + 1]
    return _rms(outputs - linear) / _rms(moved)


def _rms(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(1).sqrt()
