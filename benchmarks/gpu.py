"""What a gradient costs on a GPU, for batches of nets, with torch's own activations and with ours as one kernel.

    python benchmarks/gpu.py     # ten seconds of a GPU

float64, d = 10, L = 2, 5000 patterns. Milliseconds on the clock, because a GPU works while the host goes on.
"""

import time
from collections.abc import Callable
from unittest.mock import patch

import torch
from cost import runs_of
from tables import write

from lazyjam import networks
from lazyjam.tangents import flatten
from lazyjam.training import checked_device

SIZES = [(5000, 32, 10), (5000, 32, 30), (5000, 64, 10), (5000, 128, 10), (5000, 256, 10), (5000, 512, 3)]
CALLS = 20


def seconds(function: Callable[[], object]) -> float:
    """Of one call, the mean of CALLS behind each other."""
    for _ in range(4):
        function()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(CALLS):
        function()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / CALLS


def gradients(sizes: list[tuple[int, int, int]]) -> list[dict[str, str]]:
    """One predictor and gradient of all runs of a batch, in both ways."""
    rows = []
    for P, h, R in sizes:
        row = {"P": f"{P}", "h": f"{h}", "runs": f"{R}"}
        for name, kernel in (("torch", lambda of: networks.ACTIVATIONS[of].both), ("one kernel", networks.gpu_kernel)):
            with patch.object(networks, "gpu_kernel", kernel):
                problem, w = runs_of(P, h, R, device="cuda")
                flat = flatten(w)
                row[f"ms, {name}"] = f"{1e3 * seconds(lambda p=problem, v=flat: p.at(v)):.2f}"
        rows.append(row)
    return rows


if __name__ == "__main__":
    checked_device("cuda")
    print(torch.cuda.get_device_name())
    with torch.no_grad():
        write("gradient on a GPU", gradients(SIZES), keep=False)
