"""Compression of uninformative directions: against nets and kernels for which it is known."""

import math

import pytest
import torch

from lazyjam import Setup, train
from lazyjam.kernel_pca import information
from lazyjam.kernels import features, kernel_flow, ntk
from lazyjam.losses import LOSSES
from lazyjam.stripe import (
    EDGE,
    LEVELS,
    PIXELS,
    aligned,
    alignment,
    beta_feature,
    beta_lazy,
    compression,
    compression_at_end,
    gradient_ratio,
    grid,
    neurons_by_loss,
    on_grid,
    squeeze,
    squeezed_information,
    squeezed_kernel_error,
)

NET = dict(preprocessing="none", L=1, activation="softplus5", bias=True, bias_std=1.0)
ONE = Setup(dataset="stripe", d=3, P=60, P_test=200, P_kernel=0, h=20, alpha_tilde=1e-2, **NET)


def test_exponents():
    assert [beta_lazy(d) for d in (2, 3)] == [pytest.approx(1 / 2), pytest.approx(3 / 7)]
    assert [beta_feature(d) for d in (2, 3)] == [pytest.approx(3 / 4), pytest.approx(5 / 7)]
    assert [beta_feature(d, 2) for d in (3, 5, 10)] == [pytest.approx(1 / 2)] * 3
    for d in (2, 5, 10):  # dividing by sqrt(P) what Lambda^(-2 (d - 1) / (3 d - 2)) says
        assert beta_feature(d) == pytest.approx(beta_lazy(d) + (d - 1) / (3 * d - 2))


def test_squeeze_divides_what_carries_no_information():
    scale = squeeze(ONE, torch.tensor([2.0, 10.0]))
    torch.testing.assert_close(scale, torch.tensor([[1, 0.5, 0.5], [1, 0.1, 0.1]], dtype=torch.float64))
    assert squeeze(ONE.replace(dataset="cylinder"), torch.tensor([2.0]))[0].tolist() == [1, 1, 0.5]
    with pytest.raises(ValueError, match="of stripe, cylinder, got 'sphere'"):
        squeeze(ONE.replace(dataset="sphere"), torch.ones(1))
    with pytest.raises(ValueError, match="needs a larger d, got 1"):
        squeeze(ONE.replace(d=1), torch.ones(1))


def test_a_net_that_learns_features_squeezes_and_a_lazy_one_does_not():
    feature, lazy = train([ONE, ONE.replace(seed=1)]), train([ONE.replace(alpha_tilde=1e4)])
    assert (compression(feature) > 2).all() and (compression_at_end(feature) > 1.5).all()
    start = lazy.w0["W1"].square().mean(1).sqrt()[0]
    assert float(compression(lazy)) == pytest.approx(float(start[0] / start[1:].mean()), rel=1e-2)


def test_compression_is_read_when_a_tenth_is_satisfied():
    """Bisection of the time at which that was, by runs that are stopped early."""
    end = train([ONE])
    assert set(end.w_tenth) == set(end.w0)
    low, high = 1e-3 * float(end.t), float(end.t)
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        stopped = train([ONE.replace(t_max=middle)])
        low, high = (low, middle) if int(stopped.N_delta) < 0.9 * ONE.P else (middle, high)
    stopped = train([ONE.replace(t_max=high)])
    assert float(compression(end)) == pytest.approx(float(compression_at_end(stopped)), rel=0.05)
    never = train([ONE.replace(t_max=1e-9)])
    assert math.isnan(compression(never))
    with pytest.raises(ValueError, match="along a gradient flow, got 'none'"):
        compression(train([ONE.replace(dynamics="none")]))


def test_first_gradient_by_automatic_differentiation():
    end = train([ONE.replace(dynamics="none"), ONE.replace(dynamics="none", seed=3)])
    (x, y), loss = end.data.train, LOSSES[ONE.loss]
    for run in range(2):
        w = {name: value[run : run + 1].clone().requires_grad_() for name, value in end.w0.items()}
        with torch.enable_grad():
            f = end.network.apply(w, x)[0]
            delta = 1 - y * (f - f.detach())
            loss.value(delta).mean().backward()
        sizes = w["W1"].grad[0].square().mean(0)
        expected = math.sqrt(float(sizes[1:].mean() / sizes[0]))
        assert float(gradient_ratio(end)[run]) == pytest.approx(expected, rel=1e-8)


def test_kernel_of_squeezed_inputs_by_hand():
    end = train([ONE])
    Lambda = float(compression(end))
    scale = torch.tensor([1.0, 1 / Lambda, 1 / Lambda], dtype=torch.float64)
    (x, y), (x_test, y_test) = end.data.train, end.data.test
    K, K_test = (ntk(end.network, end.w0, points * scale, x * scale)[0] for points in (x, x_test))
    phi, phi_test = features(K, K_test)
    *_, last = kernel_flow(phi, y, ONE.loss)
    f = phi_test @ last.w[0]
    assert float(squeezed_kernel_error(end)) == float((f * y_test <= 0).double().mean())
    torch.testing.assert_close(end.by_kernel(end.w0), end.f_frozen)
    torch.testing.assert_close(squeezed_information(end)[0], information(K, y))


def test_neurons_are_those_of_the_start_and_of_a_run_stopped_at_that_loss():
    end = train([ONE])
    rows = neurons_by_loss(end)[0]
    assert rows.shape == (len(LEVELS), ONE.h, ONE.d + 2)
    first = torch.cat([end.w0["W1"][0], end.w0["b1"][0, :, None], end.w0["W2"][0].T], dim=1)
    torch.testing.assert_close(rows[0], first.float())
    half = rows[LEVELS.index(0.5)].double()
    w = {"W1": half[None, :, :3], "b1": half[None, :, 3], "W2": half[None, :, 4][:, None], "b2": end.w0["b2"]}
    x, y = end.data.train
    f = end.alpha[:, None] * (end.network.apply(w, x) - end.network.apply(end.w0, x))
    loss = LOSSES[ONE.loss].value(1 - y * f[0]).mean() / LOSSES[ONE.loss].value(torch.ones_like(y)).mean()
    assert 0.25 < float(loss) < 0.55, "of the first step behind it; the bias of the output is left out"
    with pytest.raises(ValueError, match="one hidden layer with biases, got L = 2"):
        neurons_by_loss(train([ONE.replace(L=2)]))


def test_a_predictor_in_the_plane():
    end = train([ONE.replace(d=2, seed=seed) for seed in range(2)])
    x = grid()
    assert x.shape == (PIXELS**2, 2) and x[1, 0] > x[0, 0] and x[1, 1] == x[0, 1] and float(x.max()) == EDGE
    torch.testing.assert_close(on_grid(end).double(), end.predictor(x), rtol=1e-6, atol=1e-5)
    with pytest.raises(ValueError, match="got d = 3"):
        on_grid(train([ONE.replace(dynamics="none")]))


def test_alignment_of_known_weights():
    angle = torch.tensor([0.0, math.pi / 2, math.pi / 4], dtype=torch.float64)
    W1 = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.tensor([[2.0], [1.0], [4.0]])
    w = {"W1": W1[None], "W2": torch.tensor([[[1.0, 2.0, -0.5]]], dtype=torch.float64)}
    assert float(aligned(w, 1)) == pytest.approx((2 * 1 + 2 * 0 + 2 * 0.5) / 6)
    assert float(aligned(w, 2)) == pytest.approx(1)
    start, end = alignment(train([ONE.replace(h=300)]))[0].tolist()
    assert start == pytest.approx(1 / 3, abs=0.06) and end > 0.6
