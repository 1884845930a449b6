"""The tangent kernel: by layers against automatic differentiation, and against its limit of infinite width."""

import math

import pytest
import torch

from lazyjam.activations import ACTIVATIONS
from lazyjam.flow import FITTED, gradient_flow
from lazyjam.kernels import features, hard_margin, kernel_flow, linearise, ntk, relative_change
from lazyjam.networks import from_function, fully_connected
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


# linearised networks and kernel methods ------------------------------------------------------------------------------


def problem(alpha: float):
    network = fully_connected(4, 20, 2)
    return network, draw(network, 1), (normal(15, 4), normal(15, seed=2).sign()), torch.tensor([alpha]).double()


def test_linearised_is_the_network_to_first_order():
    network, w0, (x, _), _ = problem(1.0)
    linear = linearise(network, w0)
    step = {name: normal(*value.shape, seed=i) for i, (name, value) in enumerate(w0.items())}
    moved = [{name: w0[name] + s * step[name] for name in w0} for s in (0.0, 1e-4, 2e-4)]
    f = [linear.apply(w, x) for w in moved]
    assert torch.equal(f[0], network.apply(w0, x))
    torch.testing.assert_close(f[2] - f[1], f[1] - f[0], rtol=1e-9, atol=1e-13)  # nothing of second order
    assert 1e-9 < float((network.apply(moved[1], x) - f[1]).abs().max()) < 1e-5
    torch.testing.assert_close(ntk(linear, moved[2], x), ntk(network, w0, x), rtol=1e-10, atol=1e-12)
    tangent = linear.tangent({name: torch.cat([moved[1][name], moved[2][name]]) for name in w0}, x)
    assert tangent.f.shape == (2, 15) and torch.equal(tangent.f, torch.cat(f[1:]))
    assert not tangent.hessian(0, x[:, 0], torch.arange(15)).any()


def end(flow):
    *_, last = flow
    return last


def test_a_network_becomes_its_linearisation_as_one_over_alpha():
    off = []
    for alpha in (30.0, 300.0):
        network, w0, data, scale = problem(alpha)
        both = (network, linearise(network, w0))
        one, two = (end(gradient_flow(net, w0, data, "soft_hinge", scale, tol=1e-4)) for net in both)
        assert one.state.tolist() == two.state.tolist() == [FITTED]
        off.append(float((one.f - two.f).norm() / two.f.norm()))
    assert off[0] / off[1] == pytest.approx(10, rel=0.3) and off[1] < 0.01


def test_kernel_flow_is_the_flow_of_the_linearised_network():
    network, w0, (x, y), alpha = problem(3.0)
    x_test = normal(9, 4, seed=5)
    K, K_test = ntk(network, w0, x)[0], ntk(network, w0, x_test, x)[0]
    phi, phi_test = features(K, K_test)
    torch.testing.assert_close(phi @ phi.T, K, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(phi_test @ phi.T, K_test, rtol=1e-9, atol=1e-9)
    linear = linearise(network, w0)
    how = dict(tol=1e-4, t_max=20.0)
    net = end(gradient_flow(linear, w0, (x, y), "soft_hinge", alpha, **how))
    kernel = end(kernel_flow(phi, y, "soft_hinge", **how))
    torch.testing.assert_close(kernel.f, net.f, rtol=0, atol=1e-3)
    w = unflatten(net.w, w0)
    at_test = alpha * (linear.apply(w, x_test) - linear.apply(w0, x_test))
    torch.testing.assert_close(kernel.w @ phi_test.T, at_test, rtol=0, atol=3e-3)
    steps = [end(flow).f for flow in (
        gradient_flow(linear, w0, (x, y), "soft_hinge", alpha, method="euler", first_dt=torch.tensor([1e-3]).double()),
        kernel_flow(phi, y, "soft_hinge", method="euler", first_dt=torch.tensor([1e-3]).double()),
    )]  # fmt: skip
    torch.testing.assert_close(*steps, rtol=0, atol=1e-6)  # the same steps, in weights or in functions
    exact = y - torch.linalg.matrix_exp(-20.0 * K / 15) @ y  # f' = (K / P) (y - f)
    squared = end(kernel_flow(phi, y, "squared", **how))
    torch.testing.assert_close(squared.f[0], exact, rtol=0, atol=1e-3)
    with pytest.raises(ValueError, match="two patterns the same"):
        features(K - 2 * torch.eye(15), K_test)


def test_the_hard_margin_is_reached_with_the_least_norm():
    x, y = normal(30, 3), normal(30, seed=2).sign()
    K = torch.exp(-torch.cdist(x, x) / 2)
    machine = hard_margin(K, y)
    f = machine(K[:, machine.support])
    assert float((y * f).min()) == pytest.approx(1, abs=1e-3)
    a = torch.linalg.solve(K, f - machine.offset)  # without the offset
    assert float((y * a).min()) > -1e-3 and abs(float(a.sum())) < 1e-3 * float(a.abs().sum())
    assert float(((y * f - 1) * (y * a)).abs().max()) < 1e-2 * float(a.abs().max())  # who pushes, touches
