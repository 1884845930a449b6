"""Named data sets with labels +-1, cut into disjoint and balanced training, test and kernel sets.

    train, test, kernel, checksum = load("mnist", P=1000, P_test=10_000, d=10, seed=0)

Train and test images of the source are pooled; even classes (sorted) are +1, odd ones -1. The training sets of one
`seed` are nested in P. Where images come from is told in sources.py, what is made of them in preprocessing.py.
"""

import math
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from . import sources
from .preprocessing import PREPROCESSING, transformed
from .sources import IMAGES, OWN_FILE, Images
from .spelling import nearest
from .types import Inputs, Labels

FORMAT = 1  # of the stored features: raise it when a preprocessing changes
SLOW, STORED = 10**7, 2**28  # features of pools of more pixels are stored on disk, if they have fewer bytes
TEACHER = (2012, 15110)  # seed of the teacher network


class Split(NamedTuple):
    """Inputs x (P, d) and labels y (P,) of +-1, both float64."""

    x: Inputs
    y: Labels


class Data(NamedTuple):
    """Three disjoint sets, and the SHA-256 of the source's bytes (`synthetic` for sets that are drawn)."""

    train: Split
    test: Split
    kernel: Split
    checksum: str


class Synthetic(NamedTuple):
    """Inputs N(0, 1)^d, unlimited in number; `label` maps them (P, d) to booleans (P,), true for y = +1.

    A label may depend on the place in the set as well.
    """

    label: Callable[[np.ndarray], np.ndarray]
    least_d: int = 1


def load(
    dataset: str,
    P: int,
    P_test: int,
    d: int,
    seed: int,
    *,
    P_kernel: int = 0,
    preprocessing: str = "pca",
    pca_on: str = "pool",
) -> Data:
    """P training, P_test test and P_kernel kernel patterns in d dimensions, all from one `seed`.

    The order of drawing is test, kernel, train: with the same P_test and P_kernel, a smaller training set is the first
    rows of a larger one. `pca_on` tells what means and components are fitted on: the whole pool, as the authors of the
    paper did (their test set leaks into the preprocessing), or the training set only.

    Raises ValueError for what `check` refuses and for a damaged source, FileNotFoundError for a missing one.
    """
    check(dataset, P, P_test, P_kernel, d, preprocessing, pca_on)
    if not isinstance(seed, Integral) or seed < 0:
        raise ValueError(f"The seed must be a whole number, 0 or larger, got {seed!r}.")
    source = _source(dataset)
    if isinstance(source, Synthetic):
        rng = np.random.Generator(np.random.PCG64(seed))
        draws = [rng.standard_normal((count, d)) for count in (P_test, P_kernel, P)]
        test, kernel, train = (_split(x, np.where(source.label(x), 1.0, -1.0)) for x in draws)
        return Data(train, test, kernel, "synthetic")

    stamps = sources.stamps(dataset, source)
    pool = _features(dataset, stamps, preprocessing, d) if pca_on == "pool" else _images(dataset, stamps)
    x, labels, checksum = pool
    order, y = _balanced_order(labels, seed), _signs(labels)
    _check_counts(dataset, len(order), P, P_test, P_kernel)
    picks = np.split(order[: P_test + P_kernel + P], [P_test, P_test + P_kernel])
    parts = [x[pick] for pick in picks]
    if pca_on == "train":
        _check_d(dataset, x.shape[1], d, preprocessing)
        parts = transformed(PREPROCESSING[preprocessing](parts[2], d), parts)
    test, kernel, train = (_split(part, y[pick]) for part, pick in zip(parts, picks, strict=True))
    return Data(train, test, kernel, checksum)


def checksum(dataset: str) -> str:
    """The SHA-256 of the source's bytes, as in `Data`. Raises FileNotFoundError for a missing source."""
    source = _source(dataset)
    return "synthetic" if isinstance(source, Synthetic) else _checksum(dataset, sources.stamps(dataset, source))


@lru_cache(maxsize=8)
def _checksum(dataset: str, stamps: tuple) -> str:
    return sources.sha256(*sources.blobs(dataset, _source(dataset), stamps))


def check(dataset: str, P: int, P_test: int, P_kernel: int, d: int, preprocessing: str, pca_on: str) -> None:
    """Raise ValueError, one sentence, for arguments of `load` that are wrong whatever the data are. Reads no data."""
    source = _source(dataset)
    for name, value, least in (("P", P, 1), ("P_test", P_test, 0), ("P_kernel", P_kernel, 0), ("d", d, 1)):
        if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number, {least} or larger, got {value!r}.")
    if preprocessing not in PREPROCESSING:
        raise ValueError(_unknown("preprocessing", preprocessing, PREPROCESSING))
    if pca_on not in ("pool", "train"):
        raise ValueError(_unknown("pca_on", pca_on, ("pool", "train")))
    if isinstance(source, Synthetic):
        if preprocessing != "none" or pca_on != "pool":
            raise ValueError(
                f"The synthetic data set {dataset!r} is used as drawn: set preprocessing='none' and pca_on='pool', "
                f"got {preprocessing!r} and {pca_on!r}."
            )
        if d < source.least_d:
            raise ValueError(f"The data set {dataset!r} needs d of at least {source.least_d}, got {d}.")
    else:
        if source.size:  # unknown for a person's own file until it is read
            _check_d(dataset, source.dim, d, preprocessing)
            _check_counts(dataset, source.size, P, P_test, P_kernel)
        if pca_on == "train" and preprocessing != "none" and d >= P:
            raise ValueError(f"Fitting d = {d} components on the training set needs P of at least {d + 1}, got {P}.")


def _check_d(dataset: str, dim: int, d: int, preprocessing: str) -> None:
    if d > dim:
        raise ValueError(f"The images of {dataset!r} have {dim} pixels: d must be at most that, got {d}.")
    if preprocessing == "none" and d != dim:
        raise ValueError(f"With preprocessing='none' d must be the {dim} pixels of {dataset!r}, got {d}.")


def _check_counts(dataset: str, size: int, P: int, P_test: int, P_kernel: int) -> None:
    if P + P_test + P_kernel > size:
        raise ValueError(
            f"The data set {dataset!r} has {size} images in balanced classes: P + P_test + P_kernel must be at most "
            f"that, got {P} + {P_test} + {P_kernel} = {P + P_test + P_kernel}."
        )


def _source(dataset: str) -> Images | Synthetic:
    if dataset.startswith("file:"):
        return OWN_FILE
    if dataset not in DATASETS:
        raise ValueError(_unknown("data set", dataset, (*DATASETS, "file:PATH.npz")))
    return DATASETS[dataset]


def _unknown(what: str, name: str, known) -> str:
    return f"Unknown {what} {name!r}{nearest(name, known)}"


# --- splits and labels


def _split(x: np.ndarray, y: np.ndarray) -> Split:
    return Split(torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(np.ascontiguousarray(y)))


def _signs(labels: np.ndarray) -> np.ndarray:
    """+1 for even and -1 for odd class indices; labels that are +-1 already keep their sign."""
    classes, index = np.unique(labels, return_inverse=True)
    return labels.astype(np.float64) if classes.tolist() == [-1, 1] else 1.0 - 2.0 * (index % 2)


def _balanced_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Indices of the pool, shuffled inside each class, the classes taking turns until the smallest is used up."""
    rng = np.random.Generator(np.random.PCG64(seed))
    groups = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return np.stack([group[: min(map(len, groups))] for group in groups], axis=1).ravel()


# --- the pool of images, in memory and in the user's cache folder


@lru_cache(maxsize=1)
def _images(dataset: str, stamps: tuple) -> tuple[np.ndarray, np.ndarray, str]:
    """All images (n, dim), their class labels (n,) and the checksum; `stamps` makes a changed file a new entry."""
    source = _source(dataset)
    blobs = sources.blobs(dataset, source, stamps)
    return *sources.read(dataset, source, stamps, blobs), sources.sha256(*blobs)


@lru_cache(maxsize=2)
def _features(dataset: str, stamps: tuple, preprocessing: str, d: int) -> tuple[np.ndarray, np.ndarray, str]:
    """As `_images`, preprocessed on the pool (n, d); a fit that takes long is kept in the user's cache folder."""
    source = _source(dataset)
    blobs = sources.blobs(dataset, source, stamps)
    checksum = sources.sha256(*blobs)
    path = sources.user_folder() / "features" / f"{checksum}-{preprocessing}-{d}-v{FORMAT}.npz"
    stored = _stored(path)
    if stored is not None:
        return *stored, checksum
    x, labels = sources.read(dataset, source, stamps, blobs)
    _check_d(dataset, x.shape[1], d, preprocessing)
    (features,) = transformed(PREPROCESSING[preprocessing](x, d), [x])
    if x.size > SLOW and features.nbytes < STORED:
        _store(path, features, labels)
    return features, labels, checksum


def _stored(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return archive["x"], archive["labels"]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error):
        return None  # missing or damaged: it is computed again


def _store(path: Path, x: np.ndarray, labels: np.ndarray) -> None:
    with suppress(OSError):  # an unwritable or full cache folder costs time, nothing else
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            np.savez(Path(folder) / path.name, x=x, labels=labels)
            os.replace(Path(folder) / path.name, path)


# --- synthetic rules, for x ~ N(0, 1)^d; both classes are (about) equally likely


def _stripe(x: np.ndarray) -> np.ndarray:
    return (x[:, 0] > -0.3) & (x[:, 0] < 1.18549)


def _noisy_stripe(x: np.ndarray) -> np.ndarray:
    """The stripe with every tenth label wrong, by its place in the set: no test error can be below a tenth."""
    return _stripe(x) ^ (np.arange(len(x)) % 10 == 9)


def _cylinder(x: np.ndarray) -> np.ndarray:
    return (x[:, :2] ** 2).sum(axis=1) > 2 - 2 / 3  # d_par = 2


def _sphere(x: np.ndarray) -> np.ndarray:
    d = x.shape[1]
    return (x**2).sum(axis=1) > d * (1 - 2 / (9 * d)) ** 3


def _random(x: np.ndarray) -> np.ndarray:
    """Labels that alternate: independent of the inputs, balanced exactly, and the same for every P."""
    return np.arange(len(x)) % 2 == 0


def _teacher(x: np.ndarray) -> np.ndarray:
    """The sign of one fixed random network of 16 tanh neurons; odd in x, hence balanced."""
    rng = np.random.Generator(np.random.PCG64(TEACHER))  # a pair, so that no seed of the inputs gives the same stream
    w, a = rng.standard_normal((x.shape[1], 16)), rng.standard_normal(16)
    return np.tanh(x @ w / math.sqrt(x.shape[1])) @ a > 0


DATASETS: dict[str, Images | Synthetic] = {
    **IMAGES,
    "stripe": Synthetic(_stripe),
    "noisy_stripe": Synthetic(_noisy_stripe),
    "cylinder": Synthetic(_cylinder, least_d=2),
    "sphere": Synthetic(_sphere),
    "random": Synthetic(_random),
    "teacher": Synthetic(_teacher),
}
