"""Whole runs whose steps leave out the patterns that are not felt, against the same runs with all patterns.

    python benchmarks/felt.py            # three minutes of one core
    python benchmarks/felt.py --write    # and the table of the book

One net from its start to its end on `stripe`, d = 10, L = 2, one thread. By how much the predictor on 2000 test points
changes, rms, is compared with what a tenth of the tolerance changes, where that does not take too long.
"""

from unittest import mock

from precision import changed, seconds
from tables import one_table

from lazyjam import Setup, felt

RUNS = [(1000, 20, 0.05), (1000, 64, 0.05), (1000, 64, 1.0), (1000, 64, 100.0), (5000, 32, 0.05), (5000, 32, 1.0)]
T_MAX = {(1000, 20, 0.05): 100.0, (5000, 32, 0.05): 20.0}
"""Where the flow is not followed to its end, because that takes long."""


def whole_runs() -> list[dict[str, str]]:
    rows = []
    for P, h, alpha_tilde in RUNS:
        setup = Setup(dataset="stripe", preprocessing="none", P=P, P_test=2000, d=10, h=h, alpha_tilde=alpha_tilde,
                      t_max=T_MAX.get((P, h, alpha_tilde), float("inf")))  # fmt: skip
        method = "rkc" if alpha_tilde < 0.1 else "implicit"
        some, short = seconds(setup, method=method)
        with mock.patch.object(felt, "WORTH", 0.0):
            every, long = seconds(setup, method=method)
        finer = changed(seconds(setup, method=method, tol=1e-3)[0], every) if alpha_tilde >= 1 and P == 1000 else ""
        rows.append({
            "P": f"{P}", "h": f"{h}", "alpha_tilde": f"{alpha_tilde:g}", "method": method,
            "s, all patterns": f"{long:.1f}", "s, those felt": f"{short:.1f}", "ratio": f"{long / short:.2f}",
            "changed, %": changed(some, every), "by a tenth of the tolerance, %": finer,
        })  # fmt: skip
    return rows


if __name__ == "__main__":
    one_table("felt", __doc__, whole_runs)
