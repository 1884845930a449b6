"""Many kernels of a GPU, called as one.

A gradient of a narrow net is forty kernels that each run for less time than a call takes. A CUDA graph records them
once, on tensors that stay where they are, and calls all of them at once.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .types import Flat


def next_stage(row: Tensor, w: Flat, v: Flat, dt: Tensor, before: Flat, now: Flat, speed: Flat) -> Flat:
    """One stage of a step of Runge, Kutta and Chebyshev, from the last two and the velocity `speed` at the last.

    row: (R, 4, 1), the coefficients of `steppers.chebyshev`. w, v: weights and velocity before the step. dt: (R, 1).
    """
    mu, nu, mu_tilde, gamma_tilde = row.unbind(1)
    step = dt * (mu_tilde * speed + gamma_tilde * v)
    return (1 - mu - nu) * w + mu * now + nu * before + step


class Stages:
    """The stages of a step of all runs, on a GPU, as one graph that is called once a stage.

    velocity: of the weights of all runs. like: weights, (R, N), for their shape. most: how many stages a step may have.
    A run that needs fewer than another stays where it is after its last: so says its table.
    """

    def __init__(self, velocity: Callable[[Flat], Flat], like: Flat, most: int):
        self._velocity = velocity
        self._w, self._v, self._before, self._now = (torch.zeros_like(like) for _ in range(4))
        self._dt, self._table = like.new_zeros(len(like), 1), like.new_zeros(most + 1, len(like), 4, 1)
        self._j = torch.zeros(1, dtype=torch.long, device=like.device)
        aside = torch.cuda.Stream()  # libraries set themselves up at the first call, which a graph cannot record
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            self._stage()
        torch.cuda.current_stream().wait_stream(aside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._stage()

    def _stage(self) -> None:
        row = self._table.index_select(0, self._j)[0]
        speed = self._velocity(self._now)
        new = next_stage(row, self._w, self._v, self._dt, self._before, self._now, speed)
        self._before.copy_(self._now)
        self._now.copy_(new)
        self._j.add_(1)

    def __call__(self, w: Flat, v: Flat, dt: Tensor, table: Tensor) -> Flat:
        """The weights at the end of a step of size dt, (R, 1), from w with velocity v. table: (s + 1, R, 4, 1)."""
        self._w.copy_(w)
        self._v.copy_(v)
        self._dt.copy_(dt)
        self._table[: len(table)].copy_(table)
        self._before.copy_(w)
        self._now.copy_(w + table[1, :, 2] * dt * v)
        self._j.fill_(2)
        for _ in range(2, len(table)):
            self._graph.replay()
        return self._now.clone()
