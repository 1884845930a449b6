"""Principal components of a kernel, and what they know of the labels."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from lazyjam import Setup, ntk, train
from lazyjam.kernel_pca import (
    information,
    kernel_pca,
    label_information,
    label_projection,
    mutual_information,
    projections,
)


def normal(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_components_are_those_of_the_features():
    """Theta = J J^T: the eigenvectors of the Gram matrix are the left singular vectors of the Jacobian."""
    J = normal(8, 20)
    values, vectors = kernel_pca(J @ J.T)
    U, S, _ = torch.linalg.svd(J, full_matrices=False)
    torch.testing.assert_close(values, S.square(), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close((vectors * U).sum(0).abs(), torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(vectors @ vectors.T, torch.eye(8, dtype=torch.float64))


def test_projections_add_up_to_one():
    vectors = kernel_pca(normal(12, 12) @ normal(12, 12).T)[1]
    y = normal(12, seed=3).sign()
    assert float(projections(vectors, y).sum()) == pytest.approx(1)
    torch.testing.assert_close(projections(y[:, None] / y.norm(), y), torch.ones(1, dtype=torch.float64))


def test_information_of_known_cases():
    P = 2000
    y = torch.ones(P, dtype=torch.float64)
    y[::2] = -1
    assert mutual_information(y + 1e-3 * normal(P), y) == pytest.approx(1 + 1 / (2 * P * math.log(2)))
    assert math.isnan(mutual_information(y * math.nan, y))
    chance = [mutual_information(normal(P, seed=seed), y) for seed in range(200)]
    assert abs(np.mean(chance)) < 4 * np.std(chance) / math.sqrt(200), "without a bias where there is no information"
    assert mutual_information(-normal(P) - y, y) == pytest.approx(mutual_information(normal(P) + y, y), abs=0.002)


def test_information_against_scikit_learn():
    x, y = normal(600), (normal(600, seed=2) + 0.5).sign()
    x = x + y
    bins = np.argsort(np.argsort(x.numpy())) * 20 // 600
    plug_in = mutual_info_score(bins, y.numpy()) / math.log(2)
    occupied = len({*zip(bins.tolist(), y.tolist(), strict=True)})
    miller = (19 + 1 - (occupied - 1)) / (1200 * math.log(2))
    assert mutual_information(x, y) == pytest.approx(plug_in + miller, abs=1e-10)
    with pytest.raises(ValueError, match="20 bins need at least 40 patterns, got 39"):
        mutual_information(x[:39], y[:39])


def test_a_net_that_learnt_the_stripe_knows_the_label():
    setup = Setup(dataset="stripe", preprocessing="none", d=5, P=200, P_test=100, P_kernel=0, L=1, h=100, bias=True,
                  bias_std=1.0, activation="softplus5", alpha_tilde=1e-2)  # fmt: skip
    end = train([setup, setup.replace(seed=1)])
    omega, known = label_projection(end), label_information(end)
    assert omega.shape == known.shape == (2, 2, 20)
    assert (known[:, 1, :2].sum(1) > known[:, 0, :2].sum(1) + 0.3).all()
    assert (omega[:, 1, :10].sum(1) > omega[:, 0, :10].sum(1)).all()
    x, y = end.data.train
    K = ntk(end.network, end.w, x)[1]
    torch.testing.assert_close(omega[1, 1], projections(kernel_pca(K)[1], y)[:20])
    torch.testing.assert_close(known[1, 1], information(K, y))
