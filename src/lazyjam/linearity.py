"""Observables of the lazy regime: how far a trained net went from its linearisation, and why (Sections 1.3 and 4)."""

import torch
from torch import Tensor

from .layered import LayeredTangent
from .observables import Observable, observable
from .setups import Trained
from .tangents import flatten
from .types import Params


def _layers(trained: Trained, w: Params) -> LayeredTangent:
    """The net at weights w on the kernel set, layer by layer."""
    tangent = trained.network.tangent(w, trained.data.kernel.x)
    if not isinstance(tangent, LayeredTangent):
        architecture = trained.setup.architecture
        raise ValueError(f"pre-activations are measured layer by layer in fully connected nets, got {architecture!r}.")
    return tangent


def _rms(values: Tensor) -> Tensor:
    """Over patterns and neurons, per run."""
    return values.square().flatten(1).mean(1).sqrt()


@observable(dims=("layer",))
def preactivation_change(trained: Trained) -> Tensor:
    """rms of a(end) - a(0) over that of a(0), for the neurons of each hidden layer on the kernel set."""
    z0, z = (_layers(trained, w).preactivations for w in (trained.w0, trained.w))
    return torch.stack([_rms(now - start) / _rms(start) for now, start in zip(z, z0, strict=True)], dim=1)


@observable(dims=("layer",))
def output_slope(trained: Trained) -> Tensor:
    """rms of df / da at the initial weights, over the neurons of each hidden layer and the kernel set (Section 4)."""
    slopes = _layers(trained, trained.w0).output_slopes
    return trained.alpha[:, None] * torch.stack([_rms(slope) for slope in slopes], dim=1)


@observable()
def linear_residual(trained: Trained) -> Tensor:
    """||f - f_lin|| / ||f|| on the test set, f_lin = alpha grad f_tilde(w_0) . (w - w_0): what bends on the way."""
    start = trained.network.tangent(trained.w0, trained.data.test.x)
    linear = trained.alpha[:, None] * start.jvp(flatten(trained.w) - flatten(trained.w0))
    return _rms(trained.f_test - linear) / _rms(trained.f_test)


@observable()
def kernel_residual(trained: Trained) -> Tensor:
    """||f - f_K|| / ||f_K|| on the test set, f_K from gradient flow with the kernel of the initial weights."""
    return _rms(trained.f_test - trained.f_frozen) / _rms(trained.f_frozen)


@observable()
def kernel_error(trained: Trained) -> Tensor:
    """Test error of gradient flow with the kernel of the initial weights."""
    return (trained.data.test.y * trained.f_frozen <= 0).double().mean(1)


LINEARITY: tuple[Observable, ...] = (preactivation_change, output_slope, linear_residual, kernel_residual, kernel_error)
"""What a run is asked about its own linearisation. Fully connected nets only."""
