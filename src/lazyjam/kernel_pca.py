"""Kernel principal components and the labels: what the top eigenvectors of a Gram matrix know (Section 5, Fig. 10)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .kernels import ntk
from .observables import observable
from .setups import Trained
from .types import Labels

RANKS = 20  # eigenvectors that are looked at
BINS = 20  # of an eigenvector, each with as many patterns


def kernel_pca(K: Float[Tensor, "P P"]) -> tuple[Tensor, Tensor]:
    """Eigenvalues (P,) of a Gram matrix, descending, and its eigenvectors in columns, of norm one. Not centred."""
    values, vectors = torch.linalg.eigh(K)
    return values.flip(0), vectors.flip(1)


def projections(vectors: Float[Tensor, "P k"], y: Labels) -> Tensor:
    """omega_lambda^2 = (phi_lambda . y)^2 / |y|^2, (k,): over all eigenvectors they add up to one."""
    return (y @ vectors).square() / y.square().sum()


def mutual_information(values: Labels, y: Labels, bins: int = BINS) -> float:
    """I(value; y) in bits, at most one: of P numbers in bins of equal filling, and balanced labels +-1.

    The bias of the plug-in estimate for so many bins, (bins - 1) / (2 P ln 2), is taken off (Miller 1955), so it can be
    a little negative. Raises ValueError for fewer than two patterns a bin.
    """
    P = len(values)
    if P < 2 * bins:
        raise ValueError(f"{bins} bins need at least {2 * bins} patterns, got {P}.")
    where = values.argsort().argsort() * bins // P
    joint = torch.zeros(bins, 2, dtype=torch.float64)
    joint.index_put_((where, (y > 0).long()), torch.ones(P, dtype=torch.float64), accumulate=True)
    joint /= P
    independent = joint.sum(1, keepdim=True) * joint.sum(0)
    plug_in = torch.xlogy(joint, joint / independent.clamp(min=1e-300)).sum() / math.log(2)
    return float(plug_in) - (bins - 1) / (2 * P * math.log(2))


def _top(K: Tensor) -> Tensor:
    return kernel_pca(K)[1][:, :RANKS]


def _kernels(trained: Trained) -> list[Tensor]:
    """Of the initial and of the last weights, on the training set."""
    return [ntk(trained.network, w, trained.data.train.x) for w in (trained.w0, trained.w)]


@observable(dims=("when", "rank"))
def label_projection(trained: Trained) -> Tensor:
    """omega_lambda^2 of the top eigenvectors of the tangent kernel on the training set, at the start and the end."""
    y = trained.data.train.y
    rows = [torch.stack([projections(_top(K), y) for K in kernels]) for kernels in _kernels(trained)]
    return torch.stack(rows, dim=1)


@observable(dims=("when", "rank"))
def label_information(trained: Trained) -> Tensor:
    """Mutual information with the label, in bits, of the same eigenvectors."""
    y = trained.data.train.y
    return torch.stack([torch.stack([information(K, y) for K in kernels]) for kernels in _kernels(trained)], dim=1)


def information(K: Float[Tensor, "P P"], y: Labels) -> Tensor:
    """Mutual information with the label of the top eigenvectors of a Gram matrix."""
    return torch.tensor([mutual_information(vector, y) for vector in _top(K).T], dtype=torch.float64)
