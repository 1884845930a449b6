"""An implicit step of one net in function space, and in its parameters.

    python benchmarks/solver.py            # half a minute of one core
    python benchmarks/solver.py --write    # and the table of the book

The matrix of Gauss-Newton and its two factorisations: K x K for K stiff patterns, or N x N for N parameters. One
thread, float64, d = 30, L = 2, random inputs.
"""

import argparse

import torch
from tables import cpu_seconds, write

from lazyjam import Setup
from lazyjam.solver import PER_STIFF_PATTERN, Solver
from lazyjam.tangents import stack

SIZES = [(16, 0.4), (16, 0.6), (16, 0.8), (16, 1.0), (24, 0.4), (24, 0.6), (24, 0.8), (24, 1.0)]
"""Widths, and parameters for a stiff pattern."""


def steps() -> list[dict[str, str]]:
    rows = []
    for h, share in SIZES:
        setup = Setup(h=h, d=30)
        K = round(setup.N / share)
        w = stack([setup.network.init(torch.Generator().manual_seed(0))])
        x = torch.randn(K, 30, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        tangent, ones = setup.network.tangent(w, x), torch.ones(K, dtype=torch.float64)

        def factorised(few: bool, tangent=tangent, ones=ones) -> None:
            solver = Solver(tangent, 0, 1.0, ones, ones, torch.arange(len(ones)), few)
            solver.at(1.0), solver.at(0.5)

        function, parameters = (cpu_seconds(lambda few=few, f=factorised: f(few), 0.5) for few in (False, True))
        rows.append({
            "h": f"{h}", "N": f"{setup.N}", "K": f"{K}", "N / K": f"{share:g}", "s, function space": f"{function:.3f}",
            "s, parameters": f"{parameters:.3f}", "ratio": f"{function / parameters:.2f}",
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table of the book")
    torch.set_num_threads(1)
    with torch.no_grad():
        write("solver", steps(), parser.parse_args().write)
    print(f"in the parameters where N / K < {PER_STIFF_PATTERN}")
