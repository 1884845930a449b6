"""What the integrators cost at equal accuracy, and what one gradient costs against torch.func.

    python benchmarks/flow.py            # about ten minutes of one core
    python benchmarks/flow.py --quick    # under a minute: fewer and smaller problems, a looser reference

Each method walks down a ladder of tolerances and stops at the loosest whose predictor, on 2000 test points, is within
1 % (relative norm) of a reference ten times tighter than the end of the ladder. The reference is the implicit method,
and rkc at the same tolerance tells how far it can be trusted: where the two differ by more than 1 % the flow amplifies
every error, and no tolerance decides. One thread, one run at a time, seconds of CPU.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from tables import cpu_seconds, write
from torch import Tensor

from lazyjam import Setup, sweep
from lazyjam.activations import second_moment
from lazyjam.data import load
from lazyjam.flow import CAPPED, FAILED, FITTED, gradient_flow
from lazyjam.losses import LOSSES
from lazyjam.observables import N_delta
from lazyjam.problem import Problem
from lazyjam.steppers import METHODS
from lazyjam.tangents import flatten, stack, unflatten
from lazyjam.training import default_method

ACCURATE = 0.01
P_TEST = 2000


class Scale(NamedTuple):
    """How thorough: patterns, widths, tolerances of the ladders and of the reference, guards on gradients."""

    P: int
    h: tuple[int, ...]
    jammed: tuple[int, ...]
    ladder: tuple[float, ...]
    euler: tuple[float, ...]
    reference: float
    guard: int
    guard_reference: int
    gradient_h: tuple[int, ...]


FULL = Scale(
    P=500, h=(20, 100), jammed=(10, 11, 12), ladder=(0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3),
    euler=(10, 3, 1, 0.3), reference=1e-4, guard=30_000, guard_reference=30_000, gradient_h=(8, 64, 256),
)  # fmt: skip
QUICK = Scale(
    P=250, h=(20,), jammed=(10,), ladder=(0.3, 0.1, 0.03, 0.01), euler=(10, 3, 1), reference=1e-3, guard=3_000,
    guard_reference=8_000, gradient_h=(8, 64),
)  # fmt: skip


class Run(NamedTuple):
    """One run: the predictor on the test set, how it ended, and what it cost."""

    f: Tensor
    t: float
    state: int
    N_delta: int
    gradients: int
    factorisations: int
    steps: int
    seconds: float


def run(setup: Setup, method: str, tol: float, guard: int) -> Run:
    """Integrate one run to its end, to setup.t_max, or to the guard on gradients."""
    data = load(setup.dataset, setup.P, setup.P_test, setup.d, setup.seed_data, preprocessing=setup.preprocessing)
    network, alpha = setup.network, torch.tensor([setup.alpha_tilde / math.sqrt(setup.h)], dtype=torch.float64)
    w0 = stack([network.init(torch.Generator().manual_seed(setup.seed))])
    first_dt = alpha / math.sqrt(setup.h) if method == "euler" else None  # the authors'
    start = time.process_time()
    snapshots = gradient_flow(
        network, w0, data.train, setup.loss, alpha,
        method=method, tol=tol, t_max=setup.t_max, max_gradients=guard, first_dt=first_dt,
    )  # fmt: skip
    for steps, now in enumerate(snapshots, 1):  # noqa: B007
        pass
    seconds = time.process_time() - start
    f = alpha * (network.apply(unflatten(now.w, w0), data.test.x) - network.apply(w0, data.test.x))
    ends = (int(value) for value in (now.state, now.N_delta, now.gradients, now.factorisations))
    state, unsatisfied, gradients, factorisations = ends
    return Run(f[0], now.t.item(), state, unsatisfied, gradients, factorisations, steps, seconds)


def difference(one: Run, two: Run) -> float:
    """Relative norm of the difference of two predictors; NaN where either did not get to its end."""
    ended = not {CAPPED, FAILED} & {one.state, two.state}
    return ((one.f - two.f).norm() / two.f.norm()).item() if ended else math.nan


def show(name: str, tol: float, error: float, found: Run, of: float) -> None:
    ending = {FITTED: f"ended at t = {found.t:.4g}", CAPPED: f"guard at {found.t / of:.1%} of the flow time"}
    what = {FAILED: "failed"} | ending
    percent = "-" if math.isnan(error) else f"{error:.2%}"
    print(
        f"  {name:<10}{tol:>8g}{percent:>10}{found.gradients:>11}{found.factorisations:>8}{found.steps:>8}"
        f"{found.seconds:>9.2f}   {what.get(found.state, f'to t = {found.t:g}')}, N_delta = {found.N_delta}",
        flush=True,
    )


def compare(setup: Setup, scale: Scale) -> dict[str, str]:
    """The table of one problem: a line per method, and the ratios, which are returned as a row for the book."""
    until = "to the end" if math.isinf(setup.t_max) else f"to t = {setup.t_max:g}"
    print(f"\n{setup.loss}, P = {setup.P}, h = {setup.h}, alpha_tilde = {setup.alpha_tilde:g}, {until} (N = {setup.N})")
    print("  method         tol     error  gradients  factor.   steps    CPU s")
    reference, check = (run(setup, method, scale.reference, scale.guard_reference) for method in ("implicit", "rkc"))
    doubt, length = difference(check, reference), max(reference.t, check.t)
    show("reference", scale.reference, math.nan, reference, length)
    show("rkc check", scale.reference, doubt, check, length)
    decidable = doubt <= ACCURATE
    results = {}
    for method in METHODS:
        ladder = scale.euler if method == "euler" else scale.ladder
        error, tol, found = math.nan, ladder[0], None
        for tol in ladder if decidable else (ladder[-1],):
            found = run(setup, method, tol, scale.guard)
            error = difference(found, reference)
            if error <= ACCURATE or found.state == CAPPED:
                break
        show(method, tol, error, found, length)
        if not error <= ACCURATE:
            print(f"  {method}: {ACCURATE:.0%} not reached", flush=True)
            default = METHODS[method].tol
            if tol != default and (found.state != CAPPED or tol < default):  # a looser run that met the guard says all
                again = run(setup, method, default, scale.guard)
                show(method, default, difference(again, reference), again, length)
                found = found if decidable else again
        results[method] = (error <= ACCURATE, found)
    loss = setup.loss.replace("_", " ")
    problem = {"loss": loss, "h": f"{setup.h}", "alpha_tilde": f"{setup.alpha_tilde:g}", "until": until}
    return problem | ratios(setup, results)


def ratios(setup: Setup, results: dict[str, tuple[bool, Run]]) -> dict[str, str]:
    """CPU seconds over those of the best, by method; > where one stopped short of the accuracy or of the end."""
    counted = {method: found for method, (reached, found) in results.items() if reached}
    basis = f"at {ACCURATE:.0%}"
    if not counted:
        counted = {method: found for method, (_, found) in results.items() if found.state not in (CAPPED, FAILED)}
        basis = "at default tolerances, accuracy not reached"
    if not counted:
        print("  no method got to the end: no ratio")
        return dict.fromkeys(results, "-") | {"accuracy": "-"}
    best = min(counted, key=lambda method: counted[method].seconds)
    parts = [
        f"{method} {'' if method in counted else '> '}{found.seconds / counted[best].seconds:.2g} x seconds, "
        f"{found.gradients / counted[best].gradients:.2g} x gradients"
        for method, (_, found) in results.items()
        if method != best
    ]
    print(f"  best {basis}: {best}; {'; '.join(parts)}. default_method: {default_method(setup)}", flush=True)
    least = counted[best].seconds
    short = {name: "" if name in counted else "over " for name in results}
    shown = {name: f"{short[name]}{run.seconds / least:.2g}" for name, (_, run) in results.items()}
    return shown | {"accuracy": basis.removeprefix("at ").partition(",")[0]}


def problems(scale: Scale) -> Iterator[Setup]:
    base = Setup(dataset="stripe", preprocessing="none", P=scale.P, P_test=P_TEST, P_kernel=0, d=10, L=2)
    for h in scale.h:
        # deep in the feature regime the flow amplifies errors until it fits; up to t = 0.3 it can be followed
        yield base.replace(h=h, alpha_tilde=1e-2, t_max=0.3)
        for alpha_tilde in (1e-2, 1.0, 100.0):
            if scale is FULL or alpha_tilde >= 1:
                yield base.replace(h=h, alpha_tilde=alpha_tilde)
    jammed = base.replace(loss="quadratic_hinge", P=300, alpha_tilde=1.0)
    for h in scale.jammed:
        yield jammed.replace(h=h, t_max=1000.0)
    if scale is FULL:
        yield jammed.replace(h=12)


def plain_loss(x: Tensor, y: Tensor, alpha: float, L: int) -> Callable:
    """The loss of one net as one would write it for torch.func, from the same weights; also returns the predictor."""
    rescale = second_moment("swish10") ** -0.5

    def net(w: dict[str, Tensor]) -> Tensor:
        a = x
        for layer in range(1, L + 1):
            z = a @ w[f"W{layer}"].T / math.sqrt(a.shape[1])
            a = rescale * z * torch.sigmoid(10 * z)
        return (a @ w[f"W{L + 1}"].T / math.sqrt(a.shape[1]))[:, 0]

    def loss(w: dict[str, Tensor], f_tilde_0: Tensor) -> tuple[Tensor, Tensor]:
        f = alpha * (net(w) - f_tilde_0)
        return LOSSES["soft_hinge"].value(1 - y * f).mean() / alpha**2, f

    return loss


def gradients(scale: Scale, P: int = 1000, alpha: float = 1.0) -> None:
    """One predictor and gradient of R runs: Problem.at against vmap(grad)."""
    print(f"\none gradient and predictor, P = {P}, d = 10, L = 2, milliseconds of CPU")
    print("     R     h   Problem.at   vmap(grad)   ratio   difference")
    x, y = load("stripe", P, 0, 10, 0, preprocessing="none").train
    for h in scale.gradient_h:
        network = Setup(h=h, d=10).network
        for R in (1, 10):
            w0, w = (
                stack([network.init(torch.Generator().manual_seed(seed)) for seed in range(start, start + R)])
                for start in (0, R)
            )
            alphas = torch.full((R,), alpha, dtype=torch.float64)
            problem = Problem(network, w0, x, y, LOSSES["soft_hinge"], alphas, network.apply(w0, x))
            peer = torch.func.vmap(torch.func.grad(plain_loss(x, y, alpha, L=2), has_aux=True))
            flat, f_tilde_0 = flatten(w), problem.f_tilde_0
            ours, theirs = problem.at(flat).v, -flatten(peer(w, f_tilde_0)[0])
            least = 0.1 if scale is QUICK else 1.0
            one = 1e3 * cpu_seconds(lambda p=problem, v=flat: p.at(v), least)
            two = 1e3 * cpu_seconds(lambda p=peer, v=w, f=f_tilde_0: p(v, f), least)
            off = ((ours - theirs).norm() / theirs.norm()).item()
            print(f"{R:>6}{h:>6}{one:>13.2f}{two:>13.2f}{two / one:>8.2f}{off:>13.1e}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="under a minute: smaller problems, a looser reference")
    parser.add_argument("--write", action="store_true", help="write the table that the book shows")
    given = parser.parse_args()
    scale = QUICK if given.quick else FULL
    torch.set_num_threads(1)
    # a sweep asks the C library to keep freed memory, and the benchmark is of what a sweep does
    sweep(Setup(P=20, P_test=10, P_kernel=0, h=4, alpha_tilde=100.0), [N_delta], progress=False)
    start = time.process_time()
    gradients(scale)
    with torch.no_grad():
        write("flow", [compare(setup, scale) for setup in problems(scale)], given.write)
    print(f"\n{time.process_time() - start:.0f} seconds of CPU, torch {torch.__version__}")


if __name__ == "__main__":
    main()
