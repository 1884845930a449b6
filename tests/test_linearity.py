"""How far a net is from its linearisation: against closed forms, and against a net that is linear."""

import dataclasses
import math

import pytest
import torch

from lazyjam import Setup, sweep
from lazyjam.kernels import linearise, ntk
from lazyjam.linearity import (
    LINEARITY,
    kernel_error,
    kernel_residual,
    linear_residual,
    output_slope,
    preactivation_change,
)
from lazyjam.networks import ACTIVATIONS, second_moment
from lazyjam.training import train

ONE = Setup(P=30, P_test=60, P_kernel=20, h=12, L=1, alpha_tilde=50.0)


def rms(values: torch.Tensor) -> float:
    return float(values.square().mean().sqrt())


def test_one_hidden_layer_by_hand():
    """a = W_1 x / sqrt(d), and df / da = alpha W_2 sigma'(a) / sqrt(h)."""
    end = train([ONE, ONE.replace(seed=1, alpha_tilde=2.0)])
    x = end.data.kernel.x
    a0, a = (torch.einsum("rhd,pd->rph", w["W1"], x) / math.sqrt(ONE.d) for w in (end.w0, end.w))
    slope = ACTIVATIONS["swish10"].both(a0)[1] / math.sqrt(second_moment("swish10"))
    df_da = end.alpha[:, None, None] * end.w0["W2"] * slope / math.sqrt(ONE.h)
    changes, slopes = preactivation_change(end), output_slope(end)
    assert changes.shape == slopes.shape == (2, 1)
    for run in range(2):
        assert float(changes[run, 0]) == pytest.approx(rms(a[run] - a0[run]) / rms(a0[run]), rel=1e-10)
        assert float(slopes[run, 0]) == pytest.approx(rms(df_da[run]), rel=1e-10)


def test_deeper_slopes_are_derivatives():
    """Of the output with respect to a shift of all neurons of the second layer at once."""
    setup = ONE.replace(L=2, bias=True)
    end = train([setup])
    tangent = end.network.tangent(end.w0, end.data.kernel.x)
    moved = [{**end.w0, "b2": end.w0["b2"] + shift} for shift in (1e-6, -1e-6)]
    up, down = (end.network.apply(w, end.data.kernel.x) for w in moved)
    torch.testing.assert_close(tangent.output_slopes[1].sum(-1), (up - down) / 2e-6, rtol=1e-6, atol=1e-8)
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
