"""Single precision, where it serves: on a core a gradient of a wide net takes half of the time.

Weights, times and steps stay in double precision. What is evaluated at the weights is not: outputs, their Jacobian, and
the matrices of implicit steps. The predictor f = alpha (f_tilde - f_tilde_0) is then off by about ERROR times alpha,
or times f where that is larger, which is little beside the tolerance of a step while alpha is small.
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

ERROR = 16 * torch.finfo(torch.float32).eps
"""The error of f_tilde - f_tilde_0 where that is of order one: the largest of a thousand patterns, about (measured)."""

MAX_ALPHA = OVERSHOOT / 4 / ERROR
"""About 13. The last margin of a run has to land between 1 and 1 + OVERSHOOT: at a larger output scale, rounding could
move it by more than a quarter of that."""


def checked_precision(wanted: str) -> str:
    """The precision, if there is one of that name. Raises ValueError otherwise."""
    if wanted not in PRECISIONS:
        raise ValueError(f"unknown precision {wanted!r}{nearest(wanted, PRECISIONS)}")
    return wanted


def precision_of(batch: Sequence[Setup], wanted: str) -> str:
    """The precision in which a batch of runs is evaluated: the wanted one, or double where single does not serve.

    Single serves gradient flow of fully connected nets with alpha = alpha_tilde / sqrt(h) up to MAX_ALPHA, and not to
    an end at a loss of 1e-20. Raises ValueError for an unknown precision.
    """
    checked_precision(wanted)
    served = all(
        setup.dynamics == "flow" and setup.architecture == "fc" and LOSSES[setup.loss].ends != "energy"
        and setup.alpha_tilde / setup.h**0.5 <= MAX_ALPHA for setup in batch
    )  # fmt: skip
    return wanted if served else "double"


def in_single_precision(network: Network) -> Network:
    """A fully connected network whose outputs and tangents are evaluated in single precision."""

    def single(w: Params, x: Inputs) -> tuple[Params, Inputs]:
        return {name: value.float() for name, value in w.items()}, x.float()

    def apply(w: Params, x: Inputs) -> Outputs:
        return network.apply(*single(w, x))

    return Network(network.init, apply, lambda w, x: network.tangent(*single(w, x)))
