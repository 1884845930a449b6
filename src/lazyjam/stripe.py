"""Labels that depend on some directions only, and nets that squeeze the others (Section 5).

Inputs are normal in d dimensions. The label of the stripe model depends on the first coordinate, that of the cylinder
on the first two; the others carry no information. A net that learns features divides them by Lambda, in effect: its
first weights grow in the informative directions alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .flow import gradient_flow
from .kernel_pca import information
from .kernels import ntk
from .losses import LOSSES
from .observables import decided, error_of, observable
from .setups import Setup, Trained
from .tangents import unflatten
from .training import default_method
from .types import Params

INFORMATIVE = {"stripe": 1, "cylinder": 2}
"""d_par: how many of the coordinates the label depends on."""


def informative(setup: Setup) -> int:
    """d_par of the data. Raises ValueError for data of which it is not known, and where nothing else is left."""
    d_par = INFORMATIVE.get(setup.dataset)
    if d_par is None:
        raise ValueError(f"empty directions are known of {', '.join(INFORMATIVE)}, got {setup.dataset!r}.")
    if setup.d <= d_par:
        raise ValueError(f"{setup.dataset!r} has {d_par} informative directions and needs a larger d, got {setup.d}.")
    return d_par


def beta_lazy(d: int) -> float:
    """The exponent of the learning curve of an isotropic kernel with a cusp, d / (3 d - 2) (Paccolat et al. 2021)."""
    return d / (3 * d - 2)


def beta_feature(d: int, d_par: int = 1) -> float:
    """The exponent with feature learning (Paccolat et al., J. Stat. Mech. 2021 044001).

    (2 d - 1) / (3 d - 2) for one informative direction, (d + d_perp / 2) / (3 d - 2) for more. The review prints the
    second alone. Both follow from dividing the other directions by Lambda ~ sqrt(P), see the chapter.
    """
    return (2 * d - 1) / (3 * d - 2) if d_par == 1 else (d + (d - d_par) / 2) / (3 * d - 2)


def squeeze(setup: Setup, factor: Tensor) -> Tensor:
    """What inputs are multiplied by, (R, d), to divide their uninformative directions by factor (R,)."""
    scale = torch.ones(len(factor), setup.d, dtype=torch.float64)
    scale[:, informative(setup) :] /= factor[:, None]
    return scale


def _compression(trained: Trained, w: Params) -> Tensor:
    sizes = w["W1"].square().mean(1).sqrt()  # of each direction: over neurons
    d_par = informative(trained.setup)
    return decided(trained, sizes[:, :d_par].mean(1) / sizes[:, d_par:].mean(1))


@observable()
def compression(trained: Trained) -> Tensor:
    """Lambda: the rms over neurons of the first weights in an informative direction over that in another.

    When more than a tenth of the patterns are first satisfied, as the authors take it; NaN where they never are.
    """
    if trained.w_tenth is None:
        raise ValueError(f"compression is measured along a gradient flow, got {trained.setup.dynamics!r}.")
    return _compression(trained, trained.w_tenth)


@observable()
def compression_at_end(trained: Trained) -> Tensor:
    """The same at the end of training."""
    return _compression(trained, trained.w)


@observable()
def gradient_ratio(trained: Trained) -> Tensor:
    """|G_perp| / |G_par| at the initial weights: rms over neurons and directions of the first gradient of W1."""
    x, y = trained.data.train
    pull = y * LOSSES[trained.setup.loss].slope(torch.ones_like(y))  # f = 0, so every Delta is one
    tangent = trained.network.tangent(trained.w0, x)
    G = unflatten(tangent.vjp(pull.expand_as(tangent.f)), trained.w0)["W1"].square().mean(1)
    d_par = informative(trained.setup)
    return (G[:, d_par:].mean(1) / G[:, :d_par].mean(1)).sqrt()


@observable()
def squeezed_kernel_error(trained: Trained) -> Tensor:
    """Test error of the frozen kernels of the initial weights on inputs whose other directions are divided by Lambda.

    Lambda is the `compression` of the net itself.
    """
    return error_of(trained, trained.by_kernel(trained.w0, squeeze(trained.setup, compression(trained))))


@observable(dims=("rank",))
def squeezed_information(trained: Trained) -> Tensor:
    """`kernel_pca.information` of the initial kernel on inputs whose other directions are divided by Lambda."""
    x, y = trained.data.train
    rows = []
    for run, scale in enumerate(squeeze(trained.setup, compression(trained))):
        w0 = {name: value[run : run + 1] for name, value in trained.w0.items()}
        rows.append(information(ntk(trained.network, w0, x * scale)[0], y))
    return torch.stack(rows)


def aligned(w: Params, d_par: int) -> Tensor:
    """Mean over neurons of cos^2 between their first weights and the informative directions, for every run (R,).

    Each counts by |W2| |W1|, so by what it adds to the output of a ReLU net. d_par / d without any alignment.
    """
    squares = w["W1"].square()
    length = squares.sum(2).sqrt()
    weight = w["W2"][:, 0].abs() * length
    cosine = squares[:, :, :d_par].sum(2) / length.square()
    return (weight * cosine).sum(1) / weight.sum(1)


@observable(dims=("when",))
def alignment(trained: Trained) -> Tensor:
    """`aligned` at the start and at the end."""
    d_par = informative(trained.setup)
    return torch.stack([aligned(w, d_par) for w in (trained.w0, trained.w)], dim=1)


LEVELS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
"""Losses, in units of the first one, at which the neurons are looked at."""


@observable(dims=("level", "neuron", "number"))
def neurons_by_loss(trained: Trained) -> Tensor:
    """First weights, bias and second weight of every neuron, d + 2 numbers, when the loss first came down to LEVELS.

    NaN where training ended before. One hidden layer with biases; the flow is followed once more.
    """
    setup = trained.setup
    if setup.dynamics != "flow" or setup.L != 1 or not setup.bias:
        what = f"L = {setup.L}, bias={setup.bias} and {setup.dynamics!r}"
        raise ValueError(f"neurons are followed along a gradient flow, in one hidden layer with biases, got {what}.")
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
        reached = torch.tensor(LEVELS) >= loss.value(1 - y * now.f[0]).mean() / first
        rows[reached & rows[:, 0, 0].isnan()] = _neurons(unflatten(now.w, w0))
    return rows


def _neurons(w: Params) -> Tensor:
    return torch.cat([w["W1"][0], w["b1"][0, :, None], w["W2"][0].T], dim=1).float()


EDGE, PIXELS = 3.0, 61
"""Of the square on which `on_grid` looks at a predictor: half a side, and points along a side."""


def grid() -> Tensor:
    """The points of `on_grid`, (PIXELS^2, 2), the first coordinate varying fastest."""
    line = torch.linspace(-EDGE, EDGE, PIXELS, dtype=torch.float64)
    return torch.stack([line.repeat(PIXELS), line.repeat_interleave(PIXELS)], dim=1)


@observable(dims=("pixel",))
def on_grid(trained: Trained) -> Tensor:
    """The predictor in the plane, on `grid()`, in single precision. Raises ValueError for inputs of other dimension."""
    if trained.setup.d != 2:
        raise ValueError(f"a predictor is drawn in the plane, of d = 2 inputs, got d = {trained.setup.d}.")
    return decided(trained, trained.predictor(grid().to(trained.alpha.device))).float()
