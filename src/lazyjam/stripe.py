"""Labels that depend on some directions only, and nets that squeeze the others (Section 5).

Inputs are normal in d dimensions. The label of the stripe model depends on the first coordinate, that of the cylinder
on the first two; the others carry no information. A net that learns features divides them by Lambda, in effect: its
first weights grow in the informative directions alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .kernel_pca import enough, information, ranks
from .kernels import ntk
from .losses import LOSSES
from .observables import decided, error_of, observable
from .setups import Setup, Trained
from .tangents import unflatten
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
    second alone. The first follows from dividing the other directions by Lambda = sqrt(P), see the chapter.
    """
    return (2 * d - 1) / (3 * d - 2) if d_par == 1 else (d + (d - d_par) / 2) / (3 * d - 2)


def squeeze(setup: Setup, factor: Tensor) -> Tensor:
    """What inputs are multiplied by, (R, d), to divide their uninformative directions by factor (R,)."""
    scale = torch.ones(len(factor), setup.d, dtype=torch.float64, device=factor.device)
    scale[:, informative(setup) :] /= factor[:, None]
    return scale


def _ratio(trained: Trained, w: Params) -> Tensor:
    sizes = w["W1"].square().mean(1).sqrt()  # of each direction: over neurons
    d_par = informative(trained.setup)
    return decided(trained, sizes[:, :d_par].mean(1) / sizes[:, d_par:].mean(1))


def _followed(setup: Setup) -> None:
    informative(setup)
    if setup.dynamics != "flow":
        raise ValueError(f"Lambda is read along a gradient flow, got {setup.dynamics!r}.")


@observable(needs=_followed)
def Lambda(trained: Trained) -> Tensor:
    """The rms over neurons of the first weights in an informative direction over that in another one.

    When more than a tenth of the patterns are first satisfied, as the authors take it; NaN where they never are.
    """
    return _ratio(trained, trained.w_tenth)


@observable(needs=informative)
def Lambda_at_end(trained: Trained) -> Tensor:
    """The same at the end of training."""
    return _ratio(trained, trained.w)


@observable(needs=informative)
def Lambda_felt(trained: Trained) -> Tensor:
    """The ratio that the output feels at the end: that of `aligned`, where neurons that do not matter hardly count."""
    d_par = informative(trained.setup)
    along = aligned(trained.w, d_par)
    return decided(trained, (along / d_par / ((1 - along) / (trained.setup.d - d_par))).sqrt())


def _first_gradients(trained: Trained) -> tuple[Tensor, Tensor]:
    """Gradient of the loss by W1 at the initial weights, in informative and in the other directions."""
    x, y = trained.data.train
    pull = y * LOSSES[trained.setup.loss].slope(torch.ones_like(y))  # f = 0, so every Delta is one
    tangent = trained.network.tangent(trained.w0, x)
    G = unflatten(tangent.vjp(pull.expand_as(tangent.f)), trained.w0)["W1"]
    d_par = informative(trained.setup)
    return G[:, :, :d_par], G[:, :, d_par:]


@observable(needs=informative)
def gradient_ratio(trained: Trained) -> Tensor:
    """|G_perp| / |G_par| at the initial weights: rms over neurons and directions of the first gradient of W1."""
    par, perp = _first_gradients(trained)
    return (perp.square().mean((1, 2)) / par.square().mean((1, 2))).sqrt()


def _several(setup: Setup) -> None:
    if setup.d - informative(setup) < 2:
        raise ValueError(f"one uninformative direction is that of the neuron itself: d must be larger, got {setup.d}.")


@observable(needs=_several)
def gradient_noise(trained: Trained) -> Tensor:
    """The same, of the part of G_perp that is orthogonal to the neuron's own w_perp: zero for P -> infinity.

    A neuron responds to x_perp along its own w_perp, so its mean gradient there is not zero. In all other directions it
    is, by symmetry.
    """
    par, perp = _first_gradients(trained)
    own = torch.nn.functional.normalize(trained.w0["W1"][:, :, -perp.shape[2] :], dim=2)
    rest = perp - (perp * own).sum(2, keepdim=True) * own
    others = perp.shape[2] - 1
    return (rest.square().sum(2).mean(1) / others / par.square().mean((1, 2))).sqrt()


@observable(needs=_followed)
def squeezed_kernel_error(trained: Trained) -> Tensor:
    """Test error of the frozen initial kernels on inputs whose other directions are divided by the net's own Lambda."""
    return error_of(trained, trained.by_kernel(trained.w0, squeeze(trained.setup, Lambda(trained))))


@observable(dims={"ratio": 2}, needs=informative)
def late_kernel_errors(trained: Trained) -> Tensor:
    """Test errors of the same kernels on inputs divided by `Lambda_at_end`, and by `Lambda_felt`."""
    factors = [ratio(trained) for ratio in (Lambda_at_end, Lambda_felt)]
    found = [trained.by_kernel(trained.w0, squeeze(trained.setup, factor)) for factor in factors]
    return torch.stack([error_of(trained, f) for f in found], dim=1)


def _binned(setup: Setup) -> None:
    _followed(setup)
    enough(setup.P)


def _known(trained: Trained, factor: Tensor) -> Tensor:
    """`kernel_pca.information` of the initial kernel on inputs whose other directions are divided by factor (R,)."""
    x, y = trained.data.train
    rows = []
    for run, scale in enumerate(squeeze(trained.setup, factor)):
        w0 = {name: value[run : run + 1] for name, value in trained.w0.items()}
        rows.append(information(ntk(trained.network, w0, x * scale)[0], y))
    return torch.stack(rows)


@observable(dims={"rank": ranks}, needs=_binned)
def squeezed_information(trained: Trained) -> Tensor:
    """`kernel_pca.information` of the initial kernel on inputs whose other directions are divided by Lambda."""
    return _known(trained, Lambda(trained))


@observable(dims={"ratio": 2, "rank": ranks}, needs=_binned)
def late_information(trained: Trained) -> Tensor:
    """As `squeezed_information`, on inputs divided by `Lambda_at_end`, and by `Lambda_felt`."""
    return torch.stack([_known(trained, ratio(trained)) for ratio in (Lambda_at_end, Lambda_felt)], dim=1)


def aligned(w: Params, d_par: int) -> Tensor:
    """Mean over neurons of cos^2 between their first weights and the informative directions, for every run (R,).

    Each counts by |W2| |W1|, so by what it adds to the output of a ReLU net. d_par / d without any alignment.
    """
    squares = w["W1"].square()
    length = squares.sum(2).sqrt()
    weight = w["W2"][:, 0].abs() * length
    cosine = squares[:, :, :d_par].sum(2) / length.square()
    return (weight * cosine).sum(1) / weight.sum(1)


@observable(dims={"when": 2}, needs=informative)
def alignment(trained: Trained) -> Tensor:
    """`aligned` at the start and at the end."""
    d_par = informative(trained.setup)
    return decided(trained, torch.stack([aligned(w, d_par) for w in (trained.w0, trained.w)], dim=1))
