"""Named data sets with labels +-1, cut into disjoint and balanced training, test and kernel sets.

    train, test, kernel, checksum = load("mnist", P=1000, P_test=10_000, d=10, seed=0)

Images come from the folder that the environment variable LAZYJAM_DATA names, or by download into the user's cache
folder, and are read in memory: no archive is extracted to disk and nothing is unpickled. Train and test images of the
source are pooled; even classes (sorted) are +1, odd ones -1. The training sets of one `seed` are nested in P.
"""

import difflib
import gzip
import hashlib
import io
import lzma
import math
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pooch
import scipy.linalg
import torch
from PIL import Image

from .types import Inputs, Labels

FORMAT = 1  # of the stored features: raise it when a preprocessing changes
CHUNK = 4096  # images transformed at once: 100 MB in float64 for CIFAR-10
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


class File(NamedTuple):
    """A file, its largest size and SHA-256 (uncompressed in the case of IDX files), and its SHA-256 as downloaded."""

    name: str
    size: int
    content: str = ""
    archive: str = ""


class Images(NamedTuple):
    """A set of images of `dim` pixels, of which `size` can be used: the number of classes times the smallest class."""

    read: Callable[[tuple[bytes, ...]], tuple[np.ndarray, np.ndarray]]
    size: int = 0
    dim: int = 0
    folder: str = ""
    files: tuple[File, ...] = ()
    urls: tuple[str, ...] = ()
    system: tuple[str, ...] = ()  # folders of the operating system's packages
    embedded: Callable[[], tuple[bytes, ...]] = tuple


class Synthetic(NamedTuple):
    """Inputs N(0, 1)^d, unlimited in number; `label` maps them (P, d) to booleans (P,), true for y = +1."""

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

    stamps = _stamps(dataset, source)
    pool = _features(dataset, stamps, preprocessing, d) if pca_on == "pool" else _images(dataset, stamps)
    x, labels, checksum = pool
    order, y = _balanced_order(labels, seed), _signs(labels)
    _check_counts(dataset, len(order), P, P_test, P_kernel)
    picks = np.split(order[: P_test + P_kernel + P], [P_test, P_test + P_kernel])
    parts = [x[pick] for pick in picks]
    if pca_on == "train":
        _check_d(dataset, x.shape[1], d, preprocessing)
        parts = _transformed(PREPROCESSING[preprocessing](parts[2], d), parts)
    test, kernel, train = (_split(part, y[pick]) for part, pick in zip(parts, picks, strict=True))
    return Data(train, test, kernel, checksum)


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
        return Images(_read_npz)
    if dataset not in DATASETS:
        raise ValueError(_unknown("data set", dataset, (*DATASETS, "file:PATH.npz")))
    return DATASETS[dataset]


def _unknown(what: str, name: str, known) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? Known" if nearest else "known"
    return f"Unknown {what} {name!r}: {hint} are {', '.join(known)}."


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


# --- preprocessing: (images to fit on (n, dim), d) -> function from images (m, dim) to inputs (m, d)


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


PREPROCESSING = {"pca": _pca, "pca_whitened": _pca_whitened, "none": _unit_images}


def _chunks(x: np.ndarray) -> Iterator[np.ndarray]:
    return (x[i : i + CHUNK] for i in range(0, max(len(x), 1), CHUNK))


def _transformed(transform: Callable, parts: list[np.ndarray]) -> list[np.ndarray]:
    return [np.concatenate([transform(chunk) for chunk in _chunks(part)]) for part in parts]


# --- the pool of images, in memory and in the user's cache folder


@lru_cache(maxsize=1)
def _images(dataset: str, stamps: tuple) -> tuple[np.ndarray, np.ndarray, str]:
    """All images (n, dim), their class labels (n,) and the checksum; `stamps` makes a changed file a new entry."""
    blobs = _blobs(dataset, stamps)
    return *_read(dataset, stamps, blobs), _sha256(*blobs)


@lru_cache(maxsize=2)
def _features(dataset: str, stamps: tuple, preprocessing: str, d: int) -> tuple[np.ndarray, np.ndarray, str]:
    """As `_images`, preprocessed on the pool (n, d); a fit that takes long is kept in the user's cache folder."""
    blobs = _blobs(dataset, stamps)
    checksum = _sha256(*blobs)
    path = Path(pooch.os_cache("lazyjam")) / "features" / f"{checksum}-{preprocessing}-{d}-v{FORMAT}.npz"
    stored = _stored(path)
    if stored is not None:
        return *stored, checksum
    x, labels = _read(dataset, stamps, blobs)
    _check_d(dataset, x.shape[1], d, preprocessing)
    (features,) = _transformed(PREPROCESSING[preprocessing](x, d), [x])
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


def _stamps(dataset: str, source: Images) -> tuple[tuple[str, int, int], ...]:
    """Path, time of change and size of each source file, downloaded if need be."""
    if dataset.startswith("file:"):
        paths = [Path(dataset.removeprefix("file:")).expanduser()]
        if not paths[0].is_file():
            raise FileNotFoundError(f"There is no file {str(paths[0])!r}: correct dataset={dataset!r}.")
    else:
        paths = [_locate(source, file) for file in source.files]
    return tuple((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in paths)


def _locate(source: Images, file: File) -> Path:
    folders = [Path(folder) for folder in source.system]
    if local := os.environ.get("LAZYJAM_DATA"):
        if not Path(local).expanduser().is_dir():
            raise FileNotFoundError(f"LAZYJAM_DATA names {local!r}, which is not a folder: correct or unset it.")
        folders.insert(0, Path(local).expanduser() / source.folder)
    found = [folder / file.name for folder in folders if (folder / file.name).is_file()]
    return found[0] if found else _download(source, file, folders)


def _download(source: Images, file: File, folders: list[Path]) -> Path:
    reason = "it has no download address:"
    for url in source.urls:
        try:
            return Path(
                pooch.retrieve(
                    url + file.name,
                    known_hash=f"sha256:{file.archive}",
                    fname=file.name,
                    path=Path(pooch.os_cache("lazyjam")) / source.folder,
                    progressbar=True,
                )
            )
        except (OSError, ValueError) as error:  # no network or no such page; another content than the official one
            reason = f"no download from {url}{file.name} ({type(error).__name__}): try again with a network, or"
    beside = [
        f", or use dataset={name!r}, which is there"
        for name, other in DATASETS.items()
        if isinstance(other, Images) and other.folder == source.folder and other is not source
        for folder in folders
        if all((folder / needed.name).is_file() for needed in other.files)
    ]
    raise FileNotFoundError(
        f"{file.name} is missing, {reason} put it in the folder {source.folder} of a folder "
        f"that the environment variable LAZYJAM_DATA names{''.join(beside)}."
    )


# --- sources: bytes -> images (n, dim) and class labels (n,)


def _sha256(*blobs: bytes) -> str:
    digest = hashlib.sha256()
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()


DAMAGES = (EOFError, ValueError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile)


@contextmanager
def _named(dataset: str, paths: list[str]) -> Iterator[None]:
    """Turn what a damaged file can raise into one sentence that names the file."""
    try:
        yield
    except DAMAGES as e:
        if dataset.startswith("file:"):
            need = "it must be an .npz file with numbers x (n, ...) and whole-number labels y (n,)"
            raise ValueError(f"{paths[0]} cannot be used ({e}): {need}.") from e
        raise ValueError(f"{', '.join(paths)} is damaged ({e}): delete it and download it again.") from e


def _blobs(dataset: str, stamps: tuple) -> tuple[bytes, ...]:
    """The bytes of the source, uncompressed for IDX files, because mirrors differ in the header of the compression."""
    source = _source(dataset)
    if not stamps:
        return source.embedded()
    if not source.files:
        return (Path(stamps[0][0]).read_bytes(),)
    blobs = []
    for (path, *_), file in zip(stamps, source.files, strict=True):
        with _named(dataset, [path]), (gzip.open if file.name.endswith("ubyte.gz") else open)(path, "rb") as stream:
            blobs.append(stream.read(file.size + 1))
            if len(blobs[-1]) > file.size or file.content not in ("", _sha256(blobs[-1])):
                raise ValueError("its content is not that of the official file")
    return tuple(blobs)


def _read(dataset: str, stamps: tuple, blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    source = _source(dataset)
    with _named(dataset, [path for path, *_ in stamps]):
        x, labels = source.read(blobs)
        classes, counts = np.unique(labels, return_counts=True)
        if len(x) != len(labels) or len(classes) < 2:
            raise ValueError(f"{len(x)} images, {len(labels)} labels and {len(classes)} classes")
        if source.size and (x.shape[1], len(classes) * counts.min()) != (source.dim, source.size):
            raise ValueError(f"{len(classes) * counts.min()} usable images of {x.shape[1]} pixels, not {source.size}")
    return x, labels


def _digits() -> tuple[bytes, bytes]:
    from sklearn.datasets import load_digits  # here, because it takes a second to import

    pixels, labels = load_digits(return_X_y=True)
    return pixels.astype(np.uint8).tobytes(), labels.astype(np.uint8).tobytes()


def _read_digits(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    return np.frombuffer(blobs[0], np.uint8).reshape(-1, 64), np.frombuffer(blobs[1], np.uint8)


def _read_idx(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Train images, train labels, test images, test labels in the IDX format: magic, shape (big endian), bytes."""

    def array(blob: bytes, ndim: int) -> np.ndarray:
        if blob[:4] != bytes([0, 0, 8, ndim]):
            raise ValueError("it does not begin with the magic number of an IDX file")
        shape = np.frombuffer(blob, ">u4", ndim, offset=4).astype(int)
        return np.frombuffer(blob, np.uint8, offset=4 + 4 * ndim).reshape(shape)

    x = np.concatenate([array(blobs[0], 3), array(blobs[2], 3)])
    return x.reshape(len(x), -1), np.concatenate([array(blobs[1], 1), array(blobs[3], 1)])


def _read_cifar_binary(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Six members of records of 1 byte of label and 3072 of pixels (red, green and blue planes)."""
    wanted = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    batches = {}
    with tarfile.open(fileobj=io.BytesIO(blobs[0]), mode="r:gz") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name in wanted and member.isfile() and member.size <= 10_000 * 3073:
                batches[name] = archive.extractfile(member).read()
    if len(batches) < len(wanted):
        raise ValueError(f"{len(batches)} of the members {', '.join(wanted)}")
    records = np.frombuffer(b"".join(batches[name] for name in wanted), np.uint8).reshape(-1, 3073)
    return records[:, 1:], records[:, 0]


class _Bounded:
    """A stream that refuses to yield more than `left` bytes: an unchecked archive may unpack without end."""

    def __init__(self, stream: io.BufferedIOBase, left: int):
        self.stream, self.left = stream, left

    def read(self, size: int) -> bytes:
        blob = self.stream.read(size)
        self.left -= len(blob)
        if self.left < 0:
            raise ValueError("it unpacks to more bytes than it should")
        return blob


def _read_cifar_jpeg(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Members .../train|test/CLASS/NNNN.jpg in the order of their names; pixels as in the binary version."""
    images = {}
    with tarfile.open(fileobj=_Bounded(lzma.open(io.BytesIO(blobs[0])), 2**28), mode="r|") as archive:
        for member in archive:
            name = tuple(member.name.split("/")[-3:])
            if member.isfile() and len(name) == 3 and name[2].endswith(".jpg"):
                images[name] = _decoded(archive.extractfile(member).read(), member.name)
    classes = sorted({name[1] for name in images})
    labels = [classes.index(name[1]) for name in sorted(images)]
    return np.array([images[name] for name in sorted(images)]).reshape(len(images), -1), np.array(labels)


def _decoded(blob: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(blob), formats=["JPEG"]) as image:
            if image.size != (32, 32):  # known before any pixel is decoded
                raise ValueError(f"{name} has {image.size} pixels, not (32, 32)")
            return np.asarray(image.convert("RGB")).transpose(2, 0, 1).ravel()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is no JPEG image") from error


def _read_npz(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    archive = np.load(io.BytesIO(blobs[0]), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile) or not {"x", "y"} <= set(archive.files):
        raise ValueError("no arrays x and y")
    x, y = archive["x"], archive["y"]
    if y.ndim != 1 or y.dtype.kind not in "iuf" or not np.array_equal(y, np.round(y)):
        raise ValueError(f"y has shape {y.shape} and type {y.dtype}, not whole numbers of shape (n,)")
    if x.ndim < 2 or x.dtype.kind not in "iufb" or not np.isfinite(x).all():
        raise ValueError(f"x has shape {x.shape} and type {x.dtype}, not finite numbers of shape (n, ...)")
    return x.reshape(len(x), -1), y


# --- synthetic rules, for x ~ N(0, 1)^d; both classes are (about) equally likely


def _stripe(x: np.ndarray) -> np.ndarray:
    return (x[:, 0] > -0.3) & (x[:, 0] < 1.18549)


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


# SHA-256 of the four IDX files of a data set, each uncompressed and as downloaded
MNIST = """
ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db
440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609
65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5
3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c
0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7
8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6
ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2
f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"""
FASHION_MNIST = """
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888
3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9
a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b
346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34
67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"""
# the publisher of CIFAR-10 gives the MD5 c32a1d4ab5d03f1284b67883e8d87530 only; the SHA-256 of the same archive:
CIFAR10 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"


def _idx_files(sums: str) -> tuple[File, ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    sizes = (16 + 60_000 * 784, 8 + 60_000, 16 + 10_000 * 784, 8 + 10_000)
    pairs = zip(sums.split()[::2], sums.split()[1::2], strict=True)
    return tuple(File(f"{name}-ubyte.gz", size, *pair) for name, size, pair in zip(names, sizes, pairs, strict=True))


DATASETS: dict[str, Images | Synthetic] = {
    "digits": Images(_read_digits, 1740, 64, embedded=_digits),
    "mnist": Images(
        _read_idx,
        size=63_130,
        dim=784,
        folder="mnist",
        files=_idx_files(MNIST),
        urls=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    "fashion_mnist": Images(
        _read_idx,
        size=70_000,
        dim=784,
        folder="fashion_mnist",
        files=_idx_files(FASHION_MNIST),
        urls=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        system=("/usr/share/datasets/fashion-mnist",),  # Debian's package dataset-fashion-mnist
    ),
    "cifar10": Images(
        _read_cifar_binary,
        size=60_000,
        dim=3072,
        folder="cifar10",
        files=(File("cifar-10-binary.tar.gz", 170_052_171, CIFAR10, CIFAR10),),
        urls=(
            "https://www.cs.toronto.edu/~kriz/",
            "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
        ),
    ),
    # CIFAR-10 re-encoded as JPEG, in another order: no address and no official sum, so Data.checksum tells which copy
    "cifar10_jpeg": Images(
        _read_cifar_jpeg,
        size=60_000,
        dim=3072,
        folder="cifar10",
        files=(File("cifar-10-images.tar.xz", 2**26),),
    ),
    "stripe": Synthetic(_stripe),
    "cylinder": Synthetic(_cylinder, least_d=2),
    "sphere": Synthetic(_sphere),
    "random": Synthetic(_random),
    "teacher": Synthetic(_teacher),
}
