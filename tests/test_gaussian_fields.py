"""Random fields learnt by kernels: against formulas, and against errors that are known exactly."""

from functools import partial

import numpy as np
import pytest
import torch

from lazyjam import power_law
from lazyjam.gaussian_fields import gaussian, learning_curves, normal, on_sphere, teacher_student
from lazyjam.kernels import laplace

NARROW = partial(laplace, width=1.0)


def test_exponents():
    assert teacher_student(3, 4, 4) == pytest.approx(1 / 3), "Laplace learns Laplace"
    assert teacher_student(2, np.inf, 3) == pytest.approx(3), "Laplace learns Gaussian"


def test_points():
    rng = np.random.Generator(np.random.PCG64(0))
    x = on_sphere(2000, 2, rng)
    torch.testing.assert_close(x.square().sum(1), torch.full((2000,), 3.0, dtype=torch.float64))
    assert float(x.mean(0).abs().max()) < 0.1
    assert normal(4000, [4.0, 1.0], rng).var(0).tolist() == pytest.approx([4, 1], rel=0.1)


def test_error_is_the_variance_that_is_left():
    """With the student the teacher, E (f - y)^2 = K(x, x) - k^T K^-1 k exactly."""
    points = partial(on_sphere, d=2)
    found = learning_curves(lambda n, rng: points(n, rng=rng), NARROW, NARROW, P=[10, 40], P_test=200, fields=400,
                            seed=[3])  # fmt: skip
    x = on_sphere(240, 2, np.random.Generator(np.random.PCG64(3)))
    x_test, x_train = x[:200], x[200:]
    for n, error in zip((10, 40), found.values[0], strict=True):
        k, K = NARROW(x_test, x_train[:n]), NARROW(x_train[:n], x_train[:n])
        exact = 1 - (k * torch.linalg.solve(K, k.T).T).sum(1).mean()
        assert error == pytest.approx(float(exact), rel=0.05)


def test_a_rough_and_a_smooth_function_on_a_circle():
    P = [32, 64, 128, 256]
    for teacher, beta, tolerance in ((NARROW, 1, 0.1), (gaussian, 4, 0.6)):
        curves = learning_curves(lambda n, rng: on_sphere(n, 1, rng), teacher, laplace, P=P, P_test=100, seed=range(3))
        assert curves.dims == ("seed", "P")
        assert -power_law(P, curves, (32, 256)).slope == pytest.approx(beta, abs=tolerance)
    with pytest.raises(ValueError, match="P must ascend"):
        learning_curves(lambda n, rng: on_sphere(n, 1, rng), gaussian, laplace, P=[20, 10])
