"""What hidden neurons make of the data, layer by layer, and what they respond to most (Sections 1.1 and 1.3)."""

import torch
from torch import Tensor

from .linearity import layers
from .machines import two_nn
from .observables import decided, observable
from .setups import Setup, Trained
from .types import Params

SHOWN = 8  # neurons of a layer that are looked at: the first ones, whatever became of them
FAVOURITES = 10  # test inputs to which a neuron responds most


def _fully_connected(setup: Setup) -> None:
    if setup.architecture != "fc" or setup.P_test < FAVOURITES:
        what = f"{setup.architecture!r} and P_test = {setup.P_test}"
        raise ValueError(f"hidden layers of 'fc' nets are looked at on {FAVOURITES} test inputs or more, got {what}.")


def _responses(trained: Trained, w: Params) -> list[Tensor]:
    """sigma(a) of the neurons of each hidden layer on the test set, (R, P_test, h), up to a factor."""
    return layers(trained, w, trained.data.test.x).activities


@observable(dims={"when": 2, "layer": lambda setup: setup.L + 1}, needs=_fully_connected)
def dimension_by_layer(trained: Trained) -> Tensor:
    """The dimension of the test inputs and of what each hidden layer makes of them, by `two_nn`: at the start, at the
    end. NaN for a run that was broken off.
    """
    pixels = two_nn(trained.data.test.x)
    both = [[[two_nn(one) for one in layer] for layer in _responses(trained, w)] for w in (trained.w0, trained.w)]
    hidden = torch.tensor(both, dtype=torch.float64).permute(2, 0, 1)
    return decided(trained, torch.cat([torch.full_like(hidden[..., :1], pixels), hidden], dim=2))


@observable(dims={"when": 2, "neuron": SHOWN, "pixel": lambda setup: setup.d}, needs=_fully_connected)
def first_weights(trained: Trained) -> Tensor:
    """The weights of the first neurons of the first layer, at the start and at the end, in single precision."""
    return torch.stack([w["W1"][:, :SHOWN] for w in (trained.w0, trained.w)], dim=1).float()


def _favourites(trained: Trained, w: Params) -> Tensor:
    """The test inputs to which each neuron responds most, by number, (R, L, FAVOURITES, h)."""
    return torch.stack([layer.topk(FAVOURITES, dim=1).indices for layer in _responses(trained, w)], dim=1)


@observable(
    dims={"layer": lambda setup: setup.L, "neuron": SHOWN, "pixel": lambda setup: setup.d}, needs=_fully_connected
)
def favourites(trained: Trained) -> Tensor:
    """The mean of the test inputs to which the first neurons of each hidden layer respond most, at the end."""
    which = _favourites(trained, trained.w)[..., :SHOWN]
    return trained.data.test.x[which].mean(2).float()


@observable(dims={"when": 2, "layer": lambda setup: setup.L}, needs=_fully_connected)
def label_of_favourites(trained: Trained) -> Tensor:
    """Of the test inputs to which a neuron responds most, the share with the label that most of them have.

    The mean over the neurons of each hidden layer, at the start and at the end.
    """
    y = trained.data.test.y
    sums = [y[_favourites(trained, w)].mean(2).abs().mean(2) for w in (trained.w0, trained.w)]
    return (1 + torch.stack(sums, dim=1)) / 2
