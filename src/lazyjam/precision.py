"""Single precision, where it serves: a gradient takes half of the time on a core, and of most GPUs a small part of it.

Weights, times and steps stay in double precision. What is evaluated at the weights is not: outputs, and products with
their Jacobian. The predictor f = alpha (f_tilde - f_tilde_0) then has an error of about alpha times that of a number in
single precision, 1.2e-7. While alpha is small, that is little beside the tolerance of a step. Where it is large nets
are lazy, and lazy nets take few steps: there is little to gain.
"""

from collections.abc import Sequence

import torch

from .flow import OVERSHOOT
from .losses import LOSSES
from .networks import Network
from .setups import Setup
from .spelling import nearest
from .types import Inputs, Outputs, Params

PRECISIONS = ("double", "single")

MAX_ALPHA = OVERSHOOT / 4 / torch.finfo(torch.float32).eps
"""About 210. At a larger output scale, rounding would move a margin by more than a quarter of what ends a run."""


def precision_of(batch: Sequence[Setup], wanted: str) -> str:
    """The precision in which a batch of runs is evaluated: the wanted one, or double where single does not serve.

    Single serves gradient flow of fully connected nets with alpha = alpha_tilde / sqrt(h) up to MAX_ALPHA, and not to
    an end at a loss of 1e-20. Raises ValueError for an unknown precision.
    """
    if wanted not in PRECISIONS:
        raise ValueError(f"unknown precision {wanted!r}{nearest(wanted, PRECISIONS)}")
    served = all(
        setup.dynamics == "flow" and setup.architecture == "fc" and LOSSES[setup.loss].ends != "energy"
        and setup.alpha_tilde / setup.h**0.5 <= MAX_ALPHA for setup in batch
    )  # fmt: skip
    return wanted if served else "double"


def in_single_precision(network: Network) -> Network:
    """A fully connected network whose outputs and tangents are evaluated in single precision, at any weights."""

    def single(w: Params, x: Inputs) -> tuple[Params, Inputs]:
        return {name: value.float() for name, value in w.items()}, x.float()

    def apply(w: Params, x: Inputs) -> Outputs:
        return network.apply(*single(w, x))

    return Network(network.init, apply, lambda w, x: network.tangent(*single(w, x)))
