"""Kernel principal components and the labels: what the top eigenvectors of a Gram matrix know (Section 5, Fig. 10)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from .kernels import ntk
from .observables import decided, observable
from .setups import Setup, Trained
from .types import Labels

RANKS = 20  # eigenvectors that are looked at
BINS = 20  # of an eigenvector, each with as many patterns


def ranks(setup: Setup) -> int:
    """How many eigenvectors there are to look at."""
    return min(RANKS, setup.P)


def kernel_pca(K: Float[Tensor, "P P"]) -> tuple[Tensor, Tensor]:
    """Eigenvalues (P,) of a Gram matrix, descending, and its eigenvectors in columns, of norm one. Not centred."""
    values, vectors = torch.linalg.eigh(K)
    return values.flip(0), vectors.flip(1)


def projections(vectors: Float[Tensor, "P k"], y: Labels) -> Tensor:
    """omega_lambda^2 = (phi_lambda . y)^2 / |y|^2, (k,): over all eigenvectors they add up to one."""
    return (y @ vectors).square() / y.square().sum()


def mutual_information(values: Labels, y: Labels, bins: int = BINS) -> float:
    """I(value; y) in bits: of P numbers in bins of equal filling, and labels +-1.

    From three entropies, each with the correction (occupied cells - 1) / (2 P ln 2) of Miller (1955). Without
    information the estimate is zero on average, so it can be a little negative; it exceeds the entropy of the label,
    one bit, by at most 1 / (2 P ln 2). NaN where a value is. Raises ValueError for fewer than two patterns a bin.
    """
    P = len(values)
    enough(P, bins)
    if not bool(values.isfinite().all()):
        return math.nan
    values, y = values.cpu(), y.cpu()
    where = values.argsort().argsort() * bins // P
    joint = torch.zeros(bins, 2, dtype=torch.float64)
    joint.index_put_((where, (y > 0).long()), torch.ones(P, dtype=torch.float64), accumulate=True)
    return sum(sign * _entropy(counts / P, P) for sign, counts in ((1, joint.sum(1)), (1, joint.sum(0)), (-1, joint)))


def _entropy(p: Tensor, P: int) -> float:
    """In bits, with Miller's correction."""
    return float(-torch.xlogy(p, p).sum() + ((p > 0).sum() - 1) / (2 * P)) / math.log(2)


def enough(P: int, bins: int = BINS) -> None:
    """Raises ValueError for fewer than two patterns a bin."""
    if P < 2 * bins:
        raise ValueError(f"{bins} bins need at least {2 * bins} patterns, got {P}.")


def _top(K: Tensor) -> Tensor:
    return kernel_pca(K)[1][:, :RANKS]


def _kernels(trained: Trained) -> list[Tensor]:
    """Of the initial and of the last weights, on the training set."""
    return [ntk(trained.network, w, trained.data.train.x) for w in (trained.w0, trained.w)]


@observable(dims={"when": 2, "rank": ranks})
def label_projection(trained: Trained) -> Tensor:
    """omega_lambda^2 of the top eigenvectors of the tangent kernel on the training set, at the start and the end."""
    y = trained.data.train.y
    rows = [torch.stack([projections(_top(K), y) for K in kernels]) for kernels in _kernels(trained)]
    return decided(trained, torch.stack(rows, dim=1))


@observable(dims={"when": 2, "rank": ranks}, needs=lambda setup: enough(setup.P))
def label_information(trained: Trained) -> Tensor:
    """Mutual information with the label, in bits, of the same eigenvectors."""
    y = trained.data.train.y
    rows = [torch.stack([information(K, y) for K in kernels]) for kernels in _kernels(trained)]
    return decided(trained, torch.stack(rows, dim=1))


def information(K: Float[Tensor, "P P"], y: Labels) -> Tensor:
    """Mutual information with the label of the top eigenvectors of a Gram matrix."""
    if not bool(K.isfinite().all()):
        return y.new_full((min(RANKS, len(y)),), math.nan)
    return y.new_tensor([mutual_information(vector, y) for vector in _top(K).T])
