"""The linear system of an implicit step: in function space and in the parameters, run by run and for a whole batch.

    python benchmarks/solver.py            # half a minute of one core
    python benchmarks/solver.py --write    # and the tables of the book

The matrix of Gauss-Newton and its two factorisations: K x K for K stiff patterns, or N x N for N parameters. Then the
same for the nets of a batch, one after the other and in one go. One thread, float64, L = 2, random inputs.
"""

import argparse
from unittest.mock import patch

import torch
from cost import runs_of
from tables import cpu_seconds, write

from lazyjam import Setup, solver
from lazyjam.solver import EXPLICIT, PER_STIFF_PATTERN, TOGETHER, Solver, solvers
from lazyjam.tangents import flatten, stack
from lazyjam.training import keep_memory

SIZES = [(16, 0.4), (16, 0.6), (16, 0.8), (16, 1.0), (24, 0.4), (24, 0.6), (24, 0.8), (24, 1.0)]
"""Widths, and parameters for a stiff pattern."""

BATCHES = [(30, 4, 4), (60, 8, 4), (200, 8, 10), (1000, 8, 10), (60, 16, 10), (200, 16, 10), (60, 40, 10),
           (500, 40, 10), (1000, 64, 2)]
"""Patterns, widths, and runs of a batch."""

STIFF = 0.3  # of the patterns of a batch, about


def steps() -> list[dict[str, str]]:
    rows = []
    for h, share in SIZES:
        setup = Setup(h=h, d=30)
        K = round(setup.N / share)
        w = stack([setup.network.init(torch.Generator().manual_seed(0))])
        x = torch.randn(K, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        tangent, ones = setup.network.tangent(w, x), torch.ones(K, dtype=torch.float64)

        def factorised(few: bool, tangent=tangent, ones=ones) -> None:
            one = Solver(tangent, 0, 1.0, ones, ones, torch.arange(len(ones)), few)
            one.at(1.0), one.at(0.5)

        function, parameters = (cpu_seconds(lambda few=few, f=factorised: f(few), 0.5) for few in (False, True))
        rows.append({
            "h": f"{h}", "N": f"{setup.N}", "K": f"{K}", "N / K": f"{share:g}", "s, function space": f"{function:.3f}",
            "s, parameters": f"{parameters:.3f}", "ratio": f"{function / parameters:.2f}",
        })  # fmt: skip
    return rows


def batches() -> list[dict[str, str]]:
    rows = []
    for P, h, R in BATCHES:
        problem, w = runs_of(P, h, R)
        point = problem.at(1.2 * flatten(w))
        stiffness = problem.loss.curvature(problem.delta(point.f)) * point.tangent.diagonal() / P
        dt = EXPLICIT / stiffness.sort(dim=1).values.cumsum(1)[:, int((1 - STIFF) * P)]

        def factorised(problem=problem, point=point, dt=dt) -> None:
            for one in solvers(problem, point, dt):
                one.at(1.0), one.at(0.5)

        ms = []
        for together in (False, True):
            with patch.object(solver, "together", lambda point, together=together: together):
                ms.append(1e3 * cpu_seconds(factorised, 0.5))
        size = point.w.numel() * P
        rows.append({"P": f"{P}", "h": f"{h}", "runs": f"{R}", "weights times patterns": f"{size:.1e}",
                     "ms, one by one": f"{ms[0]:.1f}", "ms, in one go": f"{ms[1]:.1f}",
                     "ratio": f"{ms[0] / ms[1]:.2f}"})  # fmt: skip
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables of the book")
    keep = parser.parse_args().write
    torch.set_num_threads(1)
    keep_memory()
    with torch.no_grad():
        write("solver", steps(), keep)
        write("solver_batch", batches(), keep)
    print(f"in the parameters where N / K < {PER_STIFF_PATTERN}, in one go below {TOGETHER:.0e}")
