"""What gradients and implicit steps cost on a GPU, for batches of nets, with and without what is done for a GPU.

    python benchmarks/gpu.py            # ten seconds of a GPU
    python benchmarks/gpu.py --write    # and the tables of the book

float64, d = 10, L = 2, 5000 patterns. Milliseconds on the clock, because a GPU works while the host goes on.
Gradients: alone, and within the stages of an explicit step, where all kernels are called as one (a stage is a gradient
and what combines it with the last two stages). Implicit steps: with a
solver for every run, and with one for all, from weights where a tenth of the patterns or so is stiff.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from unittest.mock import patch

import torch
from cost import runs_of
from tables import write

from lazyjam import solver
from lazyjam.chebyshev import table_of
from lazyjam.steppers import implicit_step
from lazyjam.tangents import flatten
from lazyjam.training import checked_device

SIZES = [(5000, 24, 10), (5000, 32, 10), (5000, 32, 30), (5000, 64, 10), (5000, 128, 10), (5000, 256, 10),
         (5000, 512, 3)]
CALLS, STAGES = 20, 100
STIFF = 0.1  # of the patterns, in an implicit step


def milliseconds(function: Callable[[], object], calls: int = CALLS) -> float:
    """Of one call, the mean of several behind each other."""
    for _ in range(3):
        function()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        function()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / calls


def gradients(sizes: list[tuple[int, int, int]]) -> list[dict[str, str]]:
    """One predictor and gradient of all runs of a batch."""
    rows = []
    for P, h, R in sizes:
        row = {"P": f"{P}", "h": f"{h}", "runs": f"{R}"}
        problem, w = runs_of(P, h, R, device="cuda")
        flat = flatten(w)
        row["ms, a gradient"] = f"{milliseconds(partial(problem.at, flat)):.2f}"
        table = table_of([STAGES] * R, flat.new_full((R,), 1e-9))
        step = milliseconds(partial(problem.stages, flat, flat, table), calls=3)
        rows.append(row | {"ms, a stage": f"{step / (STAGES - 1):.2f}"})
    return rows


def implicit_steps(sizes: list[tuple[int, int, int]]) -> list[dict[str, str]]:
    """One step of all runs of a batch, its twelve products with J and two factorisations."""
    rows = []
    for P, h, R in sizes:
        problem, w = runs_of(P, h, R, device="cuda")
        point = problem.at(flatten(w) * 1.2)
        stiff = problem.loss.curvature(problem.delta(point.f)) * point.tangent.diagonal() / P
        dt = solver.EXPLICIT / stiff.sort(dim=1).values.cumsum(1)[:, int((1 - STIFF) * P)]
        row = {"P": f"{P}", "h": f"{h}", "runs": f"{R}"}
        for name, together in (("a solver each", False), ("one for all", True)):
            with patch.object(solver, "together", lambda point, together=together: together):
                ms = milliseconds(partial(implicit_step, problem, point, dt, dt[:, None], 1e-2))
            row[f"ms, {name}"] = f"{ms:.1f}"
        rows.append(row)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables of the book")
    keep = parser.parse_args().write
    checked_device("cuda")
    print(torch.cuda.get_device_name())
    with torch.no_grad():
        write("gpu_gradient", gradients(SIZES), keep)
        write("gpu_step", implicit_steps(SIZES), keep)
