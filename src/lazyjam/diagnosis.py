"""Where a network lies in the phase diagram: any `torch.nn.Module` that classifies, in any parametrisation.

    nets = [(net_at_the_start, trained_net), ...]      # several seeds, or a generator that trains them one by one
    print(diagnose(nets, (x, y), (x_test, y_test)))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from .claims import rounded
from .fits import bootstrap, over_halves
from .kernels import relative_change
from .modules import check_labels, checked_pair, copies, margins, outputs, tangent_kernel

FEW = 0.05  # unsatisfied margins per parameter: a jammed minimum is held by more (S2-13, jamming of networks)
ROUNDING = 1e-12  # a change of the kernel below it is none

Labelled = tuple[ArrayLike | Tensor, ArrayLike | Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Diagnosis:
    """What was measured on M nets that differ in their seeds, and, in words, what follows from it.

    N: trainable parameters of a net. P: training patterns. margin: the one that counts as satisfied.
    kernel_change, N_delta, test_error: of every net, shape (M,), see `diagnose`. ensemble_error: test error of the mean
    of all outputs. gain: the mean test error less that of the ensemble, and its standard error. fluctuation: root mean
    square of f - <f> over that of <f> on the test set, unbiased, and its standard error. NaN where too few nets tell:
    a gain and a fluctuation need two, their errors four.
    """

    N: int
    P: int
    margin: float
    kernel_change: NDArray
    N_delta: NDArray
    test_error: NDArray
    ensemble_error: float
    gain: NDArray
    fluctuation: NDArray

    @property
    def regime(self) -> str:
        """"jammed", "unfinished", "lazy", "feature" or "cross-over".

        Not fitted: more than half of the nets miss margins. Then they are jammed, or, with fewer than FEW a parameter,
        which is not enough to hold a minimum, unfinished. Otherwise the change of the kernel decides: lazy below one
        and feature above, by two standard errors of its logarithm. A single net has none, and its number is taken as
        it is.
        """
        if 2 * (self.N_delta > 0).sum() > len(self.N_delta):
            return "jammed" if self.missed_per_parameter >= FEW else "unfinished"
        log, error = _mean(_logs(self.kernel_change))
        off = 2 * np.nan_to_num(error)
        return "lazy" if log + off < 0 else "feature" if log - off > 0 else "cross-over"

    @property
    def missed_per_parameter(self) -> float:
        """N_delta / N, the mean over the nets that miss some margins; zero if none does."""
        return float(self.N_delta.sum() / max((self.N_delta > 0).sum(), 1) / self.N)

    @property
    def linear(self) -> bool:
        """Whether the kernel has not changed at all: the nets are linear in their weights."""
        return bool((self.kernel_change < ROUNDING).all())

    @property
    def change(self) -> tuple[float, float]:
        """The geometric mean of kernel_change, which is spread over factors, and its standard error. 0 where linear."""
        if self.linear:
            return 0.0, np.nan
        log, error = _mean(_logs(self.kernel_change))
        return float(np.exp(log)), float(np.exp(log)) * error

    @property
    def conclusion(self) -> str:
        """Where the nets are, with the numbers, and what to do."""
        change = _shown(*self.change)
        return {
            "jammed": f"Jammed: {self._missed}. Make the net wider, until all are satisfied.",
            "unfinished": f"Unfinished: {self._missed}, too few to hold a minimum. Train on, and ask again.",
            "lazy": self._lazy,
            "feature": f"Feature learning: the kernel has changed by {change} of its norm. A larger output would make "
            "the net lazy.",
            "cross-over": f"At the cross-over: the change of the kernel, {change} of its norm, cannot be told from 1.",
        }[self.regime] + f" {self._advice}"

    @property
    def _lazy(self) -> str:
        if self.linear:
            return "Lazy: the net is linear in its weights. Its kernel cannot change, and it has no feature regime."
        times = float(f"{1 / self.change[0]:.2g}")
        return (f"Lazy: the kernel has changed by {_shown(*self.change)} of its norm, so the net acts much as a kernel "
                f"method. To learn features its output must be smaller, by {times:g} times at most.")  # fmt: skip

    @property
    def _missed(self) -> str:
        misses = self.N_delta > 0
        nets = f"{misses.sum()} of {len(misses)} nets miss"
        if not misses.any():
            return f"{nets} any of P = {self.P}"
        many = _shown(*_mean(self.N_delta[misses]))
        return f"{nets} {many} margins of P = {self.P}, {self.missed_per_parameter:.2g} per parameter"

    @property
    def _advice(self) -> str:
        M, (gain, error) = len(self.test_error), 100 * np.asarray(self.gain)
        if M == 1:
            return "What an ensemble would gain is told by more seeds."
        side = "lower" if gain >= 0 else "higher"
        numbers = f"the error of an ensemble of {M} is {side} by {_shown(abs(gain), error)} percentage points"
        if np.isnan(error):
            return f"Measured on {M} nets, {numbers}: four seeds would give an error bar."
        if abs(gain) <= 2 * error:
            return f"Averaging is not known to help: {numbers}."
        return f"Average them: {numbers}." if gain > 0 else f"Do not average them: {numbers}."

    @property
    def _fluctuates(self) -> str:
        if len(self.test_error) == 1:
            return "told by more seeds"
        value, error = self.fluctuation
        if np.isnan(value):
            return "too large for these seeds to tell the mean predictor from zero"
        return f"{_shown(value, error)} of the mean predictor"

    @property
    def _rows(self) -> list[tuple[str, str]]:
        kernel = "0; the net is linear in its weights" if self.linear else (
            f"{_shown(*self.change)} of its norm; 1 is the cross-over")  # fmt: skip
        error = _shown(*(100 * np.array(_mean(self.test_error))))
        return [
            ("change of the kernel", kernel),
            (f"margins below {self.margin:g}", self._missed),
            ("test error", f"{error} %, of the ensemble {100 * self.ensemble_error:.3g} %"),
            ("fluctuation", self._fluctuates),
        ]

    @property
    def _head(self) -> str:
        M = len(self.N_delta)
        return f"{M} net{'s' if M > 1 else ''} of N = {self.N} parameters"

    def __str__(self) -> str:
        return "\n".join([self._head, *(f"  {name:22}{value}" for name, value in self._rows), self.conclusion])

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        rows = "\n".join(f"- {name}: {value}" for name, value in self._rows)  # a book shows no tables of outputs
        return {"text/plain": str(self), "text/markdown": f"{self._head}\n\n{rows}\n\n**{self.conclusion}**"}


def diagnose(
    nets: Iterable[tuple[nn.Module, nn.Module]], train: Labelled, test: Labelled, *, margin: float = 1.0,
    P_kernel: int = 100,
) -> Diagnosis:
    """Where networks that differ in their seeds alone lie in the phase diagram, and what an ensemble of them gains.

    nets: for every seed a net as it was when training began, `copy.deepcopy(net)`, and as it is now. They are taken one
    by one, so a generator may train them. train, test: inputs (P, ...) and labels (P,), tensors or what becomes one;
    inputs are taken in the precision of the net. A net returns one number for a pattern, and labels are +1 and -1; or
    one score for each of K >= 2 classes, and labels are 0 to K - 1.

    kernel_change: ||Theta - Theta_0|| / ||Theta_0||, Frobenius norms, Theta the tangent kernel of all outputs in all
    parameters that require a gradient (Eq. 5), on P_kernel test patterns, drawn at random and always the same.
    N_delta: training patterns with a margin below `margin`, where the margin is y f, or the score of the class less the
    best of the others (Eq. 11). One is the margin of the hinge; for a loss that never ends it is a choice.
    test_error: share of test patterns with a margin of zero or less.

    Nets are looked at as `eval()` leaves them: without dropout, and with the running statistics of a BatchNorm, which
    change between the two copies and count in the change of the kernel.
    Raises ValueError for outputs or labels that are none, two copies that are not of one net, a BatchNorm that has not
    seen data at the start, outputs that depend on chance or on the other patterns of a batch, and a change of the
    kernel that is no finite number.
    """
    train, test = ((torch.as_tensor(x), torch.as_tensor(y).cpu().double()) for x, y in (train, test))
    for name, (x, y) in (("training", train), ("test", test)):
        if x.ndim == 0 or y.shape != x.shape[:1] or len(x) < 3:
            raise ValueError(f"the {name} set has at least three patterns x (P, ...) and as many labels y (P,), "
                             f"got the shapes {tuple(x.shape)} and {tuple(y.shape)}.")  # fmt: skip
    if P_kernel < 1:
        raise ValueError(f"the kernel needs at least one pattern, got P_kernel = {P_kernel}.")
    labels, truth = train[1], test[1]
    drawn = np.random.default_rng(0).permutation(len(test[0]))[:P_kernel]
    changes, unsatisfied, f, sizes = [], [], [], []
    for pair in nets:
        start, end = copies(*checked_pair(pair), test[0])
        f_train = outputs(end, train[0])
        for y in (labels, truth):
            check_labels(y, f_train.shape[1])
        Theta_0, Theta = (tangent_kernel(net, test[0][drawn]) for net in (start, end))
        changes.append(float(relative_change(Theta, Theta_0)))
        if not np.isfinite(changes[-1]):
            raise ValueError(f"the change of the kernel must be finite, got {changes[-1]}: at the start no output "
                             "depends on a weight, or gradients are too large for the precision.")  # fmt: skip
        unsatisfied.append(int((margins(f_train, labels) < margin).sum()))
        f.append(outputs(end, test[0]))
        sizes.append(sum(value.numel() for value in end.parameters() if value.requires_grad))
    if len({*sizes}) != 1:
        raise ValueError(f"the nets are one net with different seeds, got {sizes or 'no'} parameters.")
    return Diagnosis(N=sizes[0], P=len(train[1]), margin=margin, kernel_change=np.array(changes),
                     N_delta=np.array(unsatisfied), **_ensemble(torch.stack(f), truth))  # fmt: skip


def _ensemble(f: Tensor, y: Tensor) -> dict[str, ArrayLike]:
    """The numbers of an ensemble with outputs f (M, P, K) on a test set.

    Standard errors are from the seeds and from the test patterns, by random halves of each, added.
    """
    M = len(f)
    f = f if f.shape[2] == 1 else f - f.mean(2, keepdim=True)  # what all scores have in common decides nothing
    table = xr.Dataset({"f": (("seed", "test", "class"), f.numpy()), "y": ("test", y.numpy())})

    def gain(some: xr.Dataset) -> float:
        """That of M nets, told by m: what m err less than one is in proportion to 1 - 1/m (Section 3)."""
        f, y, m = torch.from_numpy(some.f.values), torch.from_numpy(some.y.values), some.sizes["seed"]
        less = _error(f, y).mean() - _error(f.mean(0), y)
        return float(less) * (1 - 1 / M) / (1 - 1 / m) if m > 1 else np.nan

    def fluctuation(some: xr.Dataset) -> float:
        if (m := some.sizes["seed"]) == 1:
            return np.nan
        variance = float(some.f.var("seed", ddof=1).mean())
        square = float((some.f.mean("seed") ** 2).mean()) - variance / m
        return (variance / square) ** 0.5 if square > 0 else np.nan

    def with_error(statistic: Callable[[xr.Dataset], float]) -> NDArray:
        if M == 1:
            return np.full(2, np.nan)
        (value, seeds), (_, points) = (over_halves(statistic, table, dim) for dim in ("seed", "test"))
        return np.array([value, np.hypot(seeds, points)])

    return {
        "test_error": _error(f, y).numpy(), "ensemble_error": float(_error(f.mean(0), y)),
        "gain": with_error(gain), "fluctuation": with_error(fluctuation),
    }  # fmt: skip


def _error(f: Tensor, y: Tensor) -> Tensor:
    return (margins(f, y) <= 0).double().mean(-1)


def _mean(values: NDArray) -> tuple[float, float]:
    """Over the nets, with its standard error."""
    value, error = bootstrap(np.mean, values)
    return float(value), float(error)


def _logs(changes: NDArray) -> NDArray:
    return np.log(np.maximum(changes, ROUNDING))  # the kernel of a linear net does not change at all


def _shown(value: float, error: float) -> str:
    return "{} ± {}".format(*rounded(value, error)) if np.isfinite(error) else f"{value:.3g}"
