"""Archives of images in memory: bytes -> images (n, dim) and class labels (n,).

Nothing is unpickled or extracted to disk, and no more is unpacked than an archive may hold.
"""

import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from tokenize import TokenError

import numpy as np
from PIL import Image

DAMAGES = (EOFError, RecursionError, TokenError, ValueError, zlib.error, gzip.BadGzipFile, lzma.LZMAError,
           tarfile.TarError, zipfile.BadZipFile)  # fmt: skip
"""What a reader may raise on a damaged archive. (numpy parses the head of an array as Python.)"""


def digits() -> tuple[bytes, bytes]:
    """Pixels and labels of the digits that come with scikit-learn, as bytes."""
    from sklearn.datasets import load_digits  # here, because it takes a second to import

    pixels, labels = load_digits(return_X_y=True)
    return pixels.astype(np.uint8).tobytes(), labels.astype(np.uint8).tobytes()


def read_digits(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The two arrays of `digits`."""
    return np.frombuffer(blobs[0], np.uint8).reshape(-1, 64), np.frombuffer(blobs[1], np.uint8)


def read_idx(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Train images, train labels, test images, test labels in the IDX format: magic, shape (big endian), bytes."""

    def array(blob: bytes, ndim: int) -> np.ndarray:
        if blob[:4] != bytes([0, 0, 8, ndim]):
            raise ValueError("it does not begin with the magic number of an IDX file")
        shape = np.frombuffer(blob, ">u4", ndim, offset=4).astype(int)
        return np.frombuffer(blob, np.uint8, offset=4 + 4 * ndim).reshape(shape)

    x = np.concatenate([array(blobs[0], 3), array(blobs[2], 3)])
    return x.reshape(len(x), -1), np.concatenate([array(blobs[1], 1), array(blobs[3], 1)])


def read_cifar_binary(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
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


def read_cifar_jpeg(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
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


def read_npz(blobs: tuple[bytes, ...]) -> tuple[np.ndarray, np.ndarray]:
    """A person's own file: numbers x (n, ...) and whole-number labels y (n,)."""
    archive = np.load(io.BytesIO(blobs[0]), allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile) or not {"x", "y"} <= set(archive.files):
        raise ValueError("no arrays x and y")
    x, y = archive["x"], archive["y"]
    if y.ndim != 1 or y.dtype.kind not in "iuf" or not np.array_equal(y, np.round(y)):
        raise ValueError(f"y has shape {y.shape} and type {y.dtype}, not whole numbers of shape (n,)")
    if x.ndim < 2 or x.dtype.kind not in "iufb" or not np.isfinite(x).all():
        raise ValueError(f"x has shape {x.shape} and type {x.dtype}, not finite numbers of shape (n, ...)")
    return x.reshape(len(x), -1), y
