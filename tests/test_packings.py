"""Packings: when two ellipses touch, forces and Hessians against differences, and what jamming is known to do."""

import numpy as np
import pytest
import xarray as xr
from scipy.optimize import minimize_scalar

from lazyjam import Cache, compression, packings
from lazyjam.compression import compress
from lazyjam.packings import (
    JAMMED,
    UNJAMMED,
    Packing,
    contacts,
    energy,
    gradient,
    hessian,
    jam,
    minimise,
    random_packing,
    rattlers,
)  # fmt: skip


def two(r, theta, a, aspect) -> Packing:
    """Two ellipses with semi-major axes a, the second one at r from the first."""
    a = np.asarray(a, dtype=float)
    phi = np.pi / aspect * (a**2).sum()
    return Packing(np.array([[0.5, 0.5], 0.5 + np.asarray(r)]), np.asarray(theta, dtype=float), a, aspect, phi)


def overlap(*pair) -> float:
    found = contacts(two(*pair)).Delta
    return found[0] if len(found) else 0.0


def test_axes_and_density():
    packing = random_packing(10, 1.5, 0.7, seed=3)
    np.testing.assert_allclose((np.pi * packing.a**2 / 1.5).sum(), 0.7)
    assert set(np.round(packing.a / packing.a.min(), 12)) == {1.0, 1.4} and packing.N_dof == 30
    assert random_packing(10, 1.0).N_dof == 20


def test_disks_overlap_by_their_distance():
    assert overlap([0.1, 0.05], [0, 1], [0.1, 0.08], 1.0) == pytest.approx(1 - np.hypot(0.1, 0.05) / 0.18, abs=1e-14)
    assert overlap([0.18001, 0.0], [0, 1], [0.1, 0.08], 1.0) == 0
    assert overlap([0.95, 0.0], [0, 1], [0.1, 0.08], 1.0) == pytest.approx(1 - 0.05 / 0.18), "around the box"


@pytest.mark.parametrize(
    "theta, reach",  # along x: end to end, side by side, end to side, with axes a = 0.1 and b = 0.05
    [((0, 0), 0.2), ((np.pi / 2, np.pi / 2), 0.1), ((0, np.pi / 2), 0.15)],
)
def test_ellipses_touch_where_they_should(theta, reach):
    assert overlap([reach * 1.0001, 0], theta, [0.1, 0.1], 2.0) == 0
    assert overlap([reach * 0.99, 0], theta, [0.1, 0.1], 2.0) == pytest.approx(0.01, abs=1e-12)


def test_grown_by_the_root_of_F_they_touch():
    """The nearest point of the first ellipse lies on the second, in a general position."""
    packing = two([0.09, 0.07], [0.4, 1.9], [0.1, 0.07], 1.7)
    a = (1 - contacts(packing).Delta[0]) * packing.a

    def level(t: float) -> float:
        """x^T A^-1 x of the second ellipse, at a point of the first."""
        c, s = np.cos(packing.theta), np.sin(packing.theta)
        x, y = a[0] * np.cos(t), a[0] / 1.7 * np.sin(t)
        x, y = c[0] * x - s[0] * y - 0.09, s[0] * x + c[0] * y - 0.07
        return ((c[1] * x + s[1] * y) / a[1]) ** 2 + ((c[1] * y - s[1] * x) * 1.7 / a[1]) ** 2

    starts = np.linspace(0, 2 * np.pi, 200)
    t = starts[np.argmin([level(t) for t in starts])]
    nearest = minimize_scalar(level, bracket=(t - 0.03, t, t + 0.03), tol=1e-14)
    assert nearest.fun == pytest.approx(1.0, abs=1e-9)


def moved(packing: Packing, q: np.ndarray) -> Packing:
    """The packing after a move q, in the order of `hessian`."""
    n = len(packing.x)
    x = packing.x + packing.a.mean() * q[: 2 * n].reshape(n, 2)
    theta = packing.theta + (q[2 * n :] if packing.aspect > 1 else 0)
    return Packing(x, theta, packing.size, packing.aspect, packing.phi)


@pytest.mark.parametrize("aspect", [1.0, 1.4])
def test_hessian_against_differences_of_the_energy(aspect):
    packing = minimise(random_packing(10, aspect, 1.1, seed=1))
    assert not rattlers(packing).any()
    H = sum(hessian(packing))
    n, small, rng = packing.N_dof, 1e-4, np.random.default_rng(0)
    for _ in range(4):
        v, w = rng.normal(size=(2, n))
        signs = [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        parts = [s * t * energy(moved(packing, small * (s * v + t * w))) for s, t in signs]
        assert sum(parts) / (4 * small**2) == pytest.approx(v @ H @ w, rel=1e-4, abs=1e-4 * abs(H).max())


@pytest.mark.parametrize("aspect", [1.0, 1.4])
def test_gradient_against_differences_of_the_energy(aspect):
    packing, small = random_packing(10, aspect, 1.1, seed=1), 1e-6
    force = gradient(packing)[1]
    differences = [(energy(moved(packing, small * v)) - energy(moved(packing, -small * v))) / (2 * small)
                   for v in np.eye(packing.N_dof)]
    expected = np.concatenate([force[:, :2].ravel(), force[:, 2]])[: packing.N_dof]
    np.testing.assert_allclose(differences, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("aspect", [1.0, 1.4])
def test_a_minimum_is_one(aspect):
    """No force is left, and nothing that is not soft comes down in energy."""
    packing = minimise(random_packing(10, aspect, 1.0, seed=2))
    U, force = gradient(packing)
    assert U > 1e-6 and np.abs(force).max() < 1e-6 * np.sqrt(U)
    assert np.linalg.eigvalsh(sum(hessian(packing)))[0] > -1e-6


def test_below_jamming_the_energy_reaches_zero():
    assert energy(minimise(random_packing(16, 1.0, 0.6, seed=0))) / 16 < UNJAMMED
    assert energy(minimise(random_packing(16, 1.0, 1.0, seed=0))) / 16 > JAMMED


@pytest.mark.parametrize("seed", range(3))
def test_disks_jam_where_they_are_isostatic(seed):
    packing = jam(16, seed=seed)
    assert UNJAMMED < energy(packing) / 16 < JAMMED and 0.78 < packing.phi < 0.88
    held = ~rattlers(packing)
    pairs = contacts(packing).pairs
    H0, Hp = hessian(packing)
    assert held[pairs].all(1).sum() == 2 * held.sum() - 1 == len(H0) - 1
    size = np.linalg.eigvalsh(H0 + Hp)
    assert (size < 1e-8 * size[-1]).sum() == 2, "the two translations"
    assert np.linalg.eigvalsh(Hp)[-1] < 1e-12 * size[-1], "Hp is negative"


def test_ellipses_jam_with_fewer_contacts_than_degrees_of_freedom():
    packing = jam(10, 1.4, seed=0)
    held = ~rattlers(packing)
    number, (H0, Hp) = held[contacts(packing).pairs].all(1).sum(), hessian(packing)
    assert number < 3 * held.sum() - 1 == len(H0) - 1
    assert np.linalg.matrix_rank(H0, tol=1e-10 * H0.max(), hermitian=True) == number - 1, "the forces balance"
    modes = np.linalg.eigvalsh(H0 + Hp)
    soft = len(H0) - (number - 1)
    assert modes[0] > -1e-10 and modes[soft - 1] < 1e-4 * modes[-1] < 30 * modes[soft], "a delta peak, and a gap"


def test_what_is_wrong_is_a_sentence():
    with pytest.raises(ValueError, match="number of particles must be even, because half of them are larger, got 7"):
        random_packing(7)
    with pytest.raises(ValueError, match=r"aspect must lie in \[1, 10\) and phi in \(0, 2\), got 0.5 and 0.5."):
        random_packing(8, 0.5)


# the table -----------------------------------------------------------------------------------------------------------

HOW = dict(aspect=[1.0], excess=[-0.02, 0.0, 1e-4, 1e-3], seed=range(2), progress=False)


def test_compression_is_a_table_that_is_kept(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    table = compress(12, cache=cache, **HOW)
    assert dict(table.sizes) == {"aspect": 1, "seed": 2, "excess": 4, "mode": 36, "particle": 12, "axis": 2}
    assert (table.U.sel(excess=-0.02) == 0).all() and (table.N_delta.sel(excess=-0.02) == 0).all()
    assert (table.contact_ratio.sel(excess=0.0) == 1).all()
    growth = table.U.sel(excess=1e-3) / table.U.sel(excess=1e-4)
    assert ((growth > 60) & (growth < 140)).all(), "as the square of the excess density"
    assert (table.force.sel(excess=1e-3) < 1e-5).all()
    monkeypatch.setattr(compression, "jam", lambda *a, **k: pytest.fail("computed again"))
    xr.testing.assert_identical(compress(12, cache=Cache(tmp_path), **HOW), table)
    shapes = compression.pretended((12, 1.0, 0, (-0.02, 0.0, 1e-4, 1e-3))).columns
    assert {name: table[name].shape[2:] for name in shapes} == {name: shapes[name].shape for name in shapes}


@pytest.mark.parametrize(
    "n, changed, sentence",
    [
        (12, {"excess": [0.1, 0.0]}, r"must ascend, without repeats, and hold 0, jamming itself, got \[0.1, 0.0\]."),
        (12, {"excess": [0.1, 0.2]}, r"must ascend, without repeats, and hold 0, jamming itself, got \[0.1, 0.2\]."),
        (12, {"aspect": [1.0, 1.0]}, r"the aspects must differ, and disks have 1, got \[1.0, 1.0\]."),
        (11, {}, "the number of particles must be even"),
        (4, {}, "4 particles of aspect 1 are too few for a periodic box: the largest is 0.62 of it long, half of"),
    ],
)
def test_a_table_refuses_before_any_work(tmp_path, n, changed, sentence):
    with pytest.raises(ValueError, match=sentence):
        compress(n, cache=Cache(tmp_path), **{**HOW, **changed})


def test_a_descent_without_end_is_told(monkeypatch):
    monkeypatch.setattr(packings, "STEPS", 3)
    with pytest.raises(RuntimeError, match="no minimum of the energy was found in 3 steps at density 1."):
        minimise(random_packing(16, 1.0, 1.0, seed=0))
