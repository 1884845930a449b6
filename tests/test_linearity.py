"""How far a net is from its linearisation: against closed forms, and against a net that is linear."""

import dataclasses
import math

import pytest
import torch

from lazyjam import Setup, gradient_flow, kernel_change, sweep
from lazyjam.activations import ACTIVATIONS, second_moment
from lazyjam.kernels import features, kernel_flow, linearise, ntk
from lazyjam.linearity import (
    LINEARITY,
    end_kernel_error,
    first_step_residual,
    kernel_error,
    kernel_parity,
    kernel_residual,
    linear_residual,
    output_slope,
    preactivation_change,
)
from lazyjam.tangents import unflatten
from lazyjam.training import train

ONE = Setup(P=30, P_test=60, P_kernel=20, h=12, L=1, alpha_tilde=50.0)


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def test_one_hidden_layer_by_hand():
    """a = W_1 x / sqrt(d), and df / da = alpha W_2 sigma'(a) / sqrt(h)."""
    end = train([ONE, ONE.replace(seed=1, alpha_tilde=2.0)])
    x = end.data.kernel.x
    a0, a = (torch.einsum("rhd,pd->rph", w["W1"], x) / math.sqrt(ONE.d) for w in (end.w0, end.w))
    slope = torch.autograd.functional.jvp(ACTIVATIONS["swish10"], a0, torch.ones_like(a0))[1]
    slope = slope / math.sqrt(second_moment("swish10"))
    df_da = end.alpha[:, None, None] * end.w0["W2"] * slope / math.sqrt(ONE.h)
    changes, slopes = preactivation_change(end), output_slope(end)
    assert changes.shape == slopes.shape == (2, 1)
    for run in range(2):
        assert float(changes[run, 0]) == pytest.approx(rms(a[run] - a0[run]) / rms(a0[run]), rel=1e-10)
        assert float(slopes[run, 0]) == pytest.approx(rms(df_da[run]), rel=1e-10)


def test_deeper_slopes_are_derivatives():
    """Of the output with respect to a shift of all neurons of a layer at once."""
    setup = ONE.replace(L=2, bias=True)
    end = train([setup])
    tangent = end.network.tangent(end.w0, end.data.kernel.x)
    for layer, name in enumerate(("b1", "b2")):
        moved = [{**end.w0, name: end.w0[name] + shift} for shift in (1e-6, -1e-6)]
        up, down = (end.network.apply(w, end.data.kernel.x) for w in moved)
        torch.testing.assert_close(tangent.output_slopes[layer].sum(-1), (up - down) / 2e-6, rtol=1e-5, atol=1e-7)
    a = torch.einsum("rhd,pd->rph", end.w0["W1"], end.data.kernel.x) / math.sqrt(ONE.d) + end.w0["b1"][:, None]
    torch.testing.assert_close(tangent.preactivations[0], a)
    assert len(tangent.preactivations) == len(tangent.output_slopes) == 2


def test_a_linear_net_has_no_residual():
    end = train([ONE])
    linear = dataclasses.replace(end, network=linearise(end.network, end.w0))
    assert float(linear_residual(linear)) < 1e-12 < 1e-4 < float(linear_residual(end))


def test_residuals_fall_as_one_over_alpha():
    table = sweep(ONE.replace(h=60, L=2), LINEARITY, None, alpha_tilde=[1e2, 1e4], seed=[0, 1], progress=False)
    for name in ("linear_residual", "preactivation_change"):
        far, near = table[name].isel(alpha_tilde=0), table[name].isel(alpha_tilde=1)
        assert ((far / near > 70) & (far / near < 140)).all(), name
    far, near = table.kernel_residual.isel(alpha_tilde=0), table.kernel_residual.isel(alpha_tilde=1)
    assert (near < 1e-3).all() and (far > 5e-3).all(), "down to the tolerance of the two flows"


def test_the_change_of_the_kernel_has_an_odd_and_an_even_part():
    """Lazy nets: of first and of second order in 1/alpha_tilde. Together they are the whole change."""
    table = sweep(ONE, [kernel_parity, kernel_change], None, alpha_tilde=[1e2, 1e4], seed=[0, 1], progress=False)
    far, near = table.kernel_parity.isel(alpha_tilde=0).values, table.kernel_parity.isel(alpha_tilde=1).values
    odd, even = (far / near).T
    assert odd == pytest.approx(100, rel=0.2) and even == pytest.approx(1e4, rel=0.4)
    assert table.kernel_change.isel(alpha_tilde=1).values == pytest.approx(near[:, 0], rel=1e-2)


def test_the_other_labels_turn_the_kernel_around():
    """kernel_parity, against a flow on the other labels from the same weights."""
    setup = ONE.replace(L=2, alpha_tilde=20.0)
    end = train([setup])
    (x, y), kernel_x = end.data.train, end.data.kernel.x
    *_, other = gradient_flow(end.network, end.w0, (x, -y), setup.loss, end.alpha)
    w = unflatten(other.w, end.w0)
    start, one, two = (ntk(end.network, weights, kernel_x)[0] for weights in (end.w0, end.w, w))
    by_hand = [rms((one - two) / 2) / rms(start), rms((one + two) / 2 - start) / rms(start)]
    assert kernel_parity(end)[0].tolist() == pytest.approx(by_hand, rel=1e-8)
    with pytest.raises(ValueError, match="nets without biases, got bias=True"):
        kernel_parity(train([setup.replace(bias=True, t_max=1.0)]))


def test_eq_5_for_one_step():
    """The shorter the step, the better, in proportion."""
    off = [float(first_step_residual(train([ONE.replace(alpha_tilde=1.0, t_max=t)]))[0]) for t in (1e-3, 1e-4)]
    assert off[0] / off[1] == pytest.approx(10, rel=0.2) and off[1] < 1e-3


def test_the_frozen_kernel_is_that_of_the_closed_form():
    """For the squared loss f(t) = K_test K^-1 (1 - exp(-K t / P)) y."""
    setup = ONE.replace(loss="squared", t_max=40.0, h=60, alpha_tilde=3.0)
    end = train([setup, setup.replace(seed=3)])
    x, y = end.data.train
    for run in range(2):
        w0 = {name: value[run : run + 1] for name, value in end.w0.items()}
        K, K_test = ntk(end.network, w0, x)[0], ntk(end.network, w0, end.data.test.x, x)[0]
        decay = torch.linalg.matrix_exp(-K * 40.0 / 30)
        exact = K_test @ torch.linalg.solve(K, y - decay @ y)
        torch.testing.assert_close(end.f_frozen[run], exact, rtol=0, atol=0.02)
        off = rms(end.f_test[run] - exact) / rms(exact)
        assert float(kernel_residual(end)[run]) == pytest.approx(off, rel=0.05)
        wrong = float((end.data.test.y * exact <= 0).double().mean())
        assert float(kernel_error(end)[run]) == pytest.approx(wrong, abs=1.5 / 60)


def test_other_networks_have_no_layers_to_look_at():
    cnn = Setup(P=8, P_test=8, P_kernel=4, d=64, preprocessing="none", h=4, architecture="cnn", t_max=1.0)
    with pytest.raises(ValueError, match="in fully connected nets, got 'cnn'"):
        preactivation_change(train([cnn]))


def test_a_kernel_is_trained_by_flow_alone():
    with pytest.raises(ValueError, match="by gradient flow without decay, got 'flow' with decay = 0.1"):
        kernel_error(train([ONE.replace(decay=0.1, t_max=1.0)]))


def test_kernel_at_the_end_by_hand_and_of_a_lazy_net():
    feature, lazy = train([ONE.replace(alpha_tilde=0.1)]), train([ONE.replace(alpha_tilde=1e6)])
    x, y = feature.data.train
    K, K_test = (ntk(feature.network, feature.w, points, x)[0] for points in (x, feature.data.test.x))
    phi, phi_test = features(K, K_test)
    *_, last = kernel_flow(phi, y, ONE.loss)
    wrong = float((phi_test @ last.w[0] * feature.data.test.y <= 0).double().mean())
    assert float(end_kernel_error(feature)) == pytest.approx(wrong, abs=1.5 / ONE.P_test)
    assert float(end_kernel_error(lazy)) == pytest.approx(float(kernel_error(lazy)), abs=1.5 / ONE.P_test)
