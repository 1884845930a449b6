"""The tangent of a network: what is first order in its weights (and, for stiff flows, second order).

J is the Jacobian of the outputs f_tilde of a batch of runs at P patterns with respect to the weights.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from .types import Flat, Inputs, Outputs, Params

CHUNK = 64  # patterns whose Jacobians are computed at once: more do not stay in the cache of a core


@runtime_checkable
class Tangent(Protocol):
    """A batch of networks at weights w on inputs x: the outputs f_tilde, shape (R, P), and their Jacobian J."""

    f: Outputs

    def vjp(self, c: Outputs) -> Flat:
        """J^T c: the gradient of sum_mu c_mu f_tilde(x_mu)."""

    def jvp(self, v: Flat) -> Outputs:
        """J v: the change of the outputs to first order in a change v of the weights."""

    def diagonal(self) -> Outputs:
        """Squared norms of the rows of J: the diagonal of the neural tangent kernel of every run."""

    def gram(self, run: int, rows: Tensor) -> Tensor:
        """Block of the neural tangent kernel J J^T of one run, restricted to the patterns `rows`."""

    def jacobian(self, run: int, rows: Tensor) -> Tensor:
        """The rows of J of one run, shape (len(rows), N)."""

    def hessian(self, run: int, c: Tensor, rows: Tensor) -> Tensor:
        """Second derivative of sum_mu c_mu f_tilde(x_mu) of one run, summed over the patterns `rows`, shape (N, N)."""


# parameters ----------------------------------------------------------------------------------------------------------


def flatten(w: Params) -> Flat:
    """A batch of parameters as one row per run, in the order of the dictionary."""
    return torch.cat([value.flatten(1) for value in w.values()], dim=1)


def unflatten(flat: Flat, like: Params) -> Params:
    """The inverse of `flatten`: views on `flat` with the names and shapes of `like` (whose runs may be fewer)."""
    sizes = [math.prod(value.shape[1:]) for value in like.values()]
    parts = flat.split(sizes, dim=1)
    return {name: part.unflatten(1, value.shape[1:]) for (name, value), part in zip(like.items(), parts, strict=True)}


def stack(runs: Sequence[Params]) -> Params:
    """Parameters of several runs as one batch."""
    return {name: torch.stack([w[name] for w in runs]) for name in runs[0]}


# of any network ------------------------------------------------------------------------------------------------------


class AutogradTangent:
    """Tangent of any batched `apply`, by automatic differentiation. Neither runs nor patterns may mix in it."""

    def __init__(self, apply: Callable[[Params, Inputs], Outputs], w: Params, x: Inputs):
        self._w, self._x, self._at = {name: value.detach() for name, value in w.items()}, x, apply
        self._apply = lambda w: apply(w, x)
        self.f, self._pull = torch.func.vjp(self._apply, self._w)

    def vjp(self, c: Outputs) -> Flat:
        return flatten(self._pull(c)[0])

    def jvp(self, v: Flat) -> Outputs:
        return torch.func.jvp(self._apply, (self._w,), (unflatten(v, self._w),))[1]

    def diagonal(self) -> Outputs:
        return self.jacobians(torch.arange(self.f.shape[1], device=self.f.device)).square().sum(-1)

    def jacobian(self, run: int, rows: Tensor) -> Tensor:
        one = {name: value[run : run + 1] for name, value in self._w.items()}
        return outputs_and_jacobian(self._at, one, self._x[rows])[1][0]

    def jacobians(self, rows: Tensor) -> Tensor:
        """Rows of J for all runs, shape (R, len(rows), N)."""
        return outputs_and_jacobian(self._at, self._w, self._x[rows])[1]

    def gram(self, run: int, rows: Tensor) -> Tensor:
        J = self.jacobian(run, rows)
        return J @ J.T

    def hessian(self, run: int, c: Tensor, rows: Tensor) -> Tensor:
        kept = torch.zeros_like(c).index_copy(0, rows, c[rows])
        one = {name: value[run : run + 1] for name, value in self._w.items()}

        def total(flat: Tensor) -> Tensor:
            return self._apply(unflatten(flat.unsqueeze(0), one))[0] @ kept

        # backward twice: forward over backward fails for SiLU under no_grad, and is wrong for LayerNorm (torch 2.13)
        return torch.func.jacrev(torch.func.grad(total))(flatten(one)[0])


def outputs_and_jacobian(apply: Callable[[Params, Inputs], Outputs], w: Params, x: Tensor) -> tuple[Tensor, Tensor]:
    """f_tilde (R, P) and J (R, P, N) of a batched `apply`, a pattern at a time: P rows cost P gradients on one pattern.

    One cotangent serves all runs.
    """

    def row(pattern: Tensor) -> tuple[Tensor, Tensor]:
        f, pull = torch.func.vjp(lambda w: apply(w, pattern.unsqueeze(0)), w)
        return f[:, 0], flatten(pull(torch.ones_like(f))[0])

    if not len(x):  # vmap has nothing to say about the shape of nothing
        return flatten(w)[:, :0], flatten(w).unsqueeze(1)[:, :0]
    f, J = torch.func.vmap(row, chunk_size=CHUNK)(x)
    return f.T, J.transpose(0, 1)


class StoredTangent:
    """A tangent whose whole Jacobian is kept, J (R, P, N): what is first order in the weights is a product with it.

    hessian: what `Tangent.hessian` is to be.
    """

    def __init__(self, f: Outputs, J: Float[Tensor, "R P N"], hessian: Callable[[int, Tensor, Tensor], Tensor]):
        self.f, self._J, self.hessian = f, J, hessian

    def vjp(self, c: Outputs) -> Flat:
        return (c.unsqueeze(1) @ self._J).squeeze(1)

    def jvp(self, v: Flat) -> Outputs:
        return (self._J @ v.unsqueeze(2)).squeeze(2)

    @cached_property
    def _kernel(self) -> Tensor:
        return self._J @ self._J.mT

    def diagonal(self) -> Outputs:
        return self._kernel.diagonal(dim1=1, dim2=2)

    def jacobian(self, run: int, rows: Tensor) -> Tensor:
        return self._J[run, rows]

    def gram(self, run: int, rows: Tensor) -> Tensor:
        return self._kernel[run][rows][:, rows]
