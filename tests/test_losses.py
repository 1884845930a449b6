"""Losses: derivatives against autograd, values that can be written down, and what the integrators assume of them."""

import math

import pytest
import torch

from lazyjam.losses import LOSSES

DELTA = torch.cat([torch.linspace(-3, 3, 121, dtype=torch.float64) + 0.0125, torch.tensor([-60.0, -8.0, 8.0, 60.0])])


@pytest.mark.parametrize("name", LOSSES)
def test_slope_and_curvature_are_the_derivatives_of_the_value(name):
    loss, delta = LOSSES[name], DELTA.double().requires_grad_()
    (slope,) = torch.autograd.grad(loss.value(delta).sum(), delta)
    torch.testing.assert_close(loss.slope(delta.detach()), slope, rtol=1e-12, atol=1e-14)
    smooth = loss.slope(delta)
    curvature = torch.autograd.grad(smooth.sum(), delta)[0] if smooth.requires_grad else torch.zeros_like(delta)
    expected = (delta > 0).double() if name == "quadratic_hinge" else curvature
    torch.testing.assert_close(loss.curvature(delta.detach()), expected, rtol=1e-10, atol=1e-14)


def test_values_written_out():
    at = {name: lambda delta, loss=loss: loss.value(torch.tensor(delta, dtype=torch.float64)).item()
          for name, loss in LOSSES.items()}
    assert at["hinge"](0.7) == 0.7 and at["hinge"](-0.7) == 0
    assert at["soft_hinge"](0.0) == pytest.approx(math.log(2) / 20, rel=1e-14)
    assert at["soft_hinge"](0.1) == pytest.approx(math.log(1 + math.exp(2)) / 20, rel=1e-14)
    assert at["soft_hinge_200"](0.01) == pytest.approx(math.log(1 + math.exp(2)) / 200, rel=1e-14)
    assert at["quadratic_hinge"](2.0) == 2 and at["quadratic_hinge"](-2.0) == 0
    assert at["squared"](2.0) == 2 and at["squared"](-2.0) == 2
    # Delta = 1 - y f: a pattern with y f = 0 costs log 2, one with y f = 3 log(1 + exp(-3))
    assert at["cross_entropy"](1.0) == pytest.approx(math.log(2), rel=1e-14)
    assert at["cross_entropy"](-2.0) == pytest.approx(math.log1p(math.exp(-3)), rel=1e-14)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "squared"])
def test_a_pattern_is_only_ever_pulled_towards_its_label(name):
    slope = LOSSES[name].slope(DELTA.double())
    assert (slope >= 0).all() and (slope[1:121] >= slope[:120]).all(), "l is convex, and falls with y f"


@pytest.mark.parametrize("name", LOSSES)
def test_curvature_is_largest_at_its_peak_and_grows_towards_it(name):
    loss = LOSSES[name]
    left, right = DELTA.double() - 0.3, DELTA.double() + 0.3
    most = torch.stack([loss.curvature(left + u) for u in torch.linspace(0, 0.6, 4801).tolist()]).amax(0)
    assumed = loss.curvature(torch.full_like(left, loss.peak).clamp(left, right))
    torch.testing.assert_close(assumed, most, rtol=1e-3, atol=1e-12)


def test_the_largest_curvature_of_the_soft_hinge_is_a_quarter_of_its_beta():
    zero = torch.zeros((), dtype=torch.float64)
    assert [LOSSES[name].curvature(zero).item() for name in ("soft_hinge", "soft_hinge_200")] == [5, 50]


def test_far_from_the_margin_nothing_overflows():
    for loss in LOSSES.values():
        far = torch.tensor([-1e6, 1e6], dtype=torch.float64)
        assert all(part(far).isfinite().all() for part in (loss.value, loss.slope, loss.curvature))


def test_each_loss_ends_where_it_should():
    ends = {name: loss.ends for name, loss in LOSSES.items()}
    assert ends == {"hinge": "margin", "soft_hinge": "margin", "soft_hinge_200": "margin", "quadratic_hinge": "energy",
                    "cross_entropy": "never", "squared": "energy"}
