"""Tangents: everything that the layerwise formulas give, against automatic differentiation."""

import math

import pytest
import torch
import torch.nn.functional as F

from lazyjam.activations import ACTIVATIONS
from lazyjam.networks import fully_connected
from lazyjam.tangents import AutogradTangent, flatten, stack, unflatten

R, P, D = 3, 7, 4
CLOSE = dict(rtol=1e-10, atol=1e-10)
EVERY = [(L, bias, activation) for L in (1, 2, 3) for bias in (False, True) for activation in ACTIVATIONS]


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pair(L: int, bias: bool, activation: str):
    """The same batch of networks twice: by layers, and by automatic differentiation."""
    network = fully_connected(D, 5, L, activation, bias)
    generator = torch.Generator().manual_seed(10 * L + bias)
    w, x = stack([network.init(generator) for _ in range(R)]), normal(P, D)
    w = {name: normal(*value.shape) if name[0] == "b" else value for name, value in w.items()}  # zero at the start
    return network, w, x, network.tangent(w, x), AutogradTangent(network.apply, w, x)


def jacobian(network, w, x, run: int) -> torch.Tensor:
    """(P, N) by torch.func.jacrev, of one run alone."""
    one = {name: value[run : run + 1] for name, value in w.items()}
    rows = torch.func.jacrev(lambda flat: network.apply(unflatten(flat[None], one), x)[0])
    return rows(flatten(one)[0])


@pytest.mark.parametrize("L, bias, activation", EVERY)
def test_products_with_the_jacobian(L, bias, activation):
    network, w, x, layered, autograd = pair(L, bias, activation)
    J = torch.stack([jacobian(network, w, x, run) for run in range(R)])
    c, v = normal(R, P, seed=2), normal(R, J.shape[2], seed=3)
    for tangent in (layered, autograd):
        torch.testing.assert_close(tangent.f, network.apply(w, x), rtol=1e-14, atol=1e-14)
        torch.testing.assert_close(tangent.vjp(c), torch.einsum("rp,rpn->rn", c, J), **CLOSE)
        torch.testing.assert_close(tangent.jvp(v), torch.einsum("rpn,rn->rp", J, v), **CLOSE)
        torch.testing.assert_close(tangent.diagonal(), J.square().sum(-1), **CLOSE)
        torch.testing.assert_close(tangent.vjp(c), torch.einsum("rp,rpn->rn", c, J), **CLOSE)  # now from what is kept


@pytest.mark.parametrize("L, bias, activation", EVERY)
def test_rows_of_the_jacobian_and_of_the_kernel(L, bias, activation):
    network, w, x, layered, autograd = pair(L, bias, activation)
    for run, rows in ((0, torch.arange(P)), (R - 1, torch.tensor([5, 1, 4])), (1, torch.tensor([], dtype=torch.long))):
        J = jacobian(network, w, x, run)[rows]
        for tangent in (layered, autograd):
            torch.testing.assert_close(tangent.jacobian(run, rows), J, **CLOSE)
            torch.testing.assert_close(tangent.gram(run, rows), J @ J.T, **CLOSE)


@pytest.mark.parametrize("L, bias, activation", [case for case in EVERY if case[2] != "relu"])
def test_second_derivatives(L, bias, activation):
    network, w, x, layered, autograd = pair(L, bias, activation)
    c, rows = normal(P, seed=4), torch.tensor([6, 0, 3, 2])
    for run in (0, R - 1):
        one = {name: value[run : run + 1] for name, value in w.items()}

        def total(flat, one=one):
            return network.apply(unflatten(flat[None], one), x)[0, rows] @ c[rows]

        expected = torch.func.hessian(total)(flatten(one)[0])
        for tangent in (layered, autograd):
            torch.testing.assert_close(tangent.hessian(run, c, rows), expected, **CLOSE)
    every = torch.arange(R)[:, None]
    each = torch.stack([layered.hessian(run, c, rows) for run in range(R)])
    torch.testing.assert_close(layered.hessian(every, c.expand(R, -1), rows.expand(R, -1)), each, **CLOSE)


def test_second_derivatives_of_relu_away_from_its_kinks():
    network, w, x, layered, _ = pair(3, True, "relu")
    one, rows, c = {name: value[1:2] for name, value in w.items()}, torch.arange(P), normal(P, seed=4)
    flat, small = flatten(one)[0], 1e-6
    H = layered.hessian(1, c, rows)

    def slope(at):
        return network.tangent(unflatten(at[None], one), x).vjp(c[None])[0]

    for n in range(0, len(flat), 7):
        step = torch.zeros_like(flat).index_fill(0, torch.tensor([n]), small)
        torch.testing.assert_close(H[n], (slope(flat + step) - slope(flat - step)) / (2 * small), rtol=1e-6, atol=1e-7)


def test_velocities_are_second_differences_of_the_output():
    """J v is the derivative of f along v, by finite differences: the one check that shares nothing with autograd."""
    network, w, x, layered, _ = pair(2, True, "softplus5")
    flat, v, small = flatten(w), normal(R, flatten(w).shape[1], seed=5), 1e-5
    up, down = (network.apply(unflatten(flat + s * small * v, w), x) for s in (1, -1))
    torch.testing.assert_close(layered.jvp(v), (up - down) / (2 * small), rtol=1e-7, atol=1e-8)


def test_flatten_keeps_order_and_unflatten_undoes_it():
    w = {"a": normal(2, 3, 4), "b": normal(2, 5)}
    flat = flatten(w)
    assert flat.shape == (2, 17) and torch.equal(flat[1, :12], w["a"][1].flatten())
    back = unflatten(flat[:1], w)
    assert list(back) == ["a", "b"] and all(torch.equal(back[name], w[name][:1]) for name in w)


def test_layers_of_a_net_share_the_kernel_as_their_scale_says():
    """At |x|^2 = d every layer of a wide net adds of order one to the kernel: the sense of the 1/sqrt(fan-in)."""
    d, h = 6, 400
    network = fully_connected(d, h, 2, "tanh")
    w = stack([network.init(torch.Generator().manual_seed(seed)) for seed in range(4)])
    x = normal(5, d)
    x = x * math.sqrt(d) / x.norm(dim=1, keepdim=True)
    sizes = [value[0].numel() for value in w.values()]
    parts = network.tangent(w, x).jacobian(0, torch.arange(5)).split(sizes, dim=1)
    assert all(0.2 < part.square().sum(1).mean() < 5 for part in parts)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_tangent_can_be_differentiated(activation):
    """grad |J^T c|^2 / 2 = H J^T c, where H is the second derivative of c f_tilde."""
    network, w, x, layered, _ = pair(2, True, activation)
    one, c, rows = {name: value[:1] for name, value in w.items()}, normal(1, P, seed=4), torch.arange(P)

    def half_square(flat):
        return network.tangent(unflatten(flat, one), x).vjp(c).square().sum() / 2

    expected = layered.hessian(0, c[0], rows) @ layered.vjp(c.expand(R, -1))[0]
    torch.testing.assert_close(torch.func.grad(half_square)(flatten(one))[0], expected, **CLOSE)


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("kind", ["layer norm", "silu"])
def test_second_derivatives_by_autograd_are_those_of_differences(kind, enabled):
    """Forward over backward is wrong for the first and fails for the second without gradients (torch 2.13)."""
    bend = {"layer norm": lambda z, v: F.layer_norm(z, (5,), v, v), "silu": lambda z, v: F.silu(z) * v}[kind]

    def apply(w, x):
        return torch.stack([bend(x @ W, v) @ v for W, v in zip(w["W"], w["v"], strict=True)])

    w, x, c, rows = {"W": normal(1, D, 5), "v": normal(1, 5, seed=5)}, normal(P, D), normal(P, seed=4), torch.arange(P)
    v, small = normal(1, 5 * D + 5, seed=6), 1e-6
    with torch.set_grad_enabled(enabled):
        up, down = (AutogradTangent(apply, unflatten(flatten(w) + s * v, w), x).vjp(c[None]) for s in (small, -small))
        H = AutogradTangent(apply, w, x).hessian(0, c, rows)
    torch.testing.assert_close(H @ v[0], (up - down)[0] / (2 * small), rtol=1e-7, atol=1e-7)
