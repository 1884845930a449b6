"""Kernel regression of Gaussian random fields: a teacher kernel draws the function, a student kernel learns it."""

from collections.abc import Callable, Sequence
from typing import SupportsFloat

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from .kernels import interpolated, root_of

Kernel = Callable[[Tensor, Tensor], Tensor]


def teacher_student(d: int, alpha_teacher: SupportsFloat, alpha_student: SupportsFloat) -> float:
    """The exponent of the mean square error, min(alpha_T - d, 2 alpha_S) / d, in d dimensions.

    alpha: a kernel's Fourier transform falls as k^(-alpha); d + 1 for the Laplace kernel, infinite for the Gaussian
    (Spigler, Geiger, Wyart, J. Stat. Mech. 2020 124001). Points are like those of a lattice, their neighbours at
    P^(-1/d).
    """
    return min(float(alpha_teacher) - d, 2 * float(alpha_student)) / d


def gaussian(x: Tensor, x2: Tensor) -> Tensor:
    """exp(-|x - x'|^2 / 2 d): its random fields are smooth."""
    return torch.exp(-torch.cdist(x, x2, compute_mode="donot_use_mm_for_euclid_dist").square() / (2 * x.shape[1]))


def on_sphere(count: int, d: int, rng: np.random.Generator) -> Tensor:
    """Points drawn on the sphere of dimension d, in d + 1 coordinates, (count, d + 1), of norm sqrt(d + 1)."""
    x = torch.from_numpy(rng.standard_normal((count, d + 1)))
    return x / x.square().mean(1, keepdim=True).sqrt()


def normal(count: int, spectrum: Sequence[float], rng: np.random.Generator) -> Tensor:
    """Points of independent normal coordinates with these variances, (count, len(spectrum))."""
    return torch.from_numpy(rng.standard_normal((count, len(spectrum))) * np.sqrt(spectrum))


def learning_curves(
    points: Callable[..., Tensor], teacher: Kernel, student: Kernel, *, P: Sequence[int],
    P_test: int = 500, fields: int = 20, seed: Sequence[int] = range(5),
) -> xr.DataArray:
    """Mean square error of ridgeless regression over seed and P: each seed draws points, and so many fields on them.

    points(count, rng=...): the inputs; training sets are nested in P. The fields have unit variance. Raises ValueError
    for a P that does not ascend.
    """
    P = list(P)
    if P != sorted({*P}) or P[0] < 1:
        raise ValueError(f"P must ascend, without repeats, got {P}.")
    rows = []
    for one in seed:
        rng = np.random.Generator(np.random.PCG64(one))
        x = points(P_test + P[-1], rng=rng)
        K = teacher(x, x)
        y = root_of(K) @ torch.from_numpy(rng.standard_normal((len(x), fields)))
        y = y / K.diagonal().mean().sqrt()
        (x_test, x_train), (y_test, y_train) = x.split([P_test, P[-1]]), y.split([P_test, P[-1]])
        errors = []
        for n in P:
            known = x_train[:n]
            f = interpolated(student(known, known), y_train[:n], student(x_test, known))
            errors.append(float((f - y_test).square().mean()))
        rows.append(errors)
    return xr.DataArray(rows, dims=("seed", "P"), coords={"seed": list(seed), "P": P})
