"""Observables: functions of a trained batch that give one number, or one array, per run.

The name of the function is the name of its column. Write one with the decorator `observable`; raise its version when
its meaning changes, and the runs that have it are trained again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .dynamics import BUDGETS
from .flow import CAPPED, FAILED, MINIMUM
from .hessian import negative
from .hessian import spectrum_0 as eigenvalues_0
from .kernels import ntk, relative_change
from .losses import LOSSES
from .minima import PULL
from .setups import Setup, Trained

Observable = Callable[[Trained], Tensor]

PROBES = 64


Size = int | Callable[[Setup], int]


def observable(
    version: int = 1, dims: Mapping[str, Size] | Sequence[str] = (), needs: Callable[[Setup], Any] | None = None
) -> Callable[[Observable], Observable]:
    """Mark a function as an observable.

    dims: the names of the axes of its values behind the axis of runs, with their sizes where those are known before a
    run, so that a rehearsal can do without it. needs: raises ValueError for a setup of which it cannot be asked;
    `sweep` calls it before anything is trained.
    """

    def mark(function: Observable) -> Observable:
        function.version, function.dims, function.needs = version, tuple(dims), needs
        function.sizes = dict(dims) if isinstance(dims, Mapping) else {}
        return function

    return mark


def _broken(trained: Trained) -> Tensor:
    """Runs that were stopped by the guard on gradients, or that could not go on: numbers too large, steps too small."""
    return (trained.state == CAPPED) | (trained.state == FAILED)


def decided(trained: Trained, values: Tensor) -> Tensor:
    """NaN for the runs that decide nothing."""
    broken = _broken(trained).reshape(-1, *[1] * (values.ndim - 1))
    return torch.where(broken, math.nan, values.double()) if bool(broken.any()) else values


@observable()
def N_delta(trained: Trained) -> Tensor:
    """Number of unsatisfied patterns at the end, Delta > 0; NaN for a run that was broken off."""
    return decided(trained, trained.N_delta)


@observable(dims={"budget": len(BUDGETS)})
def N_delta_at(trained: Trained) -> Tensor:
    """N_delta when 1/100, 1/10 and all of t_max had passed; a run that ended before counts as it ended. A descent is
    polished after that.

    NaN for a run that was broken off.
    """
    return decided(trained, trained.N_delta_at)


@observable()
def t_end(trained: Trained) -> Tensor:
    """Flow time at the end: the fit time of a run that was fitted. The number of steps, where there is no flow.

    A quadratic loss falls exponentially at last: there it is the time to U = 1e-20, known to a few per cent.
    """
    return trained.t


@observable()
def capped(trained: Trained) -> Tensor:
    """Whether the run was broken off: by the guard on gradients, or because a number was none. It decides nothing."""
    return _broken(trained)


@observable()
def train_loss(trained: Trained) -> Tensor:
    """L = (1/P) sum_mu l(Delta_mu) at the end."""
    return LOSSES[trained.setup.loss].value(trained.delta).mean(1)


def error_of(trained: Trained, f: Tensor) -> Tensor:
    """Fraction of the test set with y f <= 0, for any predictor f there; NaN where one of its values is."""
    wrong = (trained.data.test.y * f <= 0).double().mean(1)
    return torch.where(f.isnan().any(1), math.nan, wrong)


@observable()
def test_error(trained: Trained) -> Tensor:
    """Fraction of the test set with y f <= 0; NaN for a run that was broken off."""
    return decided(trained, (trained.data.test.y * trained.f_test <= 0).double().mean(1))


@observable()
def rms_output(trained: Trained) -> Tensor:
    """||f||: root mean square of the predictor over the test set."""
    return trained.f_test.square().mean(1).sqrt()


@observable()
def certified(trained: Trained) -> Tensor:
    """Whether the end is a minimum of the loss that is not zero, to the accuracy that `minima.Minimum` states."""
    return trained.state == MINIMUM


def _at_minima(trained: Trained, number: Callable[[int], object], *shape: int) -> Tensor:
    """number(run) for the runs that are at a minimum, NaN for the others."""
    values = torch.full((len(trained.setups), *shape), math.nan, dtype=torch.float64)
    for run in (trained.state == MINIMUM).nonzero()[:, 0].tolist():
        values[run] = torch.as_tensor(number(run), dtype=torch.float64)
    return values


@observable()
def N_negative(trained: Trained) -> Tensor:
    """N^-, the number of negative eigenvalues of H_p, at a certified minimum; NaN elsewhere (Eq. 13)."""
    return _at_minima(trained, lambda run: negative(torch.linalg.eigvalsh(trained.hessian(run)[1])))


@observable()
def N_unstable(trained: Trained) -> Tensor:
    """The number of eigenvalues of H_p below -PULL at a certified minimum, which is one of U and that pull; else NaN.

    Every one of them must be held by an unsatisfied pattern: N_unstable <= N_delta, exactly (Eq. 13).
    """
    return _at_minima(trained, lambda run: (torch.linalg.eigvalsh(trained.hessian(run)[1]) < -PULL).sum())


@observable()
def bending_ratio(trained: Trained) -> Tensor:
    """||H_p|| / ||H_0||, Frobenius norms, at a certified minimum; NaN elsewhere."""
    return _at_minima(trained, lambda run: trained.hessian(run)[1].norm() / trained.hessian(run)[0].norm())


@observable(dims={"mode": lambda setup: setup.N})
def spectrum_0(trained: Trained) -> Tensor:
    """The eigenvalues of H_0, ascending, at a certified minimum; NaN elsewhere.

    The combination sum Delta grad Delta, which would be zero but for the pull, is taken out: it is one zero more.
    """

    def values(run: int) -> Tensor:
        touching = trained.contacts(run)
        d, J = touching.delta / touching.delta.norm(), touching.jacobian
        return eigenvalues_0(J - d[:, None] * (d @ J), len(trained.data.train.y))

    return _at_minima(trained, values, trained.setup.N)


@observable(dims={"mode": lambda setup: setup.N})
def spectrum(trained: Trained) -> Tensor:
    """The eigenvalues of H = H_0 + H_p, ascending, at a certified minimum; NaN elsewhere."""
    return _at_minima(trained, lambda run: torch.linalg.eigvalsh(sum(trained.hessian(run))), trained.setup.N)


@observable(dims={"test": lambda setup: setup.P_test})
def test_margin(trained: Trained) -> Tensor:
    """y f on the test set, in half precision: what ensembles are made of, since <y f> = y <f> needs no label."""
    return (trained.data.test.y * trained.f_test).clamp(-6e4, 6e4).half()


@observable(dims={"probe": lambda setup: min(PROBES, setup.P_test)})
def probe(trained: Trained) -> Tensor:
    """The predictor on the first 64 test points, in single precision: by it a recomputed run is recognised."""
    return trained.f_test[:, :PROBES].float()


@observable()
def kernel_change(trained: Trained) -> Tensor:
    """||Theta(end) - Theta(0)|| / ||Theta(0)||, Frobenius norms on the kernel set; NaN for a broken-off run."""
    x = trained.data.kernel.x
    return decided(trained, relative_change(ntk(trained.network, trained.w, x), ntk(trained.network, trained.w0, x)))


@observable()
def weight_change(trained: Trained) -> Tensor:
    """||w(end) - w(0)|| / ||w(0)||."""
    pairs = [((trained.w[name] - w).flatten(1), w.flatten(1)) for name, w in trained.w0.items()]
    change, start = (torch.cat(parts, dim=1).norm(dim=1) for parts in zip(*pairs, strict=True))
    return change / start


STANDARD: tuple[Observable, ...] = (
    N_delta, N_delta_at, t_end, capped, train_loss, test_error, rms_output, kernel_change, weight_change,
)
"""What every run of the phase diagram is asked: numbers, which are committed."""

JAMMED: tuple[Observable, ...] = (
    N_delta, N_delta_at, t_end, capped, certified, train_loss, test_error, rms_output, N_negative, N_unstable,
    bending_ratio,
)
"""What a descent to a minimum is asked."""

ALWAYS: tuple[Observable, ...] = (capped, probe, test_margin)
"""What is measured whenever a run is trained, asked or not."""
