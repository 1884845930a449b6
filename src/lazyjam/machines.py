"""Observables of the data of a setup: what kernel methods make of them. The net plays no part: `dynamics="none"`."""

import torch
from jaxtyping import Float
from torch import Tensor

from .kernels import hard_margin, infinite_width, interpolated, laplace
from .observables import observable
from .setups import AT_ONCE, Trained
from .stripe import informative, squeeze
from .types import Inputs

FACTORS = (1.0, 1.5, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0, 30.0)
"""By these the uninformative directions are divided in `squeezed_machine_error`."""


def _infinite_ntk(x: Inputs, x2: Float[Tensor, "Q d"]) -> Tensor:
    return infinite_width(x, x2, 1, bias=True).tangent


def _same(trained: Trained, value: Tensor) -> Tensor:
    """Once for every run of the batch, which all have the same data."""
    return value.expand(len(trained.setups), *value.shape).clone()


def _machine_error(trained: Trained, factor: float, kernel=laplace) -> Tensor:
    """Test error of the hard-margin machine after the uninformative directions were divided by the factor."""
    train, test, scale = trained.data.train, trained.data.test, 1.0
    if factor != 1:
        scale = squeeze(trained.setup, train.x.new_tensor([factor]))[0]
    x = train.x * scale
    machine = hard_margin(kernel(x, x), train.y)
    support = x[machine.support]
    f = torch.cat([machine(kernel(part * scale, support)) for part in test.x.split(AT_ONCE)])
    return (f * test.y <= 0).double().mean()


@observable()
def machine_error(trained: Trained) -> Tensor:
    """Test error of the support vector machine without slack, with a wide Laplace kernel."""
    return _same(trained, _machine_error(trained, 1.0))


@observable()
def ntk_machine_error(trained: Trained) -> Tensor:
    """The same with the tangent kernel of an infinitely wide ReLU net of one hidden layer."""
    return _same(trained, _machine_error(trained, 1.0, _infinite_ntk))


@observable(dims={"factor": len(FACTORS)}, needs=informative)
def squeezed_machine_error(trained: Trained) -> Tensor:
    """The same, Laplace, with the uninformative directions divided by FACTORS."""
    return _same(trained, torch.stack([_machine_error(trained, factor) for factor in FACTORS]))


@observable(needs=informative)
def root_machine_error(trained: Trained) -> Tensor:
    """The same, Laplace, with the uninformative directions divided by sqrt(P)."""
    return _same(trained, _machine_error(trained, trained.setup.P**0.5))


def _regression(trained: Trained, kernel) -> Tensor:
    (x, y), x_test = trained.data.train, trained.data.test.x
    K = kernel(x, x)
    return interpolated(K, y, kernel(x_test, x))


@observable(dims={"measure": 2})
def regression(trained: Trained) -> Tensor:
    """Kernel regression of the labels without a ridge, wide Laplace kernel: mean square error, and test error."""
    f, y = _regression(trained, laplace), trained.data.test.y
    return _same(trained, torch.stack([(f - y).square().mean(), (f * y <= 0).double().mean()]))


@observable()
def kernel_agreement(trained: Trained) -> Tensor:
    """Correlation over the test set of the predictions of `regression` and of that with the infinite tangent kernel."""
    f, f2 = (_regression(trained, kernel) for kernel in (laplace, _infinite_ntk))
    return _same(trained, torch.corrcoef(torch.stack([f, f2]))[0, 1])


def two_nn(x: Inputs) -> float:
    """The intrinsic dimension of points x (P, d) by their two nearest neighbours, r_1 and r_2 away (Facco et al. 2017).

    The chance of a ratio r_2 / r_1 above mu is mu^(-dimension): a line through the origin is fitted to its logarithm,
    the largest tenth of the ratios left out, as the authors do. Points that coincide are left out.
    """
    from sklearn.neighbors import NearestNeighbors  # here, because it costs a second of every start

    points = x.cpu().numpy()
    distances = NearestNeighbors(n_neighbors=3, algorithm="brute").fit(points).kneighbors(points)[0]
    near = torch.from_numpy(distances[distances[:, 1] > 0])
    log_mu = (near[:, 2] / near[:, 1]).log().sort().values
    P = len(log_mu)
    kept = int(0.9 * P)
    log_mu, rest = log_mu[:kept], -torch.log1p(-torch.arange(1, kept + 1, dtype=x.dtype) / P)
    return float((log_mu @ rest) / (log_mu @ log_mu))


@observable()
def intrinsic_dimension(trained: Trained) -> Tensor:
    """Of the training inputs, by `two_nn`."""
    return _same(trained, torch.tensor(two_nn(trained.data.train.x), dtype=torch.float64))


@observable()
def neighbour_distance(trained: Trained) -> Tensor:
    """The mean distance from a test input to the nearest training input."""
    x = trained.data.train.x
    nearest = [torch.cdist(part, x).amin(1) for part in trained.data.test.x.split(AT_ONCE)]
    return _same(trained, torch.cat(nearest).mean())
