"""From images to inputs: (images to fit on (n, dim), d) -> function from images (m, dim) to inputs (m, d)."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import scipy.linalg

CHUNK = 4096  # images transformed at once: 100 MB in float64 for CIFAR-10


def _unit_images(x_fit: np.ndarray, d: int) -> Callable[[np.ndarray], np.ndarray]:
    """Centre each pixel over `x_fit`, then scale each image to the norm sqrt(dim)."""
    mean = x_fit.mean(axis=0, dtype=np.float64)

    def transform(x: np.ndarray) -> np.ndarray:
        z = x - mean
        norm = np.linalg.norm(z, axis=1, keepdims=True)
        return z * (math.sqrt(z.shape[1]) / np.where(norm > 0, norm, 1.0))

    return transform


def _components(x_fit: np.ndarray, d: int) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]:
    """Projection of unit images on the d first principal components (m, d), and the eigenvalues (d,), descending."""
    unit = _unit_images(x_fit, d)
    dim = x_fit.shape[1]
    total, squares = np.zeros(dim), np.zeros((dim, dim))
    for chunk in _chunks(x_fit):
        z = unit(chunk)
        total += z.sum(axis=0)
        squares += z.T @ z
    mean = total / len(x_fit)
    covariance = squares / len(x_fit) - np.outer(mean, mean)
    values, vectors = scipy.linalg.eigh(covariance, subset_by_index=[dim - d, dim - 1])
    values, vectors = values[::-1], vectors[:, ::-1]
    if values[-1] <= 1e-12 * values[0]:
        raise ValueError(f"The images span fewer than d = {d} dimensions: choose a smaller d.")
    # LAPACK builds differ in the sign of an eigenvector: its largest entry is made positive
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(d)])
    return lambda x: (unit(x) - mean) @ vectors, values


def _pca(x_fit: np.ndarray, d: int) -> Callable[[np.ndarray], np.ndarray]:
    """Figs 4 and 5: d principal components of unit images, all divided by the rms of their standard deviations."""
    project, values = _components(x_fit, d)
    return lambda x: project(x) / math.sqrt(values.mean())


def _pca_whitened(x_fit: np.ndarray, d: int) -> Callable[[np.ndarray], np.ndarray]:
    """Fig 7: each component divided by its standard deviation, then each pattern scaled to the norm sqrt(d)."""
    project, values = _components(x_fit, d)

    def transform(x: np.ndarray) -> np.ndarray:
        u = project(x) / np.sqrt(values)
        return u * (math.sqrt(d) / np.linalg.norm(u, axis=1, keepdims=True))

    return transform


PREPROCESSING: dict[str, Callable[[np.ndarray, int], Callable[[np.ndarray], np.ndarray]]] = {
    "pca": _pca,
    "pca_whitened": _pca_whitened,
    "none": _unit_images,
}


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    return (x[i : i + CHUNK] for i in range(0, max(len(x), 1), CHUNK))


def transformed(transform: Callable, parts: list[np.ndarray]) -> list[np.ndarray]:
    """Each part (n, dim) in turn, a chunk at a time."""
    return [np.concatenate([transform(chunk) for chunk in _chunks(part)]) for part in parts]
