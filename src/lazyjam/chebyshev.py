"""The recurrence of Runge, Kutta and Chebyshev: many stages, each one gradient, that make a long explicit step stable.

Sommeijer, Shampine, Verwer, J. Comput. Appl. Math. 88 (1998) 315. On a GPU a gradient of a narrow net is thirty kernels
that each run for less time than it takes to call them. A CUDA graph records a stage once, on tensors that stay where
they are, and calls all of its kernels as one.
"""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from .types import Flat, PerRun

MAX_STAGES = 250
DAMPING = 2 / 13


@lru_cache(maxsize=MAX_STAGES)
def chebyshev(s: int) -> Float[Tensor, "stages 4"]:
    """Coefficients (mu, nu, mu~, gamma~) of the s stages of the second-order method, one row each, from stage 0 on.

    Row 1 holds mu~_1 only.
    """
    w0 = 1 + DAMPING / s**2
    T, dT, ddT = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for _ in range(2, s + 1):
        ddT.append(4 * dT[-1] + 2 * w0 * ddT[-1] - ddT[-2])
        dT.append(2 * T[-1] + 2 * w0 * dT[-1] - dT[-2])
        T.append(2 * w0 * T[-1] - T[-2])
    w1 = dT[s] / ddT[s]
    b = [0.0, 0.0] + [ddT[j] / dT[j] ** 2 for j in range(2, s + 1)]
    b[0] = b[1] = b[2]
    a = [1 - b[j] * T[j] for j in range(s + 1)]
    rows = [[0.0] * 4, [0.0, 0.0, b[1] * w1, 0.0]]
    for j in range(2, s + 1):
        mu_tilde = 2 * b[j] * w1 / b[j - 1]
        rows.append([2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], mu_tilde, -a[j - 1] * mu_tilde])
    return torch.tensor(rows, dtype=torch.float64)


def table_of(counts: Sequence[int], dt: PerRun) -> Float[Tensor, "stages R 5 1"]:
    """What every stage of runs with so many stages takes of: w, v, before, now, speed, as `next_stage` has them.

    As far as the longest run goes. A run stays where its last stage led it.
    """
    table = torch.zeros(max(counts) + 1, len(counts), 5, dtype=torch.float64)
    table[..., 3] = 1
    for run, s in enumerate(counts):
        mu, nu, mu_tilde, gamma_tilde = chebyshev(s).unbind(1)
        table[: s + 1, run] = torch.stack([1 - mu - nu, gamma_tilde, nu, mu, mu_tilde], dim=1)
    table = table.to(dt)
    table[..., 1::3] *= dt[:, None]  # of velocities
    return table.unsqueeze(-1)


def first_stage(table: Tensor, w: Flat, v: Flat) -> Flat:
    """Weights after stage 1 of a step from w with velocity v."""
    return torch.addcmul(w, table[1, :, 4], v)


def next_stage(row: Tensor, w: Flat, v: Flat, before: Flat, now: Flat, speed: Flat) -> Flat:
    """Weights after the stage with the coefficients `row`, (R, 5, 1), of a step from w with velocity v.

    before, now: weights after the last two stages; speed: the velocity at `now`. In place, because a stage of a narrow
    net is little more than this sum.
    """
    of_w, of_v, of_before, of_now, of_speed = row.unbind(1)
    new = of_w * w
    return new.addcmul_(of_v, v).addcmul_(of_before, before).addcmul_(of_now, now).addcmul_(of_speed, speed)


class Stages:
    """The stages of a step of all runs, on a GPU, as a CUDA graph that is called once a stage.

    velocity: of the weights of all runs, (R, N). like: weights, for their shape, device and type.
    """

    def __init__(self, velocity: Callable[[Flat], Flat], like: Flat):
        self._velocity = velocity
        self._w, self._v, self._before, self._now = (torch.zeros_like(like) for _ in range(4))
        self._table = like.new_zeros(MAX_STAGES + 1, len(like), 5, 1)
        self._j = torch.zeros(1, dtype=torch.long, device=like.device)
        with torch.cuda.device(like.device):
            self._graph, aside = torch.cuda.CUDAGraph(), _aside(torch.cuda.current_device())
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                self._stage()  # libraries set themselves up at the first call, which a graph cannot record
            torch.cuda.current_stream().wait_stream(aside)
            with torch.cuda.graph(self._graph, stream=aside):
                self._stage()

    def _stage(self) -> None:
        row = self._table.index_select(0, self._j)[0]
        speed = self._velocity(self._now)
        new = next_stage(row, self._w, self._v, self._before, self._now, speed)
        self._before.copy_(self._now)
        self._now.copy_(new)
        self._j.add_(1)

    def __call__(self, w: Flat, v: Flat, table: Tensor) -> Flat:
        """The weights at the end of a step from w with velocity v. table: see `table_of`."""
        self._w.copy_(w)
        self._v.copy_(v)
        self._table[: len(table)].copy_(table)
        self._before.copy_(w)
        self._now.copy_(first_stage(table, w, v))
        self._j.fill_(2)
        for _ in range(2, len(table)):
            self._graph.replay()
        return self._now.clone()


@cache
def _aside(device: int) -> torch.cuda.Stream:
    """The stream on which graphs are recorded: one, because libraries keep memory for every stream they have seen."""
    return torch.cuda.Stream(device)
