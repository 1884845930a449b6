"""Where images come from: files of a local folder, of the operating system, or of a download, and what they must be.

Images come from the folder that the environment variable LAZYJAM_DATA names, or by download into the user's cache
folder, and are read in memory.
"""

import gzip
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .archives import DAMAGES, digits, read_cifar_binary, read_cifar_jpeg, read_digits, read_idx, read_npz


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


def stamps(dataset: str, source: Images) -> tuple[tuple[str, int, int], ...]:
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


def user_folder() -> Path:
    """Where downloads and features are kept on this machine."""
    import pooch  # here, because it costs half a second and prints about progress bars when a notebook imports it

    return Path(pooch.os_cache("lazyjam"))


def _download(source: Images, file: File, folders: list[Path]) -> Path:
    import pooch

    reason = "it has no download address:"
    for url in source.urls:
        try:
            return Path(
                pooch.retrieve(
                    url + file.name,
                    known_hash=f"sha256:{file.archive}",
                    fname=file.name,
                    path=user_folder() / source.folder,
                    progressbar=True,
                )
            )
        except (OSError, ValueError) as error:  # no network or no such page; another content than the official one
            reason = f"no download from {url}{file.name} ({type(error).__name__}): try again with a network, or"
    beside = [
        f", or use dataset={name!r}, which is there"
        for name, other in IMAGES.items()
        if other.folder == source.folder and other is not source
        for folder in folders
        if all((folder / needed.name).is_file() for needed in other.files)
    ]
    raise FileNotFoundError(
        f"{file.name} is missing, {reason} put it in the folder {source.folder} of a folder "
        f"that the environment variable LAZYJAM_DATA names{''.join(beside)}."
    )


def sha256(*blobs: bytes) -> str:
    """The SHA-256 of all bytes, one after the other."""
    digest = hashlib.sha256()
    for blob in blobs:
        digest.update(blob)
    return digest.hexdigest()


@contextmanager
def _named(dataset: str, paths: list[str]) -> Iterator[None]:
    """Turn what a damaged file can raise into one sentence that names the file."""
    try:
        yield
    except MemoryError as e:
        raise MemoryError(f"{', '.join(paths)} holds, or says that it holds, more than the memory does ({e}).") from e
    except DAMAGES as e:
        if dataset.startswith("file:"):
            need = "it must be an .npz file with numbers x (n, ...) and whole-number labels y (n,)"
            raise ValueError(f"{paths[0]} cannot be used ({e}): {need}.") from e
        raise ValueError(f"{', '.join(paths)} is damaged ({e}): delete it and download it again.") from e


def blobs(dataset: str, source: Images, stamps: tuple) -> tuple[bytes, ...]:
    """The bytes of the source, uncompressed for IDX files, because mirrors differ in the header of the compression."""
    if not stamps:
        return source.embedded()
    if not source.files:
        return (Path(stamps[0][0]).read_bytes(),)
    found = []
    for (path, *_), file in zip(stamps, source.files, strict=True):
        with _named(dataset, [path]), (gzip.open if file.name.endswith("ubyte.gz") else open)(path, "rb") as stream:
            found.append(stream.read(file.size + 1))
            if len(found[-1]) > file.size or file.content not in ("", sha256(found[-1])):
                raise ValueError("its content is not that of the official file")
    return tuple(found)


def read(dataset: str, source: Images, stamps: tuple, blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, dim) and labels (n,) from the bytes, checked against what the source says of itself."""
    with _named(dataset, [path for path, *_ in stamps]):
        x, labels = source.read(blobs)
        classes, counts = np.unique(labels, return_counts=True)
        if len(x) != len(labels) or len(classes) < 2:
            raise ValueError(f"{len(x)} images, {len(labels)} labels and {len(classes)} classes")
        if source.size and (x.shape[1], len(classes) * counts.min()) != (source.dim, source.size):
            raise ValueError(f"{len(classes) * counts.min()} usable images of {x.shape[1]} pixels, not {source.size}")
    return x, labels


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


OWN_FILE = Images(read_npz)

IMAGES: dict[str, Images] = {
    "digits": Images(read_digits, 1740, 64, embedded=digits),
    "mnist": Images(
        read_idx,
        size=63_130,
        dim=784,
        folder="mnist",
        files=_idx_files(MNIST),
        urls=("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    "fashion_mnist": Images(
        read_idx,
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
        read_cifar_binary,
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
        read_cifar_jpeg,
        size=60_000,
        dim=3072,
        folder="cifar10",
        files=(File("cifar-10-images.tar.xz", 2**26),),
    ),
}
