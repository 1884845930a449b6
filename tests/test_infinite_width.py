"""Nets as they become wide: against the limit in closed form, and a manifold against a plane and a parabola."""

import math

import pytest
import torch

from lazyjam import Setup, sweep
from lazyjam.infinite_width import STEPS, bend, distance_to_limit, outputs_at_start, patch
from lazyjam.kernels import infinite_width, ntk
from lazyjam.networks import from_function, fully_connected
from lazyjam.tangents import stack

NET = Setup(dataset="teacher", preprocessing="none", d=4, P=2, P_test=2, P_kernel=12, activation="relu",
            dynamics="none")  # fmt: skip


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draws(network, n: int) -> dict[str, torch.Tensor]:
    return stack([network.init(torch.Generator().manual_seed(seed)) for seed in range(n)])


@pytest.mark.parametrize("L, bias", [(1, False), (1, True)])
def test_one_layer_has_its_limit_on_average_at_any_width(L, bias):
    x, x2 = normal(6, 3), normal(5, 3, seed=2)
    network = fully_connected(3, 200, L, "relu", bias, float(bias))
    w, limit = draws(network, 400), infinite_width(x, x2, L, bias)
    f, f2 = network.apply(w, x), network.apply(w, x2)
    for samples, exact in ((ntk(network, w, x, x2), limit.tangent), (f[:, :, None] * f2[:, None], limit.covariance)):
        error = samples.std(0) / 20
        assert ((samples.mean(0) - exact).abs() < 4 * error + 1e-12).all()
    assert float((ntk(network, w, x).std(0) / 20 / ntk(network, w, x).mean(0)).max()) < 0.02


@pytest.mark.parametrize("bias", [False, True])
def test_deep_nets_come_to_their_limit_as_one_over_the_width(bias):
    """Here of the mean kernel. A single one comes there as one over the root."""
    x, off = normal(6, 3), []
    for h in (5, 40):
        network = fully_connected(3, h, 3, "relu", bias, float(bias))
        limit = infinite_width(x, x, 3, bias).tangent
        off.append(float((ntk(network, draws(network, 2000), x).mean(0) - limit).norm() / limit.norm()))
    assert off[1] < 0.05 and off[1] < off[0] / 4


def test_the_limit_on_the_diagonal():
    """With |x|^2 = d every covariance is one, and each of the L + 1 layers adds one to the kernel."""
    x = torch.nn.functional.normalize(normal(5, 7)) * math.sqrt(7)
    for L in (1, 2, 5):
        limit = infinite_width(x, x, L)
        torch.testing.assert_close(limit.covariance.diagonal(), torch.ones(5).double(), rtol=1e-7, atol=0)
        torch.testing.assert_close(limit.tangent.diagonal(), torch.full((5,), L + 1.0).double(), rtol=1e-7, atol=0)


def test_outputs_are_those_of_the_nets_in_their_order():
    network, x = fully_connected(3, 5, 2, "relu"), normal(4, 3)
    f = outputs_at_start(network, x, 250, torch.Generator().manual_seed(3))
    again = torch.Generator().manual_seed(3)
    one_by_one = [network.apply(stack([network.init(again)]), x)[0] for _ in range(250)]
    torch.testing.assert_close(f, torch.stack(one_by_one), rtol=1e-12, atol=1e-12)


def test_a_linear_model_is_its_tangent_plane_and_its_gradients_move_what_they_should():
    x = normal(5, 3)
    linear = from_function(lambda generator: {"w": normal(3)}, lambda w, x: w["w"] @ x.T)
    outputs, plane = patch(linear, {"w": normal(2, 3)}, x)
    torch.testing.assert_close(outputs, plane, rtol=1e-12, atol=1e-12)
    first = outputs[:, :, 2, 0] - outputs[:, 2, 2, 0, None]
    torch.testing.assert_close(first, torch.tensor(STEPS).double().expand(2, -1), rtol=1e-12, atol=1e-12)
    second = outputs[:, 2, :, 1] - outputs[:, 2, 2, 1, None]
    torch.testing.assert_close(second, torch.tensor(STEPS).double().expand(2, -1), rtol=1e-12, atol=1e-12)
    with pytest.raises(ValueError, match="two inputs, got 1"):
        patch(linear, {"w": normal(2, 3)}, x[:1])


def test_a_square_leaves_its_plane_by_the_square_of_the_step():
    """f = (w x)^2 / 2 with one weight: a step of s in f is one of s / (w x^2) in w, and leaves s^2 / (2 w^2 x^2)."""
    x = torch.tensor([[1.0], [1.0]]).double()
    square = from_function(lambda generator: {"w": torch.ones(1).double()}, lambda w, x: (w["w"] @ x.T).square() / 2)
    outputs, plane = patch(square, {"w": torch.tensor([[3.0]]).double()}, x, (-1.0, 0.0, 1.0))
    s, t = torch.meshgrid(torch.tensor([-1.0, 0, 1]).double(), torch.tensor([-1.0, 0, 1]).double(), indexing="ij")
    torch.testing.assert_close((outputs - plane)[0, :, :, 0], (s + t).square() / 18, rtol=1e-12, atol=1e-12)


def test_wider_nets_are_flatter_and_nearer_to_their_limit():
    table = sweep(NET, [bend, distance_to_limit], None, h=[16, 256], seed=range(10), progress=False).mean("seed")
    assert float(table.bend[1]) < float(table.bend[0]) / 4
    assert float(table.distance_to_limit[0] / table.distance_to_limit[1]) == pytest.approx(4, rel=0.4)


def test_questions_that_cannot_be_asked():
    with pytest.raises(ValueError, match="known of 'fc' nets of 'relu', .* got 'fc' with 'tanh'"):
        sweep(NET.replace(activation="tanh"), [distance_to_limit], None, seed=[0])
    with pytest.raises(ValueError, match="got P_kernel = 1"):
        sweep(NET.replace(P_kernel=1), [bend], None, seed=[0])
