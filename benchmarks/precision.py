"""Whole runs in single precision, against the same runs in double precision.

    python benchmarks/precision.py            # three minutes of one core
    python benchmarks/precision.py --write    # and the table of the book

One net from its start to its end on 1000 patterns of `stripe`, d = 10, L = 2, one thread. By how much the predictor on
2000 test points changes, rms, is compared with what a tenth of the tolerance changes.
"""

import time

from tables import one_table

from lazyjam import Setup
from lazyjam.setups import Trained
from lazyjam.training import train

RUNS = [(16, 30.0), (64, 0.03), (64, 1.0), (64, 100.0), (256, 1.0), (256, 200.0)]
T_MAX = {0.03: 2.0}
"""Where the flow is not followed to its end, because that takes long."""


def seconds(setup: Setup, **how) -> tuple[Trained, float]:
    start = time.process_time()
    trained = train([setup], **how)
    return trained, time.process_time() - start


def changed(one: Trained, other: Trained) -> str:
    return f"{100 * float((one.f_test - other.f_test).norm() / other.f_test.norm()):.2g}"


def whole_runs() -> list[dict[str, str]]:
    rows = []
    for h, alpha_tilde in RUNS:
        setup = Setup(dataset="stripe", preprocessing="none", P=1000, P_test=2000, d=10, h=h, alpha_tilde=alpha_tilde,
                      t_max=T_MAX.get(alpha_tilde, float("inf")))  # fmt: skip
        method = "rkc" if alpha_tilde < 0.1 else "implicit"
        both = (seconds(setup, method=method, precision=precision) for precision in ("double", "single"))
        (double, long), (single, short) = both
        finer, _ = seconds(setup, method=method, tol=1e-3)
        rows.append({
            "h": f"{h}", "alpha_tilde": f"{alpha_tilde:g}", "method": method, "s, double": f"{long:.2f}",
            "s, single": f"{short:.2f}", "ratio": f"{long / short:.2f}",
            "changed by single, %": changed(single, double), "by a tenth of the tolerance, %": changed(finer, double),
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    one_table("precision", __doc__, whole_runs)
