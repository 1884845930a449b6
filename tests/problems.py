"""Small problems for the tests of a step: reproducible numbers, and a batch of nets on them."""

import torch

from lazyjam.losses import LOSSES
from lazyjam.problem import Problem
from lazyjam.tangents import stack, unflatten


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(network, loss: str, alpha: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> Problem:
    w0 = stack([network.init(torch.Generator().manual_seed(seed)) for seed in range(len(alpha))])
    return Problem(network, w0, x, y, LOSSES[loss], alpha, network.apply(w0, x))


def nothing(problem: Problem) -> torch.Tensor:
    return torch.zeros(len(problem.alpha), 0, dtype=torch.float64)


def minus_gradient(problem: Problem, w: torch.Tensor) -> torch.Tensor:
    """-(1/alpha^2) dL/dw with L = (1/P) sum_mu l(1 - y f), f = alpha (f_tilde - f_tilde_0), by autograd alone."""
    w = w.clone().requires_grad_()
    alpha = problem.alpha[:, None]
    f = alpha * (problem.network.apply(unflatten(w, problem.like), problem.x) - problem.f_tilde_0)
    energy = problem.loss.value(1 - problem.y * f).mean(1).sum()
    return -torch.autograd.grad(energy, w)[0] / alpha**2
