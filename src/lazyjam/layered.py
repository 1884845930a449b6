"""The tangent of a fully connected net, layer by layer: its Jacobian is never built, nor a second derivative of it."""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .activations import Activation
from .types import Flat, Gram, Outputs

PARTS = 20


class Factor(NamedTuple):
    """One layer of the Jacobian: d f_tilde(x_mu) / dW = scale D_mu (outer) A_mu. None stands for a one."""

    D: Tensor | None  # (R, P, fan-out)
    A: Tensor | None  # (R or 1, P, fan-in)
    scale: float = 1.0

    @property
    def size(self) -> int:
        return (1 if self.D is None else self.D.shape[-1]) * (1 if self.A is None else self.A.shape[-1])

    def total(self) -> Tensor:
        """The sum over patterns, (R, fan-out * fan-in), of a layer whose D is known.

        A GPU gives every small matrix to one of its hundred processors, which goes through all patterns alone: so the
        sum is cut into as many parts, of the divisors of PARTS, as divide the number of patterns.
        """
        D = self.D
        if self.A is None:
            return self.scale * D.sum(1)
        A = self.A.expand(len(D), -1, -1)
        if D.is_cuda:
            parts = (math.gcd(D.shape[1], PARTS), -1)
            product = (D.unflatten(1, parts).mT @ A.unflatten(1, parts)).sum(1)
        elif A.shape[-1] < D.shape[-1]:
            product = torch.bmm(A.mT, D).mT  # a product with the wide matrix on the right takes half of the time
        else:
            product = torch.bmm(D.mT, A)
        return self.scale * product.flatten(1)

    def push(self, v: Tensor) -> Tensor:
        rows = 1 if self.D is None else self.D.shape[-1]
        v = self.scale * v
        z = v.unsqueeze(1) if self.A is None else self.A @ v.unflatten(1, (rows, -1)).mT
        return z.squeeze(-1) if self.D is None else (z * self.D).sum(-1)

    def square_norm(self) -> Tensor | float:
        inputs = self.scale**2 * (1.0 if self.A is None else self.A.square().sum(-1))
        return inputs if self.D is None else inputs * self.D.square().sum(-1)

    def block(self, run: int | Tensor, rows: Tensor) -> "Factor":
        """The same layer of one run at some of the patterns, or of all runs: a column of them, and a row for each."""
        A = None if self.A is None else self.A[run if len(self.A) > 1 else 0, rows]
        return Factor(None if self.D is None else self.D[run, rows], A, self.scale)

    def gram(self, other: "Factor") -> Tensor | float:
        """Products of the Jacobians of one layer at two sets of patterns: scale^2 (A A'^T) o (D D'^T)."""
        inputs = self.scale**2 if self.A is None else (self.A @ other.A.mT).mul_(self.scale**2)
        return inputs if self.D is None else (self.D @ other.D.mT).mul_(inputs)


class Layers(NamedTuple):
    """What a forward pass through a fully connected net leaves behind, layer by layer. A layer makes u = gain z.

    weights: times their scales, (R, fan-out, fan-in): these hold 1 / sqrt(fan-in), the rescaling of sigma, and the gain
    of the layer over that of the one below; gains: of every layer, so of its biases; inputs: what the weights multiply,
    (R or 1, P, fan-in); u: what hidden layers make of it, (R, P, h).
    """

    weights: list[Tensor]
    scales: list[float]
    gains: list[float]
    bias: bool
    inputs: list[Tensor]
    u: list[Tensor]


class LayeredTangent:
    """Tangent of a fully connected net from its layers: J is a stack of outer products and is never built whole.

    It has the precision of the weights that it was made from; vjp and jvp return that of the vector.
    """

    def __init__(self, f: Outputs, layers: Layers, phi: Activation):
        self.f, self._layers, self._phi = f, layers, phi

    def _back(self, D: Tensor) -> list[Tensor]:
        """D df_tilde / du of every layer, (R, P, h) each; at last D itself, (R, P, 1), or a one, (1, 1, 1)."""
        deltas, layers = [D], self._layers
        for layer in reversed(range(len(layers.u))):
            W = layers.weights[layer + 1]
            passed = deltas[-1] * W if W.shape[1] == 1 else torch.bmm(deltas[-1], W)  # an outer product is no product
            deltas.append(self._phi.pull(passed, layers.u[layer], layers.inputs[layer + 1]))
        return deltas[::-1]

    @cached_property
    def _deltas(self) -> list[Tensor | None]:
        """d f_tilde / du of every layer, (R, P, h); None for the output itself."""
        return [*self._back(self.f.new_ones(1, 1, 1))[:-1], None]

    @property
    def preactivations(self) -> list[Tensor]:
        """a of the hidden layers, (R, P, h) each."""
        return [u / self._phi.gain for u in self._layers.u]

    @property
    def activities(self) -> list[Tensor]:
        """sigma(a) of the hidden layers before it is rescaled, (R, P, h) each."""
        return [value / self._phi.gain for value in self._layers.inputs[1:]]

    @property
    def output_slopes(self) -> list[Tensor]:
        """d f_tilde / d a of the hidden layers, (R, P, h) each."""
        return [self._phi.gain * delta for delta in self._deltas if delta is not None]

    @cached_property
    def factors(self) -> list[Factor]:
        return self._with(self._deltas)

    def _with(self, deltas: Sequence[Tensor | None]) -> list[Factor]:
        layers = zip(deltas, self._layers.inputs, self._layers.scales, self._layers.gains, strict=True)
        pairs = [(Factor(D, A, scale), Factor(D, None, gain)) for D, A, scale, gain in layers]
        return [factor for pair in pairs for factor in pair[: 1 + self._layers.bias]]

    def vjp(self, c: Outputs) -> Flat:
        own = c.to(self.f.dtype).expand_as(self.f).unsqueeze(-1)
        if "_deltas" in vars(self):
            deltas = [own if delta is None else own * delta for delta in self._deltas]
        else:  # less work, if nobody asks for more than the velocity; the stages of a step do not
            deltas = self._back(own)
        return torch.cat([factor.total() for factor in self._with(deltas)], dim=1).to(c.dtype)

    def jvp(self, v: Flat) -> Outputs:
        sizes = [factor.size for factor in self.factors]
        parts = v.to(self.f.dtype).split(sizes, dim=1)
        return sum(factor.push(part) for factor, part in zip(self.factors, parts, strict=True)).to(v.dtype)

    def diagonal(self) -> Outputs:
        return sum(factor.square_norm() for factor in self.factors).expand_as(self.f)

    def gram(self, run: int | Tensor, rows: Tensor) -> Tensor:
        """As in `Tangent`; for a column of all runs, (R, 1), and rows (R, K), the blocks of all, (R, K, K)."""
        first, *others = (factor.block(run, rows) for factor in self.factors)
        total = first.gram(first)
        for block in others:
            total += block.gram(block)  # in place: these matrices fill the memory of a GPU
        return total

    def jacobian(self, run: int | Tensor, rows: Tensor) -> Tensor:
        """As in `Tangent`; for a column of all runs, (R, 1), and rows (R, K), the rows of all, (R, K, N)."""
        parts, one = [], torch.ones_like(rows, dtype=self.f.dtype).unsqueeze(-1)
        for D, A, scale in (factor.block(run, rows) for factor in self.factors):
            D, A = one if D is None else D, one if A is None else A
            parts.append((D.unsqueeze(-1) * (scale * A).unsqueeze(-2)).flatten(-2))
        return torch.cat(parts, dim=-1)

    def hessian(self, run: int | Tensor, c: Tensor, rows: Tensor) -> Tensor:
        """As in `Tangent`; for a column of all runs, (R, 1), c (R, P) and rows (R, K), that of all, (R, N, N).

        Layer by layer: u_l bends through the activation, and is bilinear in its weights and what is below. The weights
        of layer k act through u_k alone, so with G_lk = d u_l / d u_k every block is a sum over patterns of an (h x h)
        and a (fan-in x fan-in) matrix: no second derivative of a pattern is as large as the weights.
        """
        weights, scales, gains, bias, inputs, u = self._layers
        c = c.gather(-1, rows).unsqueeze(-1).to(self.f.dtype)
        A = [scale * a[run if len(a) > 1 else 0, rows] for scale, a in zip(scales, inputs, strict=True)]
        if bias:
            A = [F.pad(a, (0, 1), value=gain) for a, gain in zip(A, gains, strict=True)]
        D = [c if delta is None else c * delta[run, rows] for delta in self._deltas]
        shapes = [(W.shape[1], a.shape[-1]) for W, a in zip(weights, A, strict=True)]
        blocks = _Blocks(c, shapes)
        G: list[Tensor] = []  # from every layer below
        for layer in range(len(u)):
            W, here = weights[layer + 1][run if isinstance(run, int) else run[:, 0]], u[layer][run, rows]
            S = self._phi.pull(torch.ones_like(here), here, inputs[layer + 1][run, rows])
            q, above = (D[layer + 1] @ W) * self._phi.bend(here), scales[layer + 1] * S
            for k, g in enumerate(G):
                bent = (q.unsqueeze(-1) * g).mT
                for j in range(k + 1):
                    blocks[j, k].add_(_outer((bent @ G[j]).mT, A[j], A[k]))
                blocks[k, layer].add_(_outer(bent, A[k], A[layer]))
                through = (above.unsqueeze(-1) * g).mT
                upper = blocks[k, layer + 1][..., : above.shape[-1]]
                upper.add_(_outer(through, A[k], D[layer + 1]).mT)
            # a layer's own u is one of its own: diagonal in the neuron
            own = torch.einsum("...pi,...pa,...pb->...abi", q, A[layer], A[layer])
            blocks[layer, layer].diagonal(0, -4, -2).add_(own)
            upper = blocks[layer, layer + 1][..., : above.shape[-1]]
            upper.diagonal(0, -4, -1).add_(torch.einsum("...pi,...pa,...po->...aoi", above, A[layer], D[layer + 1]))
            W = W.unsqueeze(-3)
            G = [W @ (S.unsqueeze(-1) * g) for g in G] + [W * S.unsqueeze(-2)]
        return blocks.whole(bias)


class _Blocks:
    """Symmetric matrices over the weights, by layers: [k, m], k <= m, is a view (..., out, fan-in, out, fan-in).

    like: gives what comes before the last two axes.
    """

    def __init__(self, like: Tensor, shapes: Sequence[tuple[int, int]]):
        ends = np.cumsum([0, *(out * fan_in for out, fan_in in shapes)])
        self._shapes, self._parts = shapes, [slice(*pair) for pair in pairwise(ends.tolist())]
        self._matrix = like.new_zeros(*like.shape[:-2], ends[-1], ends[-1])

    def __getitem__(self, pair: tuple[int, int]) -> Tensor:
        (rows, columns), (left, right) = ([of[layer] for layer in pair] for of in (self._parts, self._shapes))
        return self._matrix[..., rows, columns].unflatten(-2, left).unflatten(-1, right)

    def whole(self, bias: bool) -> Tensor:
        """The matrix in the order of `flatten`. bias: the last input of every layer is that of its bias."""
        for rows, columns in combinations(self._parts, 2):
            self._matrix[..., columns, rows] = self._matrix[..., rows, columns].mT
        if not bias:
            return self._matrix
        everything = torch.arange(self._matrix.shape[-1], device=self._matrix.device)
        layers = [everything[part].reshape(shape) for part, shape in zip(self._parts, self._shapes, strict=True)]
        order = torch.cat([index for layer in layers for index in (layer[:, :-1].flatten(), layer[:, -1])])
        return self._matrix.index_select(-2, order).index_select(-1, order)


def _outer(M: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """sum_p M_pji A_pa B_pb, shape (..., j, a, i, b), as one matrix product."""
    pairs = (A.unsqueeze(-1) * B.unsqueeze(-2)).flatten(-2)
    return (M.flatten(-2).mT @ pairs).unflatten(-1, (A.shape[-1], -1)).unflatten(-3, M.shape[-2:]).transpose(-3, -2)


def layered_gram(one: LayeredTangent, two: LayeredTangent) -> Gram:
    """The kernel J_1 J_2^T between two sets of patterns for all runs: O(P^2 h), no Jacobian is built."""
    pairs = zip(one.factors, two.factors, strict=True)
    return sum(a.gram(b) for a, b in pairs).expand(len(one.f), -1, -1)
