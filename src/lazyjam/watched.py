"""A net of one or two inputs, watched: its neurons along the flow, its predictor on the line and in the plane."""

from __future__ import annotations

import torch
from torch import Tensor

from .flow import gradient_flow
from .linearity import linearised
from .losses import LOSSES
from .observables import decided, observable
from .setups import Setup, Trained
from .tangents import unflatten
from .training import default_method
from .types import Params

LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
"""Losses, in units of the first one, at which the neurons are looked at."""


def _one_layer(setup: Setup) -> None:
    if setup.dynamics != "flow" or setup.L != 1 or not setup.bias:
        what = f"L = {setup.L}, bias={setup.bias} and {setup.dynamics!r}"
        raise ValueError(f"neurons are followed along a gradient flow, in one hidden layer with biases, got {what}.")


@observable(
    dims={"level": len(LEVELS), "neuron": lambda setup: setup.h, "number": lambda setup: setup.d + 2}, needs=_one_layer
)
def neurons_by_loss(trained: Trained) -> Tensor:
    """First weights, bias and second weight of every neuron, d + 2 numbers, when the loss first came down to LEVELS.

    NaN where training ended before. The flow is followed once more, by the default method.
    """
    return torch.stack([_story(trained, run) for run in range(len(trained.setups))])


def _story(trained: Trained, run: int) -> Tensor:
    (x, y), loss = trained.data.train, LOSSES[trained.setup.loss]
    w0 = {name: value[run : run + 1] for name, value in trained.w0.items()}
    first = loss.value(torch.ones_like(y)).mean()
    rows = torch.full((len(LEVELS), trained.setup.h, trained.setup.d + 2), torch.nan, dtype=torch.float32)
    rows[0] = _neurons(w0)
    flow = gradient_flow(trained.network, w0, (x, y), trained.setup.loss, trained.alpha[run : run + 1],
                         t_max=trained.setups[run].t_max, method=default_method(trained.setup))  # fmt: skip
    for now in flow:
        reached = torch.tensor(LEVELS) >= float(loss.value(1 - y * now.f[0]).mean() / first)
        rows[reached & rows[:, 0, 0].isnan()] = _neurons(unflatten(now.w, w0))
    return rows


def _neurons(w: Params) -> Tensor:
    return torch.cat([w["W1"][0], w["b1"][0, :, None], w["W2"][0].T], dim=1).float().cpu()


EDGE, PIXELS = 3.0, 61
"""Of the square on which `on_grid` looks at a predictor: half a side, and points along a side."""


def grid() -> Tensor:
    """The points of `on_grid`, (PIXELS^2, 2), the first coordinate varying fastest."""
    line = torch.linspace(-EDGE, EDGE, PIXELS, dtype=torch.float64)
    return torch.stack([line.repeat(PIXELS), line.repeat_interleave(PIXELS)], dim=1)


def _plane(setup: Setup) -> None:
    if setup.d != 2:
        raise ValueError(f"a predictor is drawn in the plane, of d = 2 inputs, got d = {setup.d}.")


@observable(dims={"pixel": PIXELS**2}, needs=_plane)
def on_grid(trained: Trained) -> Tensor:
    """The predictor of two inputs, on `grid()`, in single precision."""
    return decided(trained, trained.predictor(grid().to(trained.alpha.device))).float()


def line() -> Tensor:
    """The points of `on_line`, (PIXELS, 1), from -EDGE to EDGE."""
    return torch.linspace(-EDGE, EDGE, PIXELS, dtype=torch.float64)[:, None]


def _line(setup: Setup) -> None:
    if setup.d != 1:
        raise ValueError(f"a predictor is drawn over a line, of d = 1 input, got d = {setup.d}.")


@observable(dims={"which": 2, "pixel": PIXELS}, needs=_line)
def on_line(trained: Trained) -> Tensor:
    """The predictor of one input on `line()`, and what it is to first order in the weights, in single precision."""
    x = line().to(trained.alpha.device)
    return decided(trained, torch.stack([trained.predictor(x), linearised(trained, x)], dim=1)).float()
