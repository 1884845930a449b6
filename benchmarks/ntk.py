"""What a neural tangent kernel costs, in seconds and in memory: ours against the recipe of torch.func.

    python benchmarks/ntk.py             # five minutes of one core
    python benchmarks/ntk.py --quick     # seconds: fewer sizes

The recipe takes the Jacobian of every pattern by `jacrev` under `vmap`, and contracts it with itself, parameter by
parameter. One thread, float64, random inputs. Every kernel is computed in a process of its own, and its memory is what
the process held at its peak more than before. `off` is the relative difference of the two matrices.
"""

import argparse
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import NamedTuple

import torch
from tables import cpu_seconds, write

from lazyjam import ntk
from lazyjam.networks import NETWORKS, Network
from lazyjam.tangents import stack
from lazyjam.training import keep_memory
from lazyjam.types import Params


class Case(NamedTuple):
    """A net and a number of patterns."""

    architecture: str
    d: int
    h: int
    L: int
    P: int


CASES = [Case("fc", 10, h, 2, P) for h in (100, 1000) for P in (500, 2000)] + [Case("cnn", 3072, 16, 4, 500)]
QUICK = [Case("fc", 10, 16, 2, 100), Case("cnn", 64, 4, 2, 20)]


def by_layers(network: Network, w: Params, x: torch.Tensor) -> torch.Tensor:
    """Ours."""
    return ntk(network, w, x)[0]


def by_jacrev(network: Network, w: Params, x: torch.Tensor) -> torch.Tensor:
    """The recipe."""
    one = {name: value[0] for name, value in w.items()}

    def output(w: Params, x: torch.Tensor) -> torch.Tensor:
        return network.apply({name: value[None] for name, value in w.items()}, x[None])[0, 0]

    J = torch.func.vmap(torch.func.jacrev(output), (None, 0))(one, x)
    parts = (part.flatten(1) for part in J.values())
    return torch.stack([torch.einsum("pn,qn->pq", part, part) for part in parts]).sum(0)


def measured(kernel, case: Case, gigabytes: float) -> tuple[float, float, torch.Tensor] | None:
    """Seconds, megabytes at the peak, and the matrix; None where it does not fit into so many gigabytes."""
    torch.set_num_threads(1)
    keep_memory()
    network = NETWORKS[case.architecture](case.d, case.h, case.L, "swish10", False)
    generator = torch.Generator().manual_seed(0)
    w, x = stack([network.init(generator)]), torch.randn(case.P, case.d, generator=generator, dtype=torch.float64)
    few = x[: max(2, case.P // 50)]
    with torch.no_grad():
        kernel(network, w, few)  # what is loaded at the first call is not the kernel's
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        resource.setrlimit(resource.RLIMIT_DATA, (int(gigabytes * 2**30),) * 2)
        try:
            K = kernel(network, w, x)
            megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            return cpu_seconds(lambda: kernel(network, w, x), 0.5), megabytes, K
        except MemoryError:
            return None
        except RuntimeError as error:
            if "allocate memory" in str(error):  # what torch says instead
                return None
            raise


def alone(*of) -> tuple[float, float, torch.Tensor] | None:
    """`measured` in a new process."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        found = pool.submit(measured, *of).result()
    return found


def rows(cases: list[Case], gigabytes: float) -> list[dict[str, str]]:
    """One row per case."""
    table = []
    for case in cases:
        ours, theirs = (alone(kernel, case, gigabytes) for kernel in (by_layers, by_jacrev))
        if ours is None:
            raise MemoryError(f"{case} needs more than {gigabytes:g} GB: give more by --memory.")
        row = {"net": case.architecture, "h": f"{case.h}", "P": f"{case.P}"}
        row |= {"ms": f"{1e3 * ours[0]:.1f}", "MB": f"{ours[1]:.0f}"}
        if theirs is None:
            row |= {"torch.func, ms": "-", "torch.func, MB": f"> {1024 * gigabytes:.0f}", "ratio": "-", "off": "-"}
        else:
            off = float((ours[2] - theirs[2]).norm() / theirs[2].norm())
            assert off < 1e-10, (case, off)
            row |= {"torch.func, ms": f"{1e3 * theirs[0]:.1f}", "torch.func, MB": f"{theirs[1]:.0f}",
                    "ratio": f"{theirs[0] / ours[0]:.1f}", "off": f"{off:.0e}"}
        table.append(row)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="seconds: fewer sizes")
    parser.add_argument("--memory", type=float, default=12.0, metavar="GB", help="what a kernel may take (default: 12)")
    parser.add_argument("--write", action="store_true", help="write the table that the book shows")
    given = parser.parse_args()
    write("kernel", rows(QUICK if given.quick else CASES, given.memory), given.write)


if __name__ == "__main__":
    main()
