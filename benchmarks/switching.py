"""Whole runs that learn features, by explicit steps, by implicit ones, and by those first and these then.

    python benchmarks/switching.py            # five minutes of one core
    python benchmarks/switching.py --write    # and the table of the book

One net from its start to its end on `stripe`, d = 10, L = 2, one thread. The narrow ones do not fit by t = 300.
"""

from precision import seconds
from tables import one_table

from lazyjam import Setup

RUNS = [(1000, 8, 0.03), (2500, 16, 0.03), (1000, 64, 0.05)]
"""Patterns, widths and output scales."""

T_MAX = 300.0


def whole_runs() -> list[dict[str, str]]:
    rows = []
    for P, h, alpha_tilde in RUNS:
        setup = Setup(dataset="stripe", preprocessing="none", P=P, P_test=2000, d=10, h=h, alpha_tilde=alpha_tilde,
                      t_max=T_MAX)  # fmt: skip
        row = {"P": f"{P}", "h": f"{h}", "alpha_tilde": f"{alpha_tilde:g}"}
        how = dict(max_gradients=10**7)  # no limit
        ends = {method: seconds(setup, method=method, **how) for method in ("rkc", "implicit", "switching")}
        row |= {f"s, {method}": f"{time:.1f}" for method, (_, time) in ends.items()}
        row |= {f"missed, {method}": f"{int(end.N_delta)}" for method, (end, _) in ends.items()}
        rows.append(row)
    return rows


if __name__ == "__main__":
    one_table("switching", __doc__, whole_runs)
