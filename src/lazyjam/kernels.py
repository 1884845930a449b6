"""Kernels of networks, and networks as kernels.

The empirical neural tangent kernel is Theta(x, x') = grad f_tilde(x) . grad f_tilde(x') (Eq. 5). In the lazy regime it
stays what it was, and training is a flow in the space of functions: f' = -(1/P) sum_mu Theta(., x_mu) dl/df(x_mu).
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from .flow import Snapshot, gradient_flow
from .layered import LayeredTangent, layered_gram
from .networks import KEPT, Network, from_function
from .tangents import Tangent, flatten
from .types import Gram, Inputs, Labels, Outputs, Params, PerRun

JITTER = 1e-12  # of the mean diagonal of a Gram matrix, added so that it can be factorised
WIDE = 100.0  # width of a Laplace kernel in units of sqrt(d), much larger than distances between data of that size
EXACT = 100  # dimensions up to which distances are not taken from scalar products, which lose the small ones


def ntk(network: Network, w: Params, x: Inputs, x2: Float[Tensor, "Q d"] | None = None) -> Gram:
    """Gram matrix of the tangent kernel between x (P, d) and x2 (Q, d) for every run: (R, P, Q).

    Fully connected nets: a sum over layers of products of two P x Q matrices, O(P Q h). Others: products of Jacobians,
    in blocks of so many patterns that no more than KEPT numbers of each are held at once. In the parametrisation
    f_tilde: the kernel of f is alpha^2 times this one.
    """
    if isinstance(network.tangent(w, x[:1]), LayeredTangent):
        one = network.tangent(w, x)
        return layered_gram(one, one if x2 is None else network.tangent(w, x2))
    most = max(1, KEPT // sum(value.numel() for value in w.values()))
    left = x.split(most)
    right = left if x2 is None else x2.split(most)
    return torch.cat([_row_of_blocks(network, w, part, right) for part in left], dim=1)


def _row_of_blocks(network: Network, w: Params, x: Tensor, right: tuple[Tensor, ...]) -> Tensor:
    J = _jacobians(network, w, x)
    return torch.cat([J @ (J if part is x else _jacobians(network, w, part)).mT for part in right], dim=2)


def _jacobians(network: Network, w: Params, x: Inputs) -> Tensor:
    tangent = network.tangent(w, x)
    rows = torch.arange(len(x), device=x.device)
    return torch.stack([tangent.jacobian(run, rows) for run in range(len(tangent.f))])


def relative_change(now: Gram, start: Gram) -> PerRun:
    """||Theta - Theta_0|| / ||Theta_0|| in Frobenius norm, per run: 1 is the cross-over from lazy to feature."""
    return (now - start).flatten(1).norm(dim=1) / start.flatten(1).norm(dim=1)


# linear in the weights -----------------------------------------------------------------------------------------------


class LinearTangent:
    """The tangent of a network that is linear in its weights: that of its starting point, wherever it is."""

    def __init__(self, f: Outputs, start: Tangent):
        self.f, self._start = f, start
        self.vjp, self.jvp, self.diagonal = start.vjp, start.jvp, start.diagonal
        self.gram, self.jacobian = start.gram, start.jacobian

    def hessian(self, run: int, c: Tensor, rows: Tensor) -> Tensor:
        """Nothing bends."""
        N = self.vjp(torch.zeros_like(self.f)).shape[1]
        return self.f.new_zeros(N, N)


def linearise(network: Network, w0: Params) -> Network:
    """f_tilde(w_0, x) + grad f_tilde(w_0, x) . (w - w_0): the network to first order in a change of its weights.

    w0: the weights of one run, with an axis of length one in front. The runs of the new network all start there.
    Trained like any other, it is the lazy limit of the network at finite width.
    """

    def init(generator: Generator) -> Params:
        return {name: value[0].clone() for name, value in w0.items()}

    def tangent(w: Params, x: Inputs) -> LinearTangent:
        start = {name: w0[name].expand_as(value) for name, value in w.items()}
        base = network.tangent(start, x)
        return LinearTangent(base.f + base.jvp(flatten(w) - flatten(start)), base)

    return Network(init, lambda w, x: tangent(w, x).f, tangent)


# kernels in closed form ----------------------------------------------------------------------------------------------


def laplace(x: Inputs, x2: Float[Tensor, "Q d"], width: float = WIDE) -> Float[Tensor, "P Q"]:
    """exp(-|x - x'| / (width sqrt(d))). Far below its width it is linear in |x - x'|: a cusp."""
    d = x.shape[1]
    way = "donot_use_mm_for_euclid_dist" if d <= EXACT else "use_mm_for_euclid_dist"
    return torch.cdist(x, x2, compute_mode=way).div_(-width * d**0.5).exp_()


class Infinite(NamedTuple):
    """Of an infinitely wide net, between two sets: covariance of its output at the start, and its tangent kernel."""

    covariance: Float[Tensor, "P Q"]
    tangent: Float[Tensor, "P Q"]


def infinite_width(x: Inputs, x2: Float[Tensor, "Q d"], L: int, bias: bool = False) -> Infinite:
    """L hidden layers of infinitely many ReLU neurons, weights N(0, 1), and so the biases, if there are any.

    With c the covariance of the pre-activations of a layer, q and q' their variances and rho = c / sqrt(q q') =
    cos(angle), that of the next layer is c_next = sqrt(q q') kappa_1(rho) + b, and Theta becomes c_next + Theta
    kappa_0(rho); c and Theta begin as x.x' / d + b. kappa_0 = (pi - angle) / pi, kappa_1 = (sin(angle) + (pi - angle)
    rho) / pi, b = 1 with biases and 0 without (Cho, Saul 2009; Jacot et al. 2018).
    """
    d, b = x.shape[1], float(bias)
    c = x @ x2.T / d + b
    q, q2 = (points.square().sum(1) / d + b for points in (x, x2))
    theta = c
    for _ in range(L):
        size = (q[:, None] * q2).sqrt()
        rho = (c / size).clamp(-1, 1)
        angle = rho.arccos()
        kappa_0 = (math.pi - angle) / math.pi
        kappa_1 = (1 - rho.square()).clamp(min=0).sqrt() / math.pi + kappa_0 * rho
        c = size * kappa_1 + b
        theta, q, q2 = c + theta * kappa_0, q + b, q2 + b  # kappa_1(1) = 1
    return Infinite(c, theta)


# kernel methods ------------------------------------------------------------------------------------------------------


def root_of(K: Float[Tensor, "P P"]) -> Float[Tensor, "P P"]:
    """The lower triangular phi with phi phi^T = K, by Cholesky. Raises ValueError where K is not positive."""
    lifted = K + JITTER * K.diagonal().mean() * torch.eye(len(K), dtype=K.dtype, device=K.device)
    root, failed = torch.linalg.cholesky_ex(lifted)
    if failed:
        raise ValueError("a Gram matrix must be positive definite: this one is not, so are two patterns the same?")
    return root


def features(K: Float[Tensor, "P P"], K_test: Float[Tensor, "Q P"]) -> tuple[Tensor, Tensor]:
    """Inputs (P, P) and (Q, P) whose scalar products are the Gram matrix K and, between the two sets, K_test.

    A kernel method on the patterns is a linear one on these. Raises ValueError as `root_of` does.
    """
    root = root_of(K)
    return root, torch.linalg.solve_triangular(root, K_test.T, upper=False).T


def kernel_flow(phi: Float[Tensor, "P P"], y: Labels, loss: str, **how: Any) -> Iterator[Snapshot]:
    """Gradient flow with a frozen kernel, as a flow of the weights of `features`: one run, the time that of a network.

    f(x) = phi(x) . w for any x whose features are known. how: what `flow.gradient_flow` takes.
    """
    linear = from_function(lambda generator: {"w": phi.new_zeros(phi.shape[1])}, lambda w, x: w["w"] @ x.T)
    w0 = {"w": phi.new_zeros(1, phi.shape[1])}
    yield from gradient_flow(linear, w0, (phi, y), loss, phi.new_ones(1), **how)


class Machine(NamedTuple):
    """A support vector machine: f(x) = sum over `support` of K(x, x_mu) weights_mu, + offset."""

    support: Tensor
    weights: Tensor
    offset: float

    def __call__(self, K_test: Float[Tensor, "Q S"]) -> Tensor:
        """f (Q,) where the kernel with the support vectors is K_test."""
        return K_test @ self.weights + self.offset


def hard_margin(K: Float[Tensor, "P P"], y: Labels) -> Machine:
    """The support vector machine without slack: the least norm with y f >= 1 (scikit-learn's libsvm, C = 1e20).

    libsvm keeps the kernel in single precision. What all entries have in common makes no difference to a machine with
    an offset, so it is taken off first.
    """
    from sklearn.svm import SVC  # here, because it costs a second of every start of the command line

    size = K.max() - K.min()
    machine = SVC(kernel="precomputed", C=1e20, tol=1e-6).fit(((K - K.mean()) / size).cpu().numpy(), y.cpu().numpy())
    support, weights = torch.from_numpy(machine.support_).long(), torch.from_numpy(machine.dual_coef_[0])
    return Machine(support.to(K.device), weights.to(K.device) / size, float(machine.intercept_[0]))


def interpolated(K: Float[Tensor, "P P"], y: Tensor, K_test: Float[Tensor, "Q P"]) -> Tensor:
    """f on a test set, (Q,) or (Q, k), of kernel regression without a ridge: f = y on the training set, least norm."""
    return K_test @ torch.cholesky_solve(y.reshape(len(y), -1), root_of(K)).reshape(y.shape)
