"""The curvature of the landscape U = (1/2P) sum_mu max(0, Delta_mu)^2 of the quadratic hinge (Eqs. 10 and 12).

With Delta = 1 - y f and f = alpha (f_tilde - f_tilde_0), the Hessian is H = H_0 + H_p, both sums over the N_delta
unsatisfied patterns, and both divided by P as U is:

    H_0 = (1/P) sum grad Delta grad Delta^T,    H_p = (1/P) sum Delta grad grad Delta.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .tangents import Tangent
from .types import Labels, Outputs

ZERO = 1e-10  # an eigenvalue below this share of the largest is zero


class Contacts(NamedTuple):
    """The unsatisfied patterns of one run, those with Delta > 0, as what a Hessian is made of.

    rows: their indices. delta: (N_delta,). jacobian: (N_delta, N), the gradients of -Delta = y f - 1.
    """

    rows: Tensor
    delta: Tensor
    jacobian: Tensor


def contacts(tangent: Tangent, y: Labels, delta: Outputs, alpha: float | Tensor, run: int = 0) -> Contacts:
    """The unsatisfied patterns of a run of a batch with these Delta, shape (R, P)."""
    rows = (delta[run] > 0).nonzero()[:, 0]
    return Contacts(rows, delta[run, rows], alpha * y[rows, None] * tangent.jacobian(run, rows))


def hessian(
    tangent: Tangent, y: Labels, delta: Outputs, alpha: float | Tensor, run: int = 0
) -> tuple[Tensor, Tensor]:
    """H_0 and H_p of one run, both (N, N), away from kinks of the activation."""
    J = contacts(tangent, y, delta, alpha, run).jacobian
    return J.T @ J / len(y), bending(tangent, y, delta, alpha, run)


def bending(tangent: Tangent, y: Labels, delta: Outputs, alpha: float | Tensor, run: int = 0) -> Tensor:
    """H_p of one run, (N, N)."""
    rows = (delta[run] > 0).nonzero()[:, 0]
    return tangent.hessian(run, -alpha * y * delta[run] / len(y), rows)


def spectrum_0(J: Tensor, P: int) -> Tensor:
    """The eigenvalues of H_0 = J^T J / P, ascending, (N,): squares of singular values, exact however small they are."""
    values = torch.linalg.svdvals(J).square().flip(0) / P
    return torch.cat([values.new_zeros(J.shape[1] - len(values)), values])


def negative(values: Tensor) -> int:
    """N^-: how many eigenvalues are negative, by more than rounding makes."""
    return int((values < -ZERO * values.abs().max()).sum())
