"""Nearest neighbours on a torus, against a tree that knows of its faces, and against the closed form."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lazyjam.neighbours import curse, expected_distance, torus_distance


@pytest.mark.parametrize("d", [1, 3, 8])
def test_the_nearest_is_that_of_a_periodic_tree(d):
    rng = np.random.default_rng(d)
    known, asked = rng.random((300, d)), rng.random((50, d))
    distance, index = cKDTree(known, boxsize=1).query(asked)
    found = torus_distance(asked, known)
    np.testing.assert_allclose(found.min(1), distance, rtol=1e-12)
    np.testing.assert_array_equal(found.argmin(1), index)


@pytest.mark.parametrize("d", [1, 2, 4])
def test_the_mean_distance_is_the_closed_form(d):
    table = curse([d], [100, 1600], queries=1000, seed=range(8))
    for P in (100, 1600):
        found = table.distance.sel(P=P)
        error = float(found.std(ddof=1)) / 8**0.5
        assert float(found.mean()) == pytest.approx(expected_distance(d, P), abs=4 * error)
        assert error < 0.05 * expected_distance(d, P)


def test_on_a_line_all_is_known():
    assert expected_distance(1, 9) == pytest.approx(1 / 20)  # 1 / (2 (P + 1))
    ratio = expected_distance(5, 64_000) / expected_distance(5, 2000)
    assert ratio == pytest.approx(32 ** (-1 / 5), rel=1e-3)


def test_the_error_of_a_lipschitz_function_is_bounded_by_the_distance():
    table = curse([3], [50, 400], seed=range(2))
    rng = np.random.Generator(np.random.PCG64([3, 1]))
    asked, known = rng.random((200, 3)), rng.random((400, 3))
    distance, index = cKDTree(known, boxsize=1).query(asked)
    f = lambda x: cKDTree(np.zeros((1, 3)), boxsize=1).query(x)[0]  # noqa: E731
    error = f(known[index]) - f(asked)
    assert (np.abs(error) <= distance + 1e-12).all()
    assert float(table.error.sel(d=3, seed=1, P=400)) == pytest.approx(np.sqrt((error**2).mean()))
    assert (table.error.isel(P=1) < table.error.isel(P=0)).all()


def test_sizes_ascend():
    with pytest.raises(ValueError, match=r"P must ascend, without repeats, got \[200, 100\]\."):
        curse([2], [200, 100])
