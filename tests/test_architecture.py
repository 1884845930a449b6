"""What a network is before training, against counting, against sums that are exact, and against torch."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lazyjam import Setup
from lazyjam.architecture import (
    SCALINGS,
    convolution_matrix,
    drawn,
    number_of_parameters,
    on_the_sphere,
    preactivation_variance,
    spread_of_outputs,
)
from lazyjam.networks import FILTER, convolutional

NET = Setup(d=5, h=4, L=3)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("L", [1, 2, 5])
def test_parameters_are_counted(L, bias):
    assert NET.replace(L=L, bias=bias).N == number_of_parameters(5, 4, L, bias)
    many = number_of_parameters(5, 10**6, L)
    assert many / 1e12 == pytest.approx(L - 1, abs=1e-5), "(L - 1) h^2 it is, and not L h^2"


def test_inputs_have_their_norm():
    x = on_the_sphere(7, 5)
    assert x.square().sum(1).tolist() == pytest.approx([5.0] * 7)


def test_the_first_layer_has_the_variance_of_its_weights():
    x, seeds = on_the_sphere(6, 5), range(3)
    found = preactivation_variance(NET, x, h=[4, 8], seed=seeds)
    for h in (4, 8):
        a = torch.stack([x @ NET.replace(h=h).network.init(torch.Generator().manual_seed(s))["W1"].T for s in seeds])
        expected = (a / 5**0.5).square().mean((1, 2))
        assert found.sel(h=h, layer=1).values.tolist() == pytest.approx(expected.tolist())
    many = preactivation_variance(NET, x, h=[32], seed=range(400)).mean("seed")
    assert many.values.ravel() == pytest.approx([1, 1, 1], abs=0.06)


def test_the_factor_in_front_of_the_sums():
    """For ReLU a factor c in each of L layers is one of c^L of the output."""
    net, x = NET.replace(activation="relu"), on_the_sphere(6, 5)
    found = spread_of_outputs(net, x, h=[4, 16], seed=range(2))
    ours = found.sel(scaling="1 / sqrt(h)")
    outputs = net.network.apply(drawn(net, [0, 1]), x)
    assert ours.sel(h=4).values == pytest.approx(outputs.square().mean(1).sqrt().numpy())
    ratio = (found / ours).transpose("scaling", "h", "seed").values
    for scaling, expected in zip(SCALINGS, ([4**-1.5, 16**-1.5], [1, 1], [4**1.5, 16**1.5]), strict=True):
        at = list(SCALINGS).index(scaling)
        np.testing.assert_allclose(ratio[at], np.array(expected)[:, None] * np.ones(2), rtol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("into", [1, 3])
def test_a_convolution_is_a_matrix(stride, into):
    generator = torch.Generator().manual_seed(into)
    W = torch.randn(2, into, 5, 5, generator=generator, dtype=torch.float64)
    x = torch.randn(4, into, 8, 8, generator=generator, dtype=torch.float64)
    expected = F.conv2d(x, W, stride=stride, padding=1).flatten(1)
    torch.testing.assert_close(x.flatten(1) @ convolution_matrix(W, 8, stride).T, expected, rtol=1e-12, atol=1e-12)


def test_a_layer_of_the_convolutional_net_is_that_matrix():
    w = convolutional(64, 3, 1, "relu").init(torch.Generator().manual_seed(0))
    batch = {name: value[None] for name, value in w.items()}
    x = on_the_sphere(4, 64)
    a = x @ convolution_matrix(w["W1"], 8, 2).T / FILTER
    sigma = a.clamp(min=0).unflatten(1, (3, -1)).mean(2) * 2**0.5  # E sigma^2 = 1
    found = convolutional(64, 3, 1, "relu").apply(batch, x)[0]
    torch.testing.assert_close(found, sigma @ w["W2"][0] / 3**0.5, rtol=1e-12, atol=1e-12)
