"""Networks: activations against independent integrals, outputs against Eqs. 1-3 written as loops."""

import math

import numpy as np
import pytest
import torch

from lazyjam import kernels, networks
from lazyjam.activations import ACTIVATIONS, second_moment
from lazyjam.kernels import ntk
from lazyjam.networks import NETWORKS, from_function, fully_connected
from lazyjam.tangents import AutogradTangent, StoredTangent, stack

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
    u, phi = torch.linspace(-40, 40, 200, dtype=torch.float64).requires_grad_(), ACTIVATIONS[activation]
    z, D = u.detach() / phi.gain, normal(200)  # 0 is not among them
    assert torch.allclose(phi(z), torch.from_numpy(PHI[activation](z.numpy())), rtol=1e-12, atol=1e-15)
    slope = torch.autograd.grad(phi.value(u).sum(), u, create_graph=True)[0]
    for enabled in (True, False):  # where there is a formula for each
        with torch.set_grad_enabled(enabled):
            pulled = phi.pull(D, u.detach(), phi.value(u).detach())
        torch.testing.assert_close(pulled, D * slope.detach(), rtol=1e-10, atol=1e-13)
    if activation != "relu":
        bend = torch.autograd.grad(slope.sum(), u)[0]
        torch.testing.assert_close(phi.bend(u.detach()), bend, rtol=1e-9, atol=1e-12)


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


@pytest.mark.parametrize("architecture", NETWORKS)
def test_biases_at_the_start(architecture):
    def draw(bias_std: float) -> dict[str, torch.Tensor]:
        return NETWORKS[architecture](81, 2000, 1, "relu", True, bias_std).init(torch.Generator().manual_seed(0))

    assert float(draw(0.0)["b1"].abs().max()) == 0
    assert float(draw(0.5)["b1"].std()) == pytest.approx(0.5, rel=0.1)
    torch.testing.assert_close(draw(1.0)["W1"], draw(0.0)["W1"])


# convolutional nets --------------------------------------------------------------------------------------------------


def by_hand(w: dict, x: torch.Tensor, channels: int, side: int, L: int, activation: str) -> torch.Tensor:
    """A convolutional net of one run with every sum written as one over windows (`unfold`), pattern by pattern."""
    phi, norm = ACTIVATIONS[activation], second_moment(activation)
    outputs = []
    for pattern in x:
        a = pattern.reshape(channels, side, side)
        for layer in range(1, L + 1):
            padded = torch.nn.functional.pad(a, (1, 1, 1, 1))
            windows = padded.unfold(1, 5, 1 + layer % 2).unfold(2, 5, 1 + layer % 2)  # (c, rows, columns, 5, 5)
            fan_in = windows.shape[0] * 25 * (1 if layer == 1 else norm)
            a = phi(torch.einsum("cijkl,hckl->hij", windows, w[f"W{layer}"]) / math.sqrt(fan_in))
        outputs.append(w[f"W{L + 1}"][0] @ a.mean((1, 2)) / math.sqrt(len(a) * norm))
    return torch.stack(outputs)


@pytest.mark.parametrize("d, channels, side, L", [(64, 1, 8, 2), (300, 3, 10, 2), (784, 1, 28, 4)])
def test_a_convolutional_net_is_the_sum_over_windows(d, channels, side, L):
    network = NETWORKS["cnn"](d, 3, L, "softplus5", False)
    runs = [network.init(torch.Generator().manual_seed(seed)) for seed in (0, 1)]
    assert {name: tuple(value.shape) for name, value in runs[0].items()} == {
        "W1": (3, channels, 5, 5), **{f"W{i}": (3, 3, 5, 5) for i in range(2, L + 1)}, f"W{L + 1}": (1, 3)
    }  # fmt: skip
    x = torch.randn(2, d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    f = network.apply(stack(runs), x)
    for run, w in enumerate(runs):
        torch.testing.assert_close(f[run], by_hand(w, x, channels, side, L, "softplus5"), rtol=1e-12, atol=1e-12)


def test_a_shift_of_the_image_hardly_matters_to_a_convolutional_net():
    """Away from the border, and by a multiple of the strides, the mean over pixels is the same."""
    image = torch.zeros(1, 28, 28, dtype=torch.float64)
    image[0, 8:12, 8:12] = torch.randn(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    network = NETWORKS["cnn"](784, 4, 1, "tanh", False)  # odd: nothing comes from the empty rest
    w = stack([network.init(torch.Generator().manual_seed(0))])
    moved = [torch.roll(image, (shift, shift), (1, 2)).reshape(1, 784) for shift in (0, 2, 6, 1)]
    f = [float(network.apply(w, x)[0, 0]) for x in moved]
    assert f[1] == pytest.approx(f[0], rel=1e-12) and f[2] == pytest.approx(f[0], rel=1e-12) and abs(f[3] - f[0]) > 1e-6


@pytest.mark.parametrize("d, h, L, bias", [(3072, 4, 4, False), (300, 3, 2, True), (64, 4, 1, True), (784, 2, 5, True)])
def test_the_stored_jacobian_of_a_convolutional_net_gives_the_products(d, h, L, bias):
    """Whole, and a product at a time; with strides that leave rows over, and biases."""
    network, generator = NETWORKS["cnn"](d, h, L, "swish10", bias), torch.Generator().manual_seed(1)
    w = {name: value + 0.1 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
         for name, value in stack([network.init(generator), network.init(generator)]).items()}  # fmt: skip
    x = torch.randn(9, d, generator=generator, dtype=torch.float64)
    one, two = network.tangent(w, x), AutogradTangent(network.apply, w, x)
    c, rows = torch.randn(2, len(x), generator=generator, dtype=torch.float64), torch.tensor([1, 4, len(x) - 1])
    v = torch.randn(two.vjp(c).shape, generator=generator, dtype=torch.float64)
    exact = dict(rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(one.f, network.apply(w, x), **exact)
    torch.testing.assert_close(one.vjp(c), two.vjp(c), **exact)
    torch.testing.assert_close(one.jvp(v), two.jvp(v), **exact)
    torch.testing.assert_close(one.diagonal(), two.diagonal(), **exact)
    torch.testing.assert_close(one.jacobian(1, rows), two.jacobian(1, rows), **exact)
    torch.testing.assert_close(one.gram(1, rows), two.gram(1, rows), **exact)
    J = two.jacobians(torch.arange(len(x)))
    torch.testing.assert_close(ntk(network, w, x), J @ J.mT, **exact)


def test_a_jacobian_too_large_to_keep_is_not_kept(monkeypatch):
    network = NETWORKS["cnn"](64, 4, 1, "swish10", False)
    w, x = stack([network.init(torch.Generator().manual_seed(0))]), torch.ones(3, 64, dtype=torch.float64)
    kept = network.tangent(w, x)
    monkeypatch.setattr(networks, "KEPT", 3 * 104 - 1)
    other = network.tangent(w, x)
    assert isinstance(kept, StoredTangent) and isinstance(other, AutogradTangent)
    torch.testing.assert_close(kept.vjp(torch.ones_like(kept.f)), other.vjp(torch.ones_like(kept.f)))
    whole = ntk(network, w, x)
    monkeypatch.setattr(kernels, "KEPT", 2 * 104)  # two patterns at a time
    torch.testing.assert_close(ntk(network, w, x), whole)


def test_on_one_window_a_convolutional_net_is_fully_connected():
    """An image of 3 x 3 pixels and its frame is one window: the middle of the filters, with the weights tied."""
    cnn, fc = NETWORKS["cnn"](9, 6, 1, "swish10", True), fully_connected(9, 6, 1, "swish10", True)
    w = cnn.init(torch.Generator().manual_seed(0))
    tied = {**w, "W1": w["W1"][:, 0, 1:4, 1:4].flatten(1) * 3 / 5}  # 1 / sqrt(fan-in) is 1/5 there and 1/3 here
    x = torch.randn(7, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    one, two = (network.apply(stack([weights]), x) for network, weights in ((cnn, w), (fc, tied)))
    torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-12)


def test_outputs_of_a_convolutional_net_are_of_order_one():
    """Over initial weights: the variance on unit images does not depend on the width, and is no small number."""
    x = torch.randn(4, 784, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    variances = []
    for h in (4, 16):
        network = NETWORKS["cnn"](784, h, 4, "swish10", False)
        w = stack([network.init(torch.Generator().manual_seed(seed)) for seed in range(150)])
        variances.append(float(network.apply(w, x).square().mean()))
    assert 0.1 < variances[0] < 2 and variances[1] == pytest.approx(variances[0], rel=0.4)


def test_a_run_of_a_convolutional_net_does_not_feel_its_batch():
    network = NETWORKS["cnn"](64, 3, 2, "softplus5", False)
    runs = [network.init(torch.Generator().manual_seed(seed)) for seed in range(3)]
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    together, alone = network.tangent(stack(runs), x), [network.tangent(stack([run]), x) for run in runs]
    for r, one in enumerate(alone):
        assert torch.equal(together.f[r], one.f[0])
        assert torch.equal(together.jacobian(r, torch.arange(5)), one.jacobian(0, torch.arange(5)))


@pytest.mark.parametrize(
    "d, L, sentence",
    [(10, 1, "square images of 1 or 3 channels .* got d = 10"), (64, 3, "8 x 8 pixels allow 2 .* layers, got L = 3")],
)
def test_images_that_no_filter_fits_are_refused(d, L, sentence):
    with pytest.raises(ValueError, match=sentence):
        NETWORKS["cnn"](d, 4, L, "relu", False)
