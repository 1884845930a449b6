"""Packings of soft disks and ellipses in two dimensions: the transition that the jamming of networks is compared with.

Particles in a periodic box of side one repel where they overlap: U = sum over pairs of Delta^2 / 2, Delta > 0. For
ellipses Delta = 1 - sqrt(F), where F is the function of Perram and Wertheim (J. Comput. Phys. 58 (1985) 409): if both
grow by the factor sqrt(F) about their centres, they touch. For disks that is Delta = 1 - r / (a_i + a_j). Half of the
particles are 1.4 times larger, so that they do not crystallise.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize as scipy_minimize
from scipy.spatial import cKDTree

LARGER = 1.4
UNJAMMED, JAMMED = 1e-16, 1e-12  # energy per particle: below, and near enough to, the transition
DENSEST = 0.91  # nothing here jams at a higher density
SETTLED = 1e-7  # force over overlap, root mean squares, where a descent ends; close to jamming rounding ends it before
STEPS = 20_000


@dataclass(frozen=True)
class Packing:
    """n ellipses at x (n, 2) with their major axis at the angle theta (n,), filling the fraction phi of the box.

    size: semi-major axes (n,) in units that phi fixes. aspect: major over minor axis, 1 for disks.
    """

    x: np.ndarray
    theta: np.ndarray
    size: np.ndarray
    aspect: float
    phi: float

    @property
    def a(self) -> np.ndarray:
        """Semi-major axes, (n,), in units of the box."""
        return self.size * np.sqrt(self.phi * self.aspect / (np.pi * (self.size**2).sum()))

    @property
    def N_dof(self) -> int:
        """N, the degrees of freedom: two per disk, three per ellipse."""
        return len(self.x) * (2 if self.aspect == 1 else 3)

    def at(self, phi: float) -> Packing:
        """The same places and angles at another density."""
        return dataclasses.replace(self, phi=phi)


def random_packing(n: int, aspect: float = 1.0, phi: float = 0.5, *, seed: int = 0) -> Packing:
    """n particles dropped at random. Raises ValueError for an odd n, and an aspect or phi that no ellipse has."""
    if n < 2 or n % 2:
        raise ValueError(f"the number of particles must be even, because half of them are larger, got {n}.")
    if not 1 <= aspect < 10 or not 0 < phi < 2:
        raise ValueError(f"aspect must lie in [1, 10) and phi in (0, 2), got {aspect} and {phi}.")
    rng = np.random.default_rng(seed)
    return Packing(rng.random((n, 2)), np.pi * rng.random(n), np.repeat([1.0, LARGER], n // 2), aspect, phi)


def check_box(packing: Packing) -> None:
    """Raises ValueError for particles so large that two could touch both inside the box and across its border."""
    if not 4 * packing.a.max() < 1:
        raise ValueError(f"{len(packing.x)} particles of aspect {packing.aspect:g} are too few for a periodic box: "
                         f"the largest is {2 * packing.a.max():.2f} of it long, half of the box or more.")


class Contacts(NamedTuple):
    """Pairs (C, 2) that overlap by Delta (C,), and its gradient: by the vector r from one to the other, (C, 2), and by
    the two angles, (C, 2). stretch: the place lam (C,) in [0, 1] at which F is the largest."""

    pairs: np.ndarray
    r: np.ndarray
    Delta: np.ndarray
    by_r: np.ndarray
    by_theta: np.ndarray
    lam: np.ndarray


def contacts(packing: Packing) -> Contacts:
    """The overlapping pairs."""
    a = packing.a
    pairs = cKDTree(packing.x % 1.0, boxsize=1.0).query_pairs(2 * a.max(), output_type="ndarray")
    r = packing.x[pairs[:, 1]] - packing.x[pairs[:, 0]]
    r -= np.round(r)
    near = (r**2).sum(1) < a[pairs].sum(1) ** 2
    pairs, r = pairs[near], r[near]
    A = _shapes(packing)
    A_i, A_j = A[pairs[:, 0]], A[pairs[:, 1]]
    lam = _largest(A_i, A_j, r)
    G = (1 - lam)[:, None] * A_i + lam[:, None] * A_j
    u = _times(np.stack([G[:, 1], G[:, 0], -G[:, 2]], 1), r) / _det(G)[:, None]  # G^-1 r
    weight = lam * (1 - lam)
    root = np.sqrt(weight * (r * u).sum(1))
    kept = root < 1
    pairs, r, u, lam, weight, root = (value[kept] for value in (pairs, r, u, lam, weight, root))
    A_i, A_j = A_i[kept], A_j[kept]
    turned = np.stack([u[:, 1], -u[:, 0]], 1)
    by_i, by_j = ((_times(M, u) * turned).sum(1) for M in (A_i, A_j))
    by_theta = np.stack([(1 - lam) * by_i, lam * by_j], 1) * (weight / root)[:, None]
    return Contacts(pairs, r, 1 - root, -(weight / root)[:, None] * u, by_theta, lam)


def energy(packing: Packing) -> float:
    """U = sum Delta^2 / 2."""
    return gradient(packing)[0]


def gradient(packing: Packing) -> tuple[float, np.ndarray]:
    """The energy and its gradient, (n, 3): by x and y in units of the mean semi-major axis, and by the angle."""
    c, n = contacts(packing), len(packing.x)
    pull, found = c.Delta[:, None] * np.concatenate([packing.a.mean() * c.by_r, c.by_theta], 1), np.zeros((n, 3))
    for end, sign in ((0, -1.0), (1, 1.0)):
        here = np.column_stack([sign * pull[:, :2], pull[:, 2 + end]])
        found += np.stack([np.bincount(c.pairs[:, end], here[:, k], n) for k in range(3)], 1)
    return float((c.Delta**2).sum() / 2), found


def minimise(packing: Packing) -> Packing:
    """The packing at a local minimum of the energy, or with an energy per particle below UNJAMMED / 100.

    Near jamming the overlaps are small and the energy's own rounding ends the descent before SETTLED is reached.
    Raises RuntimeError after STEPS steps.
    """
    n, unit = len(packing.x), packing.a.mean()
    last = {"force": np.inf}

    def placed(q: np.ndarray) -> Packing:
        """q: positions and unit-length angles, in units of the particles."""
        return dataclasses.replace(packing, x=unit * q[: 2 * n].reshape(n, 2), theta=q[2 * n :])

    def energy_and_force(q: np.ndarray) -> tuple[float, np.ndarray]:
        U, force = gradient(placed(q))
        last["force"] = (force**2).sum()
        return U * SCALE, SCALE * np.concatenate([force[:, :2].ravel(), force[:, 2]])

    def enough(intermediate_result) -> None:
        U = intermediate_result.fun / SCALE
        if U < n * UNJAMMED / 100 or last["force"] < SETTLED**2 * 2 * U:
            raise StopIteration

    start = np.concatenate([(packing.x / unit).ravel(), packing.theta])
    how = dict(maxiter=STEPS, maxfun=2 * STEPS, maxcor=30, ftol=0.0, gtol=0.0)
    found = scipy_minimize(energy_and_force, start, jac=True, method="L-BFGS-B", callback=enough, options=how)
    if found.nit >= STEPS:
        raise RuntimeError(f"no minimum of the energy was found in {STEPS} steps at density {packing.phi:g}.")
    return placed(found.x)


SCALE = 1e12  # scipy takes energies below one for converged


def jam(n: int, aspect: float = 1.0, *, seed: int = 0, phi: float = 0.6) -> Packing:
    """The packing at its jamming density, from above: an energy per particle between UNJAMMED and JAMMED.

    A random packing grows in steps, and shrinks in smaller ones when it has jammed (O'Hern, Silbert, Liu, Nagel, Phys.
    Rev. E 68 (2003) 011306).
    """
    packing, step = minimise(random_packing(n, aspect, phi, seed=seed)), 0.02
    jammed = False
    while True:
        U = energy(packing) / n
        if UNJAMMED < U < JAMMED:
            return packing
        if (U > UNJAMMED) != jammed:
            jammed, step = not jammed, step / 2
        packing = minimise(packing.at(packing.phi - step if jammed else packing.phi + step))


def rattlers(packing: Packing) -> np.ndarray:
    """Which particles carry no force, (n,): those with fewer than three contacts, once the others are gone."""
    pairs, loose = contacts(packing).pairs, np.zeros(len(packing.x), dtype=bool)
    while True:
        held = ~loose[pairs].any(1)
        found = np.bincount(pairs[held].ravel(), minlength=len(loose)) < 3
        if (found == loose).all():
            return loose
        loose = found


def hessian(packing: Packing) -> tuple[np.ndarray, np.ndarray]:
    """H0 = sum grad Delta grad Delta^T and Hp = sum Delta grad grad Delta; their sum is the Hessian of the energy.

    On the degrees of freedom of the particles that are no rattlers: x and y of each in units of the mean semi-major
    axis, then, for ellipses, the angles. Shapes (N_dof, N_dof) both.
    """
    c, free = contacts(packing), ~rattlers(packing)
    held = free[c.pairs].all(1)
    index = np.cumsum(free) - 1
    pairs, n, unit = index[c.pairs[held]], int(free.sum()), packing.a.mean()
    second = _second_derivatives(packing, Contacts(*(value[held] for value in c)))
    places = np.concatenate([2 * pairs[:, :1], 2 * pairs[:, :1] + 1, 2 * pairs[:, 1:], 2 * pairs[:, 1:] + 1,
                             2 * n + pairs], 1)  # of x_i, y_i, x_j, y_j, theta_i, theta_j
    B = np.zeros((4, 6))  # from these to (r, theta_i, theta_j)
    B[[0, 1], [0, 1]], B[[0, 1], [2, 3]], B[[2, 3], [4, 5]] = -unit, unit, 1.0
    first = np.concatenate([c.by_r, c.by_theta], 1)[held] @ B
    H0, Hp = np.zeros((2, 3 * n, 3 * n))
    at = places[:, :, None], places[:, None, :]
    np.add.at(H0, at, first[:, :, None] * first[:, None, :])
    np.add.at(Hp, at, c.Delta[held][:, None, None] * (B.T @ second @ B))
    size = 2 * n if packing.aspect == 1 else 3 * n
    return H0[:size, :size], Hp[:size, :size]


# the function of Perram and Wertheim; a symmetric matrix is (xx, yy, xy) ---------------------------------------------


def _shapes(packing: Packing) -> np.ndarray:
    """R diag(a^2, b^2) R^T of every particle."""
    a2 = packing.a**2
    b2, c, s = a2 / packing.aspect**2, np.cos(packing.theta), np.sin(packing.theta)
    return np.stack([a2 * c * c + b2 * s * s, a2 * s * s + b2 * c * c, (a2 - b2) * c * s], 1)


def _det(A: np.ndarray) -> np.ndarray:
    return A[:, 0] * A[:, 1] - A[:, 2] ** 2


def _times(A: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.stack([A[:, 0] * r[:, 0] + A[:, 2] * r[:, 1], A[:, 2] * r[:, 0] + A[:, 1] * r[:, 1]], 1)


def _largest(A_i: np.ndarray, A_j: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Where F(lam) = lam (1 - lam) r^T G^-1 r, G = (1 - lam) A_i + lam A_j, is the largest: the zero of its slope.

    F = lam (1 - lam) n / D, with n linear and D quadratic in lam: twelve bisections, then Newton steps.
    """
    n_i, n_j = (A[:, 1] * r[:, 0] ** 2 + A[:, 0] * r[:, 1] ** 2 - 2 * A[:, 2] * r[:, 0] * r[:, 1] for A in (A_i, A_j))
    d_i, d_j = _det(A_i), _det(A_j)
    mixed = A_i[:, 1] * A_j[:, 0] + A_i[:, 0] * A_j[:, 1] - 2 * A_i[:, 2] * A_j[:, 2]
    n1, d1, d2 = n_j - n_i, mixed - 2 * d_i, d_i + d_j - mixed

    def slope(lam: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """D^2 dF/dlam, and its derivative."""
        n, D, dD = n_i + n1 * lam, d_i + (d1 + d2 * lam) * lam, d1 + 2 * d2 * lam
        p, dp = lam * (1 - lam) * n, (1 - 2 * lam) * n + lam * (1 - lam) * n1
        ddp = -2 * n + 2 * (1 - 2 * lam) * n1
        return dp * D - p * dD, ddp * D - 2 * p * d2

    low, high = np.zeros(len(r)), np.ones(len(r))
    for _ in range(12):
        middle = (low + high) / 2
        up = slope(middle)[0] > 0
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    lam = (low + high) / 2
    for _ in range(4):
        value, change = slope(lam)
        lam = np.clip(lam - value / change, low, high)
    return lam


def _second_derivatives(packing: Packing, c: Contacts) -> np.ndarray:
    """Those of Delta by (r, theta_i, theta_j), shape (C, 4, 4). lam follows: it is eliminated."""
    a = torch.from_numpy(packing.a[c.pairs])
    if not len(a):  # vmap has nothing to say about the shape of nothing
        return np.zeros((0, 4, 4))

    def F(q: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        r, theta, lam = q[:2], q[2:4], q[4]
        weight, cos, sin = torch.stack([1 - lam, lam]) * a**2, theta.cos(), theta.sin()
        short = packing.aspect**-2
        xx, yy = weight @ (cos**2 + short * sin**2), weight @ (sin**2 + short * cos**2)
        xy = (1 - short) * (weight @ (cos * sin))
        return lam * (1 - lam) * (yy * r[0] ** 2 + xx * r[1] ** 2 - 2 * xy * r[0] * r[1]) / (xx * yy - xy**2)

    q = torch.from_numpy(np.concatenate([c.r, packing.theta[c.pairs], c.lam[:, None]], 1))
    full = torch.func.vmap(torch.func.hessian(F))(q, a).numpy()
    reduced = full[:, :4, :4] - full[:, :4, 4:] * full[:, 4:, :4] / full[:, 4:, 4:]
    first, root = -np.concatenate([c.by_r, c.by_theta], 1), (1 - c.Delta)[:, None, None]
    return first[:, :, None] * first[:, None, :] / root - reduced / (2 * root)
