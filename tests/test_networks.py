"""Networks: activations against independent integrals, outputs against Eqs. 1-3 written as loops."""

import math

import numpy as np
import pytest
import torch

from lazyjam.networks import ACTIVATIONS, NETWORKS, from_function, fully_connected, second_moment
from lazyjam.tangents import AutogradTangent, stack

# independent of the library, and of torch
PHI = {
    "swish10": lambda u: u / (1 + np.exp(-10 * u)),
    "softplus5": lambda u: np.logaddexp(0, 5 * u) / 5,
    "relu": lambda u: np.maximum(u, 0),
    "tanh": np.tanh,
}


def normal_average(function) -> float:
    """E[function(z)]: the trapezoidal rule, whose error is exponentially small for what decays."""
    z = np.linspace(-12, 12, 24_001)
    return float(np.sum(function(z) * np.exp(-z * z / 2)) * (z[1] - z[0]) / math.sqrt(2 * math.pi))


def draw(network, runs: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return stack([network.init(generator) for _ in range(runs)])


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("activation", ["swish10", "softplus5", "tanh"])
def test_second_moment_of_smooth_activations(activation):
    assert second_moment(activation) == pytest.approx(normal_average(lambda z: PHI[activation](z) ** 2), rel=1e-11)


def test_second_moment_of_relu_is_one_half():
    assert second_moment("relu") == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activations_of_a_net_have_unit_second_moment(activation):
    network = fully_connected(1, 1, 1, activation)
    one = {"W1": torch.ones(1, 1, 1, dtype=torch.float64), "W2": torch.ones(1, 1, 1, dtype=torch.float64)}

    def square(z):
        return network.apply(one, torch.from_numpy(z)[:, None])[0].numpy() ** 2

    assert normal_average(square) == pytest.approx(1, abs=1e-6 if activation == "relu" else 1e-11)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_slope_and_bend_are_derivatives(activation):
    u = torch.linspace(-4, 4, 200, dtype=torch.float64).requires_grad_()  # 0 is not among them
    value, slope = ACTIVATIONS[activation].both(u)
    assert torch.allclose(value, torch.from_numpy(PHI[activation](u.detach().numpy())), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(slope.detach(), torch.autograd.grad(value.sum(), u)[0], rtol=1e-10, atol=1e-13)
    if activation != "relu":
        slope = ACTIVATIONS[activation].both(u)[1]
        bend = torch.autograd.grad(slope.sum(), u)[0]
        torch.testing.assert_close(ACTIVATIONS[activation].bend(u.detach()), bend, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("L", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
def test_number_of_parameters(L, bias):
    d, h = 5, 7
    w = fully_connected(d, h, L, bias=bias).init(torch.Generator())
    assert sum(value.numel() for value in w.values()) == d * h + (L - 1) * h**2 + h + bias * (L * h + 1)


def by_loops(w, x, L: int, activation: str, bias: bool) -> float:
    """Eqs. 1-3 for one net and one pattern, sum by sum."""
    sigma = 1 / math.sqrt(normal_average(lambda z: PHI[activation](z) ** 2)) if activation != "relu" else math.sqrt(2)
    a = [float(value) for value in x]
    for layer in range(1, L + 2):
        W, z = w[f"W{layer}"], []
        for i in range(len(W)):
            total = sum(float(W[i, j]) * a[j] for j in range(len(a))) / math.sqrt(len(a))
            z.append(total + (float(w[f"b{layer}"][i]) if bias else 0.0))
        a = [sigma * float(PHI[activation](value)) for value in z]
    return z[0]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("L, bias", [(1, False), (2, True), (3, False)])
def test_output_is_that_of_the_equations(activation, L, bias):
    network = fully_connected(3, 4, L, activation, bias)
    w, x = draw(network, 2), normal(5, 3)
    w = {name: normal(*value.shape) if name[0] == "b" else value for name, value in w.items()}  # zero at the start
    f = network.apply(w, x)
    for run in range(2):
        one = {name: value[run] for name, value in w.items()}
        expected = torch.tensor([by_loops(one, row, L, activation, bias) for row in x], dtype=torch.float64)
        torch.testing.assert_close(f[run], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("L", [1, 2, 3])
@pytest.mark.parametrize("h", [8, 128])
def test_outputs_are_of_order_one_at_every_width_and_depth(L, h):
    """On the sphere |x|^2 = d the output of an infinitely wide net at its initialisation has variance one."""
    runs, d = 400, 6
    x = normal(4, d)
    x = x * math.sqrt(d) / x.norm(dim=1, keepdim=True)
    network = fully_connected(d, h, L)
    second = network.apply(draw(network, runs), x).square().mean().item()
    assert second == pytest.approx(1, rel=0.35 if h == 8 else 0.2)


def test_initial_weights_are_normal_and_follow_from_the_generator_alone():
    network = fully_connected(10, 100, 2, bias=True)
    w, again = (network.init(torch.Generator().manual_seed(3)) for _ in range(2))
    torch.manual_seed(0)
    assert list(w) == ["W1", "b1", "W2", "b2", "W3", "b3"]
    assert all(torch.equal(w[name], again[name]) and w[name].dtype == torch.float64 for name in w)
    assert not torch.equal(network.init(torch.Generator().manual_seed(4))["W1"], w["W1"])
    assert all((value == 0).all() for name, value in w.items() if name[0] == "b")
    everything = torch.cat([value.flatten() for name, value in w.items() if name[0] == "W"])
    assert abs(everything.mean()) < 4 / math.sqrt(len(everything))
    assert abs(everything.square().mean() - 1) < 4 * math.sqrt(2 / len(everything))


def test_runs_of_a_batch_do_not_mix():
    network, x = fully_connected(3, 5, 2, bias=True), normal(4, 3)
    w = draw(network, 3)
    for run in range(3):
        alone = network.apply({name: value[run : run + 1] for name, value in w.items()}, x)
        torch.testing.assert_close(alone[0], network.apply(w, x)[run], rtol=1e-13, atol=1e-14)


def test_a_network_of_ones_own():
    network = from_function(
        lambda generator: {"a": torch.randn(3, generator=generator, dtype=torch.float64)}, lambda w, x: w["a"] @ x.T
    )
    w, x = draw(network, 2), normal(4, 3)
    tangent = network.tangent(w, x)
    assert isinstance(tangent, AutogradTangent)
    torch.testing.assert_close(tangent.f, torch.einsum("rj,pj->rp", w["a"], x))
    torch.testing.assert_close(tangent.jacobian(1, torch.arange(4)), x)


def test_networks_by_name():
    assert NETWORKS["fc"] is fully_connected
