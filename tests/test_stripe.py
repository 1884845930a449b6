"""Compression of uninformative directions: against nets and kernels for which it is known."""

import math
from dataclasses import replace

import pytest
import torch

from lazyjam import Setup, power_law, sweep, train
from lazyjam.kernel_pca import information
from lazyjam.kernels import features, kernel_flow, ntk
from lazyjam.losses import LOSSES
from lazyjam.stripe import (
    Lambda,
    Lambda_at_end,
    Lambda_felt,
    aligned,
    alignment,
    beta_feature,
    beta_lazy,
    gradient_noise,
    gradient_ratio,
    late_information,
    late_kernel_errors,
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
    assert (Lambda(feature) > 2).all() and (Lambda_at_end(feature) > 1.5).all()
    start = lazy.w0["W1"].square().mean(1).sqrt()[0]
    assert float(Lambda(lazy)) == pytest.approx(float(start[0] / start[1:].mean()), rel=1e-2)


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
    assert float(Lambda(end)) == pytest.approx(float(Lambda_at_end(stopped)), rel=0.05)
    never = train([ONE.replace(t_max=1e-9)])
    assert math.isnan(Lambda(never))
    assert math.isnan(squeezed_kernel_error(never)) and squeezed_information(never).isnan().all()
    with pytest.raises(ValueError, match="along a gradient flow, got 'none'"):
        sweep(ONE.replace(dynamics="none"), [Lambda], seed=[0])


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


def test_noise_is_what_is_orthogonal_to_the_neuron_itself():
    """In the direction of its own w_perp a neuron has a mean gradient, which does not fall with P."""
    data = ONE.replace(d=5, P_test=10, h=300, dynamics="none")
    table = sweep(data, [gradient_ratio, gradient_noise], P=[200, 3200], seed_data=range(5), progress=False)
    slopes = {name: power_law([200, 3200], table[name].T.values, (200, 3200)).slope
              for name in ("gradient_ratio", "gradient_noise")}  # fmt: skip
    assert slopes["gradient_noise"] == pytest.approx(-0.5, abs=0.12) and slopes["gradient_ratio"] > -0.42
    end = train([data])
    x, y = end.data.train
    W, b, a = end.w0["W1"][0], end.w0["b1"][0], end.w0["W2"][0, 0]
    gate = torch.sigmoid(5 * (x @ W.T / 5**0.5 + b))  # slope of the softplus, up to factors that cancel
    G = (y[:, None] * gate * a).T @ x
    own = W[:, 1:] / W[:, 1:].norm(dim=1, keepdim=True)
    rest = G[:, 1:] - (G[:, 1:] * own).sum(1, keepdim=True) * own
    expected = (rest.square().sum(1).mean() / 3 / G[:, 0].square().mean()).sqrt()
    assert float(gradient_noise(end)) == pytest.approx(float(expected), rel=1e-8)
    with pytest.raises(ValueError, match="d must be larger, got 2"):
        sweep(data.replace(d=2), [gradient_noise], seed=[0])


def test_kernel_of_squeezed_inputs_by_hand():
    end = train([ONE])
    factor = float(Lambda(end))
    scale = torch.tensor([1.0, 1 / factor, 1 / factor], dtype=torch.float64)
    (x, y), (x_test, y_test) = end.data.train, end.data.test
    K, K_test = (ntk(end.network, end.w0, points * scale, x * scale)[0] for points in (x, x_test))
    phi, phi_test = features(K, K_test)
    *_, last = kernel_flow(phi, y, ONE.loss)
    f = phi_test @ last.w[0]
    assert float(squeezed_kernel_error(end)) == float((f * y_test <= 0).double().mean())
    torch.testing.assert_close(squeezed_information(end)[0], information(K, y))


def test_later_ratios_by_hand():
    end = train([ONE.replace(P_test=50)])
    along = float(alignment(end)[0, 1])
    assert float(Lambda_felt(end)) == pytest.approx(math.sqrt(2 * along / (1 - along)))  # d = 3, so two others
    x, y = end.data.train
    found = zip((Lambda_at_end, Lambda_felt), late_kernel_errors(end)[0], late_information(end)[0], strict=True)
    for ratio, error, known in found:
        scale = squeeze(end.setup, ratio(end))
        f = end.by_kernel(end.w0, scale)
        assert float(error) == float((f * end.data.test.y <= 0).double().mean())
        torch.testing.assert_close(known, information(ntk(end.network, end.w0, x * scale)[0], y))
    one = {"W1": torch.eye(3, dtype=torch.float64)[None], "W2": torch.ones(1, 1, 3, dtype=torch.float64)}
    assert float(Lambda_felt(replace(end, w=one))) == pytest.approx(1)  # a neuron along every axis


def test_alignment_of_known_weights():
    angle = torch.tensor([0.0, math.pi / 2, math.pi / 4], dtype=torch.float64)
    W1 = torch.stack([angle.cos(), angle.sin()], dim=1) * torch.tensor([[2.0], [1.0], [4.0]])
    w = {"W1": W1[None], "W2": torch.tensor([[[1.0, 2.0, -0.5]]], dtype=torch.float64)}
    assert float(aligned(w, 1)) == pytest.approx((2 * 1 + 2 * 0 + 2 * 0.5) / 6)
    assert float(aligned(w, 2)) == pytest.approx(1)
    start, end = alignment(train([ONE.replace(h=300)]))[0].tolist()
    assert start == pytest.approx(1 / 3, abs=0.06) and end > 0.6
