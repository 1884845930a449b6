"""What hidden layers make of the data: against a net written out by hand, and data whose dimension is known."""

import math

import pytest
import torch

from lazyjam import Setup, sweep, train
from lazyjam.activations import ACTIVATIONS, second_moment
from lazyjam.machines import two_nn
from lazyjam.representation import (
    FAVOURITES,
    SHOWN,
    dimension_by_layer,
    favourites,
    first_weights,
    label_of_favourites,
)

ONE = Setup(dataset="teacher", preprocessing="none", d=4, P=30, P_test=300, P_kernel=0, h=20, L=2, alpha_tilde=0.1)


def hidden(w: dict, x: torch.Tensor) -> list[torch.Tensor]:
    """sigma(a) of one run by hand, (P, h) for each hidden layer."""
    first = ACTIVATIONS["swish10"](x @ w["W1"][0].T / math.sqrt(ONE.d))
    second = ACTIVATIONS["swish10"](first @ w["W2"][0].T / math.sqrt(ONE.h * second_moment("swish10")))
    return [first, second]


def test_dimensions_are_those_of_the_layers_written_out():
    end = train([ONE])
    values = dimension_by_layer(end)[0]
    assert values.shape == (2, ONE.L + 1)
    for row, w in zip(values, (end.w0, end.w), strict=True):
        by_hand = [two_nn(x) for x in (end.data.test.x, *hidden(w, end.data.test.x))]
        torch.testing.assert_close(row, torch.tensor(by_hand, dtype=row.dtype))
    with pytest.raises(ValueError, match="got 'cnn'"):
        sweep(ONE.replace(architecture="cnn", d=64, L=1), [dimension_by_layer], seed=[0])


def test_a_layer_that_is_wide_and_nearly_linear_keeps_the_dimension():
    """tanh of small numbers: a random map to many neurons is a rotation, nearly, and distances stay."""
    almost = train([ONE.replace(h=2000, L=1, activation="tanh", dynamics="none", P_test=500)])
    almost.w0["W1"].mul_(1e-3)
    before, after = dimension_by_layer(almost)[0, 0]
    assert float(after) == pytest.approx(float(before), rel=0.05)


def test_favourites_are_the_inputs_of_the_largest_responses():
    end = train([ONE, ONE.replace(seed=1)])
    x, y = end.data.test
    shown, share = favourites(end), label_of_favourites(end)
    assert shown.shape == (2, ONE.L, SHOWN, ONE.d) and share.shape == (2, 2, ONE.L)
    torch.testing.assert_close(first_weights(end)[:, 1], end.w["W1"][:, :SHOWN].float())
    for layer, values in enumerate(hidden(end.w, x)):
        order = values.argsort(dim=0, descending=True)[:FAVOURITES]
        torch.testing.assert_close(shown[0, layer], x[order[:, :SHOWN]].mean(0).float())
        most = torch.stack([(y[order] == sign).double().mean(0) for sign in (1, -1)]).amax(0)
        assert float(share[0, 1, layer]) == pytest.approx(float(most.mean()))
