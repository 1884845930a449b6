"""The tangent kernel: by layers against automatic differentiation, and against its limit of infinite width."""

import math

import pytest
import torch

from lazyjam.kernels import ntk, relative_change
from lazyjam.networks import ACTIVATIONS, from_function, fully_connected
from lazyjam.tangents import flatten, stack, unflatten


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw(network, runs: int) -> dict[str, torch.Tensor]:
    return stack([network.init(torch.Generator().manual_seed(seed)) for seed in range(runs)])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("L, bias", [(1, True), (2, False), (3, True)])
def test_kernel_between_two_sets_is_the_product_of_jacobians(activation, L, bias):
    network = fully_connected(4, 6, L, activation, bias)
    w, x, x2 = draw(network, 3), normal(5, 4), normal(8, 4, seed=2)
    generic = from_function(network.init, network.apply)
    for run in range(3):
        one = {name: value[run : run + 1] for name, value in w.items()}

        def outputs(flat, at, one=one):
            return network.apply(unflatten(flat[None], one), at)[0]

        J, J2 = (torch.func.jacrev(outputs)(flatten(one)[0], at) for at in (x, x2))
        for net in (network, generic):
            torch.testing.assert_close(ntk(net, w, x, x2)[run], J @ J2.T, rtol=1e-10, atol=1e-10)
            torch.testing.assert_close(ntk(net, w, x)[run], J @ J.T, rtol=1e-10, atol=1e-10)


def test_kernel_is_symmetric_and_positive():
    network = fully_connected(4, 30, 2)
    theta = ntk(network, draw(network, 2), normal(20, 4))
    torch.testing.assert_close(theta, theta.mT, rtol=1e-13, atol=1e-13)
    assert torch.linalg.eigvalsh(theta).min() > 0


def test_kernel_of_one_relu_layer_is_the_arc_cosine_kernel():
    """E Theta = kappa_1(rho) + rho kappa_0(rho) on the sphere |x|^2 = d (Cho and Saul 2009), exact at any width."""
    d, angles = 2, torch.linspace(0, math.pi, 7, dtype=torch.float64)
    x = math.sqrt(d) * torch.stack([angles.cos(), angles.sin()], dim=1)
    network = fully_connected(d, 200, 1, "relu")
    samples = ntk(network, draw(network, 400), x)[:, 0]
    rho = angles.cos()
    kappa_0 = (math.pi - angles) / math.pi
    kappa_1 = (angles.sin() + (math.pi - angles) * rho) / math.pi
    error = samples.std(0) / math.sqrt(len(samples))
    assert ((samples.mean(0) - kappa_1 - rho * kappa_0).abs() < 4 * error + 1e-12).all()
    assert error.max() < 0.02


def test_kernel_fluctuates_as_one_over_the_root_of_the_width():
    x, spread = normal(1, 5), []
    for h in (25, 400):
        network = fully_connected(5, h, 1)
        theta = ntk(network, draw(network, 400), x).flatten()
        spread.append((theta.std() / theta.mean()).item())
    assert spread[0] / spread[1] == pytest.approx(4, rel=0.3)


def test_relative_change_is_a_ratio_of_frobenius_norms_run_by_run():
    start, change = normal(3, 4, 4), normal(3, 4, 4, seed=2)
    expected = [math.sqrt((c**2).sum()) / math.sqrt((s**2).sum()) for c, s in zip(change, start, strict=True)]
    torch.testing.assert_close(relative_change(start + change, start), torch.tensor(expected, dtype=torch.float64))
    assert relative_change(start, start).eq(0).all()
    torch.testing.assert_close(relative_change(3 * start, start), torch.full((3,), 2.0, dtype=torch.float64))
