"""The way to zero loss near jamming: a descent with second derivatives, Adam, and gradient flow by Euler's method.

    python benchmarks/jamming.py           # about four minutes of one core
    python benchmarks/jamming.py --quick   # the smallest problem alone
    python benchmarks/jamming.py --write   # also writes the table of the book's page

Random labels, or those of a teacher; three hidden layers, biases, softplus, quadratic hinge, alpha = 1. The descent
goes to U <= 1e-20 or to a certified minimum. Each of the others is given PATIENCE times the CPU seconds that it took,
and the table says which U it reached.
"""

import argparse
import math
import time
from collections.abc import Iterator
from itertools import islice

import tables
import torch
from torch import Tensor

from lazyjam import Setup
from lazyjam.dynamics import LEARNING_RATE
from lazyjam.flow import FITTED, gradient_flow
from lazyjam.losses import ENERGY_END, LOSSES
from lazyjam.minima import minimum
from lazyjam.problem import Problem
from lazyjam.tangents import flatten, stack
from lazyjam.training import keep_memory, training_data

PATIENCE = 3
PROBLEMS = (("random", 6, 340), ("random", 9, 640), ("teacher", 19, 3000))  # labels, width and number of patterns


def problem(dataset: str, h: int, P: int) -> tuple[Setup, Problem]:
    setup = Setup(dataset=dataset, preprocessing="none", P=P, P_test=10, P_kernel=10, d=10, h=h, L=3, bias=True,
                  activation="softplus5", loss="quadratic_hinge", alpha_tilde=math.sqrt(h))
    train, network = training_data(setup).train, setup.network
    w0 = stack([network.init(torch.Generator().manual_seed(0))])
    alpha = torch.ones(1, dtype=torch.float64)
    return setup, Problem(network, w0, train.x, train.y, LOSSES[setup.loss], alpha, network.apply(w0, train.x))


def adam(task: Problem, rate: float) -> Iterator[Tensor]:
    """Full-batch Adam: the predictor after every step."""
    w = flatten(task.like).clone()
    optimiser, point = torch.optim.Adam([w], lr=rate), task.at(w)
    while True:
        w.grad = -point.v
        optimiser.step()
        point = task.at(w)
        yield point.f


def euler(setup: Setup, task: Problem) -> Iterator[Tensor]:
    """The authors' gradient flow: the predictor after every step."""
    first, data = torch.tensor([setup.alpha_tilde / setup.h], dtype=torch.float64), (task.x, task.y)
    flow = gradient_flow(task.network, task.like, data, setup.loss, task.alpha, method="euler", first_dt=first,
                         max_gradients=10**9)
    return (now.f for now in flow)


def energy(task: Problem, f: Tensor) -> float:
    return float((1 - task.y * f).clamp(min=0).square().mean() / 2)


def spend(task: Problem, walk: Iterator[Tensor], seconds: float) -> tuple[float, int, float]:
    """CPU seconds, steps and U when the time is over or the loss is zero."""
    start, steps = time.process_time(), 0
    for steps, f in enumerate(walk, 1):  # noqa: B007
        if steps % 50 == 0 and (time.process_time() - start > seconds or energy(task, f) <= ENERGY_END):
            break
    return time.process_time() - start, steps, energy(task, f)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="the smallest problem alone")
    parser.add_argument("--write", action="store_true", help="write figures/benchmark_jamming.csv")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    rows = []
    with torch.no_grad():
        for dataset, h, P in islice(PROBLEMS, 1 if options.quick else None):
            setup, task = problem(dataset, h, P)
            start = time.process_time()
            found = minimum(task, flatten(task.like), 4000)
            seconds = time.process_time() - start
            U = energy(task, task.at(found.w).f)
            others = {
                f"Adam, rate {LEARNING_RATE:g}": adam(task, LEARNING_RATE), "Adam, rate 0.001": adam(task, 1e-3),
                "Euler": euler(setup, task),
            }
            end = "zero" if found.state == FITTED else f"{U:.1e}"
            ways = [("descent", seconds, found.steps, end)]
            for method, walk in others.items():
                spent, steps, U = spend(task, walk, PATIENCE * seconds)
                ways.append((method, spent, steps, f"{U:.1e}"))
            for method, spent, steps, end in ways:
                rows.append({"problem": f"{dataset}, N = {setup.N}, P = {P}", "method": method, "CPU s": f"{spent:.0f}",
                             "steps": f"{steps}", "U": end})
    tables.write("jamming", rows, options.write and not options.quick)


if __name__ == "__main__":
    main()
