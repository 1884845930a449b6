"""A net of one or two inputs: its neurons along the flow, its predictor on the line and in the plane."""

import pytest
import torch

from lazyjam import Setup, sweep, train
from lazyjam.losses import LOSSES
from lazyjam.watched import EDGE, LEVELS, PIXELS, grid, line, neurons_by_loss, on_grid, on_line

ONE = Setup(dataset="stripe", preprocessing="none", d=3, P=60, P_test=200, P_kernel=0, h=20, L=1, alpha_tilde=1e-2,
            activation="softplus5", bias=True, bias_std=1.0)  # fmt: skip


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
        sweep(ONE.replace(L=2), [neurons_by_loss], seed=[0])


def test_a_predictor_in_the_plane():
    end = train([ONE.replace(d=2, seed=seed) for seed in range(2)])
    x = grid()
    assert x.shape == (PIXELS**2, 2) and x[1, 0] > x[0, 0] and x[1, 1] == x[0, 1] and float(x.max()) == EDGE
    torch.testing.assert_close(on_grid(end).double(), end.predictor(x), rtol=1e-6, atol=1e-5)
    with pytest.raises(ValueError, match="got d = 3"):
        sweep(ONE, [on_grid], seed=[0])


def test_a_predictor_of_one_input_and_its_first_order():
    """To first order is the derivative of the output along the change of the weights."""
    end = train([ONE.replace(d=1, P=10, L=2, alpha_tilde=1.0)])
    x, (f, linear) = line(), on_line(end)[0].double()
    assert x.shape == (PIXELS, 1) and float(x[-1]) == EDGE
    torch.testing.assert_close(f, end.predictor(x)[0], rtol=1e-6, atol=1e-5)
    moved = [{name: w0 + s * (end.w[name] - w0) for name, w0 in end.w0.items()} for s in (1e-4, -1e-4)]
    up, down = (end.network.apply(w, x)[0] for w in moved)
    torch.testing.assert_close(linear, end.alpha * (up - down) / 2e-4, rtol=1e-4, atol=1e-3)
    assert float((f - linear).abs().max()) > 1e-2, "a net this narrow bends"
    with pytest.raises(ValueError, match="of d = 1 input, got d = 3"):
        sweep(ONE, [on_line], seed=[0])
