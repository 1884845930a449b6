"""The empirical neural tangent kernel Theta(x, x') = grad f_tilde(x) . grad f_tilde(x') (Eq. 5)."""

import torch
from jaxtyping import Float
from torch import Tensor

from .networks import Network
from .tangents import LayeredTangent, layered_gram
from .types import Gram, Inputs, Params, PerRun


def ntk(network: Network, w: Params, x: Inputs, x2: Float[Tensor, "Q d"] | None = None) -> Gram:
    """Gram matrix of the tangent kernel between x (P, d) and x2 (Q, d) for every run: (R, P, Q).

    Fully connected nets: a sum over layers of products of two P x Q matrices, O(P Q h). Others: Jacobian products,
    one batch of rows at a time. In the parametrisation f_tilde: the kernel of f is alpha^2 times this one.
    """
    one = network.tangent(w, x)
    two = one if x2 is None else network.tangent(w, x2)
    if isinstance(one, LayeredTangent):
        return layered_gram(one, two)
    J, J2 = (t.jacobians(torch.arange(t.f.shape[1], device=t.f.device)) for t in (one, two))
    return J @ J2.mT


def relative_change(now: Gram, start: Gram) -> PerRun:
    """||Theta - Theta_0|| / ||Theta_0|| in Frobenius norm, per run: 1 is the cross-over from lazy to feature."""
    return (now - start).flatten(1).norm(dim=1) / start.flatten(1).norm(dim=1)
