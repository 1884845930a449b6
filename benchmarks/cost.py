"""What a gradient costs, against the matrix products that it cannot do without.

    python benchmarks/cost.py            # two minutes of one core
    python benchmarks/cost.py --quick    # seconds: fewer sizes

One thread, float64, d = 10, L = 2. The matrix products of a gradient are timed alone, on the same shapes; their share
of the time is what no implementation of the same products beats. So are the values of all neurons and the way back
through them, which a gradient needs, too. The peak is that of a square product of 1024 rows.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace

import torch
from tables import cpu_seconds, write

from lazyjam import Setup
from lazyjam.activations import ACTIVATIONS
from lazyjam.data import load
from lazyjam.losses import LOSSES
from lazyjam.precision import in_single_precision
from lazyjam.problem import Problem
from lazyjam.tangents import flatten, stack
from lazyjam.training import keep_memory

SIZES = [(8, 2, 1), (256, 8, 1), (1000, 8, 1), (1000, 8, 20), (1000, 64, 1), (1000, 64, 2), (1000, 256, 1),
         (5000, 64, 1), (5000, 256, 1), (1000, 1024, 1)]
QUICK = [(8, 2, 1), (256, 8, 1), (1000, 64, 1)]


def runs_of(P: int, h: int, R: int, device: str = "cpu") -> tuple[Problem, dict[str, torch.Tensor]]:
    """R networks of width h on P patterns, and their weights."""
    x, y = (part.to(device) for part in load("stripe", P, 0, 10, 0, preprocessing="none").train)
    network = Setup(h=h, d=10).network
    w = stack([network.init(torch.Generator().manual_seed(seed)) for seed in range(R)])
    w, alpha = {name: value.to(device) for name, value in w.items()}, torch.ones(R, dtype=x.dtype, device=device)
    return Problem(network, w, x, y, LOSSES["soft_hinge"], alpha, network.apply(w, x)), w


def products(problem: Problem, w: dict[str, torch.Tensor]) -> Callable[[], object]:
    """The matrix products of one gradient and nothing else: three forward, one backward, three for the weights."""
    x, W1, W2, W3 = problem.x.unsqueeze(0), w["W1"], w["W2"], w["W3"]
    a = torch.ones(len(W1), x.shape[1], W1.shape[1], dtype=x.dtype)

    def all_of_them() -> tuple[torch.Tensor, ...]:
        f = a @ W3.mT
        return x @ W1.mT, a @ W2.mT, a @ W2, x.mT @ a, a.mT @ a, f.mT @ a

    return all_of_them


def activations(problem: Problem, w: dict[str, torch.Tensor]) -> Callable[[], object]:
    """The values of the two hidden layers, the way back through both, and nothing else."""
    u, phi = problem.x.unsqueeze(0) @ w["W1"].mT, ACTIVATIONS["swish10"]

    def both_layers() -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(phi.value(u), phi.pull(u, u, u)) for _ in range(2)]

    return both_layers


def gradients(sizes: list[tuple[int, int, int]]) -> list[dict[str, str]]:
    """One predictor and gradient: milliseconds, in units of its products, the part without which none goes, of peak.

    Last: how many times faster it is in single precision.
    """
    square = torch.ones(1024, 1024, dtype=torch.float64)
    peak = 2 * 1024**3 / cpu_seconds(lambda: square @ square, 0.5)
    rows = []
    for P, h, R in sizes:
        problem, w = runs_of(P, h, R)
        flat = flatten(w)
        single = replace(problem, network=in_single_precision(problem.network))
        both = (lambda p=p, v=flat: p.at(v) for p in (problem, single))
        parts = (*both, products(problem, w), activations(problem, w))
        whole, short, bare, neurons = (cpu_seconds(f, 0.5) for f in parts)
        flops = 2 * R * P * (2 * 10 * h + 3 * h * h + 2 * h)
        share = 100 * flops / whole / peak
        rows.append({"P": f"{P}", "h": f"{h}", "runs": f"{R}", "ms": f"{1e3 * whole:.2f}",
                     "over its products": f"{whole / bare:.1f}",
                     "products and activations": f"{1 + neurons / bare:.1f}", "share of peak, %": f"{share:.0f}",
                     "in single, times faster": f"{whole / short:.1f}"})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="seconds: fewer sizes")
    parser.add_argument("--write", action="store_true", help="write the tables that the book shows")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    with torch.no_grad():
        write("gradient", gradients(QUICK if given.quick else SIZES), given.write)


if __name__ == "__main__":
    main()
