"""What a run is, and what it is when it has ended: Setup and Trained."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import data as datasets
from .activations import ACTIVATIONS
from .cache import key
from .dynamics import DYNAMICS
from .flow import FITTED, OUT_OF_TIME
from .hessian import Contacts, contacts, hessian
from .kernels import features, kernel_flow, ntk
from .losses import LOSSES
from .networks import NETWORKS, Network
from .spelling import nearest
from .tangents import Tangent
from .types import Inputs, Outputs, Params, PerRun

LARGEST = 10**9  # of a size: nobody has a machine for more, and torch's own words on it take a screen
AT_ONCE = 1000  # test points: what a layer makes of more does not stay in the cache of a core


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Everything that determines a run, and nothing else: it is the key under which the result is kept.

    dataset, P, P_test, P_kernel: name in DATASETS, sizes of the training, test and kernel set. d: input dimension.
    preprocessing, pca_on: see `data.load`. architecture, h, L, activation, bias: the network (Eqs. 1-3); bias_std: the
    standard deviation of its biases at the start.
    alpha_tilde = sqrt(h) alpha: the scale of the output. loss: name in LOSSES.
    dynamics: "flow", gradient flow; "descent" to a minimum of the quadratic hinge (see minima.py); "adam", the
    optimiser of Fig. 7; "sgd", stochastic gradient descent with steps of `rate` in flow time on `batch` patterns;
    "none": the net stays as it was drawn, for what is asked of initial weights, or of the data alone.
    t_max: longest flow time, or number of steps of the others. decay: of the weights towards the initial ones, it adds
    decay |w - w_0|^2 / 2 to L / alpha^2. ceiling: a bound on the predictor for a descent, 1 <= y f <= ceiling, and
    |f| <= ceiling on the kernel set.
    seed: the initial weights (and what sgd draws after them). seed_data: the split in training, test and kernel set.

    Raises ValueError, before anything is computed, for a value that cannot be.
    """

    dataset: str = "digits"
    P: int = 500
    P_test: int = 1000
    P_kernel: int = 100
    d: int = 10
    preprocessing: str = "pca"
    pca_on: str = "pool"
    architecture: str = "fc"
    h: int = 32
    L: int = 2
    activation: str = "swish10"
    bias: bool = False
    bias_std: float = 0.0
    loss: str = "soft_hinge"
    alpha_tilde: float = 1.0
    dynamics: str = "flow"
    t_max: float = math.inf
    decay: float = 0.0
    batch: int = 0
    rate: float = 0.0
    ceiling: float = math.inf
    seed: int = 0
    seed_data: int = 0

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _coerced(field.name, field.type, getattr(self, field.name)))
        for name in ("P", "h", "L", "d", "alpha_tilde", "t_max"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        for name in ("P", "P_test", "P_kernel", "d", "h", "L", "batch"):
            if getattr(self, name) > LARGEST:
                raise ValueError(f"{name} must be at most {LARGEST}, got {getattr(self, name)}.")
        if not math.isfinite(self.alpha_tilde):
            raise ValueError(f"alpha_tilde must be finite, got {self.alpha_tilde}.")
        for name in ("seed", "seed_data"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be zero or a positive integer, got {getattr(self, name)}.")
        tables = {"architecture": NETWORKS, "activation": ACTIVATIONS, "loss": LOSSES, "dynamics": DYNAMICS}
        for name, table in tables.items():
            if getattr(self, name) not in table:
                raise ValueError(f"unknown {name} {getattr(self, name)!r}{nearest(getattr(self, name), table)}")
        if self.dynamics not in ("flow", "none") and not float(self.t_max).is_integer():
            raise ValueError(f"t_max is a number of steps of {self.dynamics!r}: give a whole one, got {self.t_max}.")
        if not 0 <= self.bias_std < math.inf or (self.bias_std and not self.bias):
            raise ValueError(f"bias_std is that of biases, zero or positive, got {self.bias_std} and bias={self.bias}.")
        if self.dynamics == "descent" and self.loss != "quadratic_hinge":
            raise ValueError(f"a descent needs the loss 'quadratic_hinge', got {self.loss!r}.")
        if not 0 <= self.decay < math.inf:
            raise ValueError(f"decay must be zero or positive, and finite, got {self.decay}.")
        stochastic = self.dynamics == "sgd"
        if stochastic and not (0 < self.batch <= self.P and 0 < self.rate < math.inf):
            needs = f"sgd needs a batch of 1 to P = {self.P} patterns and a positive rate"
            raise ValueError(f"{needs}, got {self.batch} and {self.rate}.")
        if not stochastic and (self.batch or self.rate):
            raise ValueError(f"batch and rate belong to 'sgd', got {self.batch} and {self.rate} for {self.dynamics!r}.")
        if not self.ceiling > 1 or (self.ceiling < math.inf and self.dynamics != "descent"):
            raise ValueError(f"a ceiling is above one and for a 'descent', got {self.ceiling} for {self.dynamics!r}.")
        if self.architecture != "fc":
            self.network  # noqa: B018 (an image may not fit it)
        datasets.check(self.dataset, self.P, self.P_test, self.P_kernel, self.d, self.preprocessing, self.pca_on)

    @property
    def fields(self) -> dict[str, Any]:
        """The fields that differ from their defaults: a new field, whose default is the old way, changes no key."""
        pairs = ((field.name, getattr(self, field.name), field.default) for field in dataclasses.fields(self))
        return {name: value for name, value, default in pairs if value != default}

    @property
    def key(self) -> str:
        """The address of the result in a cache."""
        # raised when the results of some runs change: before, their last step could leap to an exponential end
        changed = {"flow_version": 2} if self.dynamics == "flow" and LOSSES[self.loss].ends == "energy" else {}
        return key(self.fields | changed)

    @property
    def network(self) -> Network:
        """The network of this setup."""
        return NETWORKS[self.architecture](
            self.d, self.h, self.L, self.activation, self.bias, self.bias_std
        )  # fmt: skip

    @property
    def N(self) -> int:
        """Number of parameters."""
        return sum(w.numel() for w in self.network.init(torch.Generator()).values())

    def replace(self, **changes: Any) -> Setup:
        """A copy with other values; an unknown name is refused with the nearest one."""
        for name in changes:
            if name not in (names := [field.name for field in dataclasses.fields(self)]):
                raise ValueError(f"a Setup has no {name!r}{nearest(name, names)}")
        return dataclasses.replace(self, **changes)


def check_flow(setup: Setup) -> None:
    """Raises ValueError for a setup that is not trained by gradient flow alone, with which frozen kernels compare."""
    if setup.dynamics != "flow" or setup.decay:
        way = f"{setup.dynamics!r} with decay = {setup.decay:g}"
        raise ValueError(f"a frozen kernel is trained by gradient flow without decay, got {way}.")


def bounded(setup: Setup, data: datasets.Data) -> datasets.Split:
    """What is trained on: the training set; with a ceiling, its patterns once more with the other label, because
    y f <= ceiling is -y f >= -ceiling, and those of the kernel set with both."""
    (x, y), others = data.train, data.kernel.x
    if setup.ceiling == math.inf:
        return data.train
    one = torch.ones(len(others), dtype=y.dtype, device=y.device)
    return datasets.Split(torch.cat([x, x, others, others]), torch.cat([y, -y, one, -one]))


def margins(setup: Setup, y: Tensor) -> float | Tensor:
    """The margin that y f is to reach there: one on the first P patterns, and -ceiling on what only bounds."""
    if setup.ceiling == math.inf:
        return 1.0
    return torch.where(torch.arange(len(y), device=y.device) < setup.P, 1.0, -setup.ceiling).to(y.dtype)


def _coerced(name: str, kind: str, value: Any) -> Any:
    """The value as its field's type, so that 1 and 1.0, or a numpy integer, are one key."""
    value = value.item() if isinstance(value, np.generic) else value
    if kind == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    if type(value).__name__ != kind:
        raise ValueError(f"{name} must be of type {kind}, got {value!r}.")
    return value


@dataclass(frozen=True)
class Trained:
    """A batch of runs at their end. Every tensor has the axis of runs, R, in front.

    setups: what each run was; those of a batch differ in alpha_tilde, t_max and seed alone. w0, w: first and last
    weights. f_train: predictor on the training set. t, state, N_delta: as in flow.Snapshot. N_delta_at: (R, 3).
    w_tenth: the weights of a flow when more than a tenth of the patterns were first satisfied, NaN if they never were.
    """

    setups: Sequence[Setup]
    network: Network
    data: datasets.Data
    alpha: PerRun
    w0: Params
    w: Params
    f_train: Outputs
    t: PerRun
    state: Tensor
    N_delta: Tensor
    N_delta_at: Tensor
    gradients: Tensor
    factorisations: Tensor
    w_tenth: Params | None = None

    @property
    def setup(self) -> Setup:
        """What the runs have in common."""
        return self.setups[0]

    def predictor(self, x: Inputs) -> Outputs:
        """f(x) = alpha (f_tilde(w, x) - f_tilde(w_0, x)) (Eq. 8)."""
        parts = [self.network.apply(self.w, part) - self.network.apply(self.w0, part) for part in x.split(AT_ONCE)]
        return self.alpha[:, None] * torch.cat(parts, dim=1)

    @property
    def delta(self) -> Outputs:
        """Delta on the training set: by how much every pattern misses its margin."""
        return margins(self.setup, self.data.train.y) - self.data.train.y * self.f_train

    def hessian(self, run: int) -> tuple[Tensor, Tensor]:
        """H_0 and H_p of one run on the training set, if the loss is the quadratic hinge (Eq. 12)."""
        if run not in self._hessians:
            y = self.data.train.y
            self._hessians[run] = hessian(self.tangent, y, self.delta, self.alpha[run], run)
        return self._hessians[run]

    @cached_property
    def _hessians(self) -> dict[int, tuple[Tensor, Tensor]]:
        return {}

    def contacts(self, run: int) -> Contacts:
        """The unsatisfied patterns of one run."""
        return contacts(self.tangent, self.data.train.y, self.delta, self.alpha[run], run)

    @cached_property
    def tangent(self) -> Tangent:
        """The tangent of the network at the end, on the training set."""
        return self.network.tangent(self.w, self.data.train.x)

    @cached_property
    def f_test(self) -> Outputs:
        """The predictor on the test set."""
        return self.predictor(self.data.test.x)

    @cached_property
    def f_frozen(self) -> Outputs:
        """The predictor of the frozen kernels of the initial weights."""
        return self.by_kernel(self.w0)

    def by_kernel(self, w: Params, scale: Tensor | None = None) -> Outputs:
        """What the test set gets from gradient flow with the frozen kernels of weights w, to the same end as the runs.

        scale (R, d): what the inputs are multiplied by for each run. NaN where that is, and for a flow that came to no
        end. Raises ValueError for a run that was trained in another way.
        """
        check_flow(self.setup)
        return torch.stack([self._frozen(w, scale, run) for run in range(len(self.setups))])

    def _frozen(self, w: Params, scale: Tensor | None, run: int) -> Tensor:
        one = {name: value[run : run + 1] for name, value in w.items()}
        (x, y), x_test = self.data.train, self.data.test.x
        if scale is not None and not bool(scale[run].isfinite().all()):
            return torch.full_like(x_test[:, 0], math.nan)
        if scale is not None:
            x, x_test = x * scale[run], x_test * scale[run]
        phi, phi_test = features(ntk(self.network, one, x)[0], ntk(self.network, one, x_test, x)[0])
        *_, end = kernel_flow(phi, y, self.setup.loss, t_max=self.setups[run].t_max)
        ended = bool((end.state == FITTED) | (end.state == OUT_OF_TIME))
        return phi_test @ end.w[0] if ended else torch.full_like(phi_test[:, 0], math.nan)
