"""Observables of the lazy regime: how far a trained net went from its linearisation, and why (Sections 1.3 and 4)."""

import torch
from torch import Tensor

from .kernels import ntk
from .layered import LayeredTangent
from .losses import LOSSES
from .observables import Observable, decided, error_of, observable
from .setups import Trained, check_flow
from .tangents import flatten
from .training import train
from .types import Inputs, Outputs, Params


def layers(trained: Trained, w: Params, x: Inputs) -> LayeredTangent:
    """The net at weights w on inputs x, layer by layer. Raises ValueError for one that is not fully connected."""
    tangent = trained.network.tangent(w, x)
    if not isinstance(tangent, LayeredTangent):
        architecture = trained.setup.architecture
        raise ValueError(f"pre-activations are measured layer by layer in fully connected nets, got {architecture!r}.")
    return tangent


def _rms(values: Tensor) -> Tensor:
    """Over patterns and neurons, per run."""
    return values.square().flatten(1).mean(1).sqrt()


@observable(dims={"layer": lambda setup: setup.L})
def preactivation_change(trained: Trained) -> Tensor:
    """rms of a(end) - a(0) over that of a(0), for the neurons of each hidden layer on the kernel set."""
    z0, z = (layers(trained, w, trained.data.kernel.x).preactivations for w in (trained.w0, trained.w))
    changes = [_rms(now - start) / _rms(start) for now, start in zip(z, z0, strict=True)]
    return decided(trained, torch.stack(changes, dim=1))


@observable(dims={"layer": lambda setup: setup.L})
def output_slope(trained: Trained) -> Tensor:
    """rms of df / da at the initial weights, over the neurons of each hidden layer and the kernel set (Section 4)."""
    slopes = layers(trained, trained.w0, trained.data.kernel.x).output_slopes
    return trained.alpha[:, None] * torch.stack([_rms(slope) for slope in slopes], dim=1)


def linearised(trained: Trained, x: Inputs) -> Outputs:
    """f_lin(x) = alpha grad f_tilde(w_0) . (w - w_0): the predictor to first order in the change of the weights."""
    start = trained.network.tangent(trained.w0, x)
    return trained.alpha[:, None] * start.jvp(flatten(trained.w) - flatten(trained.w0))


@observable()
def linear_residual(trained: Trained) -> Tensor:
    """||f - f_lin|| / ||f|| on the test set: what bends on the way."""
    f, linear = trained.f_test, linearised(trained, trained.data.test.x)
    return decided(trained, _rms(f - linear) / _rms(f))


@observable()
def first_step_residual(trained: Trained) -> Tensor:
    """||f - f_1|| / ||f_1|| on the test set of a run that was stopped early: f_1 is Eq. 5 for one step from the start.

    f_1(x) = (t / P) sum_mu Theta_0(x, x_mu) y_mu l'(Delta = 1).
    """
    x, y = trained.data.train
    slopes = y * LOSSES[trained.setup.loss].slope(torch.ones_like(y))
    one = trained.t[:, None] * (ntk(trained.network, trained.w0, trained.data.test.x, x) @ slopes) / len(y)
    return decided(trained, _rms(trained.f_test - one) / _rms(one))


@observable(dims={"parity": 2})
def kernel_parity(trained: Trained) -> Tensor:
    """The change of the kernel in units of ||Theta_0||: what turns around with the labels, and what does not.

    The odd and the even part under y -> -y of Theta(end) - Theta_0 on the kernel set. The same nets are trained once
    more, by the default method, with their last layer negated: that is training them on the other labels, if there are
    no biases.
    """
    last = f"W{trained.setup.L + 1}"
    if trained.setup.bias:
        raise ValueError("labels are turned around by negating the last layer, of nets without biases, got bias=True.")
    other = train(trained.setups, device=str(trained.alpha.device), init=lambda w: {**w, last: -w[last]})
    x = trained.data.kernel.x
    start, one, two = (ntk(trained.network, w, x) for w in (trained.w0, trained.w, other.w))
    parts = torch.stack([_rms(part) / _rms(start) for part in ((one - two) / 2, (one + two) / 2 - start)], dim=1)
    return decided(other, decided(trained, parts))


@observable(needs=check_flow)
def kernel_residual(trained: Trained) -> Tensor:
    """||f - f_K|| / ||f_K|| on the test set, f_K from gradient flow with the kernel of the initial weights."""
    return decided(trained, _rms(trained.f_test - trained.f_frozen) / _rms(trained.f_frozen))


@observable(needs=check_flow)
def kernel_error(trained: Trained) -> Tensor:
    """Test error of gradient flow with the kernel of the initial weights; NaN where that flow came to no end."""
    return error_of(trained, trained.f_frozen)


@observable(needs=check_flow)
def end_kernel_error(trained: Trained) -> Tensor:
    """Test error of gradient flow with the kernel of the last weights, frozen; NaN where that flow came to no end."""
    return decided(trained, error_of(trained, trained.by_kernel(trained.w)))


LINEARITY: tuple[Observable, ...] = (preactivation_change, linear_residual, kernel_residual, kernel_error)
"""What a run is asked about its own linearisation. Fully connected nets only."""
