"""Kernel methods on the data of a setup: against closed forms, independent solvers, and points of a known dimension."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.svm import SVC

from lazyjam import Setup, sweep, train
from lazyjam.kernels import hard_margin, infinite_width, interpolated, laplace
from lazyjam.machines import (
    FACTORS,
    intrinsic_dimension,
    kernel_agreement,
    machine_error,
    neighbour_distance,
    ntk_machine_error,
    regression,
    root_machine_error,
    squeezed_machine_error,
    two_nn,
)

DATA = Setup(dataset="stripe", preprocessing="none", d=3, P=64, P_test=500, P_kernel=0, dynamics="none")


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def laplace_of_arrays(x: np.ndarray, x2: np.ndarray) -> np.ndarray:
    return np.exp(-cdist(x, x2) / (100 * x.shape[1] ** 0.5))


def test_laplace_kernel_and_its_cusp():
    x, x2 = normal(5, 3), normal(4, 3, seed=2)
    far = (x[:, None] - x2).norm(dim=2) / 3**0.5
    torch.testing.assert_close(laplace(x, x2), torch.exp(-far / 100), rtol=1e-14, atol=0)
    images = normal(6, 300)
    assert float((laplace(images, images).diagonal() - 1).abs().max()) < 1e-8


def test_hard_margin_against_a_general_solver():
    """max sum a - |sum a y phi|^2 / 2 over a >= 0 with sum a y = 0."""
    x, y = normal(20, 2), normal(20, seed=2).sign()
    K = laplace(x, x, 1.0)
    Q = (y[:, None] * y * K).numpy()
    answer = minimize(lambda a: a @ Q @ a / 2 - a.sum(), np.ones(20), jac=lambda a: Q @ a - 1, bounds=[(0, None)] * 20,
                      constraints={"type": "eq", "fun": lambda a: a @ y.numpy()}, method="SLSQP",
                      options={"ftol": 1e-14, "maxiter": 1000})  # fmt: skip
    machine = hard_margin(K, y)
    a = torch.zeros(20, dtype=torch.float64)
    a[machine.support] = machine.weights
    torch.testing.assert_close(a * y, torch.from_numpy(answer.x), rtol=1e-3, atol=1e-3)


def test_regression_goes_through_the_data_and_is_linear():
    x, y = normal(30, 3), normal(30, 2, seed=2)
    K, K_test = laplace(x, x), laplace(normal(7, 3, seed=3), x)
    torch.testing.assert_close(interpolated(K, y, K), y, rtol=1e-6, atol=1e-6)
    both = interpolated(K, y, K_test)
    torch.testing.assert_close(both[:, 1], interpolated(K, y[:, 1], K_test))
    torch.testing.assert_close(both, K_test @ torch.linalg.solve(K, y), rtol=1e-6, atol=1e-6)


def test_observables_ask_the_data_alone():
    asked = [machine_error, ntk_machine_error, squeezed_machine_error, root_machine_error, regression, kernel_agreement]
    table = sweep(DATA, asked, seed=[0, 5], progress=False)
    for f in asked:
        values = table[f.__name__].values
        np.testing.assert_array_equal(values[0], values[1])
    one = table.isel(seed=0)
    (x, y), (x_test, y_test), *_ = train([DATA]).data
    wrong = SVC(kernel=laplace_of_arrays, C=1e20, tol=1e-6).fit(x, y).predict(x_test) != y_test.numpy()
    assert float(one.machine_error) == pytest.approx(wrong.mean(), abs=2 / DATA.P_test)
    assert float(one.squeezed_machine_error[0]) == float(one.machine_error)
    assert float(one.squeezed_machine_error[FACTORS.index(8.0)]) == float(one.root_machine_error)  # sqrt(64)
    assert float(one.root_machine_error) < float(one.machine_error) - 0.02
    assert abs(float(one.ntk_machine_error) - float(one.machine_error)) < 0.05
    kernels = (laplace, lambda a, b: infinite_width(a, b, 1, bias=True).tangent)
    f = [kernel(x_test, x) @ torch.linalg.solve(kernel(x, x), y) for kernel in kernels]
    assert float(one.kernel_agreement) == pytest.approx(float(torch.corrcoef(torch.stack(f))[0, 1]), rel=1e-5)
    assert float(one.regression[1]) < 0.3 and 0 < float(one.regression[0]) < 1


@pytest.mark.parametrize("dimension", [1, 3, 6])
def test_dimension_of_points_in_a_plane(dimension):
    x = normal(3000, dimension) @ normal(dimension, 20, seed=2)
    assert two_nn(x) == pytest.approx(dimension, rel=0.1)


def test_dimension_is_that_of_the_training_inputs():
    end = train([DATA.replace(P=1000)])
    assert float(intrinsic_dimension(end)) == two_nn(end.data.train.x) == pytest.approx(3, rel=0.1)
    x = torch.cat([end.data.train.x, end.data.train.x[:5]])
    assert np.isfinite(two_nn(x)), "points that coincide are left out"


def test_the_nearest_training_input():
    end = train([DATA])
    expected = cdist(end.data.test.x, end.data.train.x).min(1).mean()
    assert neighbour_distance(end).tolist() == pytest.approx([expected], rel=1e-9)
