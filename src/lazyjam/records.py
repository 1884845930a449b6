"""One record as bytes and back: the format of the files of a cache. It knows no folder, and neither torch nor physics.

A record is a `.npz` that `numpy.load` reads: `<column>.npy` for each column and `meta.json`, uncompressed. An archive
ends with the SHA-256 of all bytes before it (as the comment of the ZIP), so that one flipped bit anywhere is found.
Nothing is ever unpickled or extracted, and what an archive claims about its sizes is not believed.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Container
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

VERSION = 1  # part of every key: raise it when old results must not be used any more
MAX_FILE_BYTES = 64 * 2**20  # what is or claims to be larger is refused before it is read
PLAIN_KINDS = "biufcSU"  # of dtypes; an object array would be a pickle


class Record(NamedTuple):
    """The result of one run: `meta`, any JSON-able dict, and `columns`, arrays of any shape by name.

    `meta["versions"]`, where it is present, maps names of columns to ints, and is merged column by column.
    """

    meta: dict[str, Any]
    columns: dict[str, np.ndarray]


class Damaged(Exception):
    """What is wrong with some bytes, as the end of a sentence."""


def key(fields: dict[str, Any]) -> str:
    """The address of a result: 32 hex digits of the SHA-256 of VERSION and `fields` as canonical JSON.

    Floats count by their repr, so 1 and 1.0 differ; infinity is allowed.
    Raises ValueError for a NaN (it equals nothing, so it addresses nothing) and for a field called `version`.
    """
    if "version" in fields:
        raise ValueError("a field cannot be called 'version', which is the cache's own: rename it.")
    text = json.dumps({"version": VERSION, **fields}, sort_keys=True, separators=(",", ":"))

    def constant(name: str) -> None:
        if name == "NaN":
            raise ValueError(f"the fields of a key must equal themselves, got NaN in {fields}.")

    json.loads(text, parse_constant=constant)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_key(text: str) -> bool:
    """Whether a text can be what `key` returns."""
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def outdone(one: Record, other: Record) -> bool:
    """Whether a run was broken off, and the other one came to its end or was granted more gradients."""
    finished = "capped" in other.columns and not other.columns["capped"]
    granted = [run.meta.get("how", {}).get("max_gradients", 0) for run in (one, other)]
    return bool(one.columns.get("capped")) and (finished or granted[0] < granted[1])


def overlay(old: Record, new: Record) -> Record:
    """The union of two records, where the new one wins. It is of single precision if a column of it is.

    Nothing is left of one that is `outdone` by the other.
    """
    if outdone(old, new):
        return new
    if outdone(new, old):
        return old
    versions = {**old.meta.get("versions", {}), **new.meta.get("versions", {})}
    meta = {**old.meta, **new.meta, **({"versions": versions} if versions else {})}
    was_single = old.meta.get("how", {}).get("precision") == "single"
    if was_single and "how" in meta and old.columns.keys() - new.columns.keys():
        meta["how"] = {**meta["how"], "precision": "single"}
    return Record(meta, {**old.columns, **new.columns})


def without(record: Record, drop: Container[str]) -> Record:
    """The record less some columns and their versions."""
    meta = dict(record.meta)
    if "versions" in meta:
        meta["versions"] = {name: version for name, version in meta["versions"].items() if name not in drop}
    return Record(meta, {name: column for name, column in record.columns.items() if name not in drop})


def read_file(path: Path) -> bytes:
    """All bytes of a file. Raises Damaged for one larger than MAX_FILE_BYTES."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise Damaged(f"it is larger than {MAX_FILE_BYTES} bytes")
        return file.read()


def encode(key: str, record: Record) -> bytes:
    """The file of a record. Raises ValueError for one too large, or a column that `decode` would refuse."""
    head = {"key": key, "version": VERSION, "meta": record.meta}
    members = {"meta.json": json.dumps(head, sort_keys=True).encode()}
    for name, column in record.columns.items():
        array = np.asarray(column, order="C")
        if not (name.isidentifier() and name.isascii()):
            raise ValueError(f"a column's name must be a plain identifier, got {name!r}.")
        if array.dtype.kind not in PLAIN_KINDS:
            raise ValueError(f"a column holds bools, numbers or strings, got dtype {array.dtype} in {name!r}.")
        np.lib.format.write_array(buffer := io.BytesIO(), array, version=(1, 0), allow_pickle=False)
        members[f"{name}.npy"] = buffer.getvalue()
    data = archive(members, zipfile.ZIP_STORED)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"a record has at most {MAX_FILE_BYTES} bytes, got {len(data)}: store smaller columns.")
    return data


def decode(key: str, read: Callable[[], bytes]) -> Record | None:
    """The record in what `read` returns, or None if another VERSION wrote it.

    Raises Damaged for anything that `encode` cannot have written.
    """
    try:
        check_seal(data := read())
        infos = directory(data)
        if sum(info.file_size for info in infos.values()) > len(data):
            raise ValueError("its members are larger than itself")  # compressed or overlapping: a bomb
        head = json.loads(member(data, infos.pop("meta.json")))
        if head["version"] != VERSION:
            return None
        if head["key"] != key:
            raise ValueError(f"it is the record of {head['key']!r}")
        if not isinstance(head["meta"].get("versions", {}), dict):
            raise ValueError("its versions are no dict")
        if not all(name[:-4].isidentifier() and name[-4:] == ".npy" for name in infos):
            raise ValueError(f"it holds more than columns, got {sorted(infos)}")
        return Record(head["meta"], {name[:-4]: _array(member(data, info)) for name, info in infos.items()})
    except OSError:  # nothing was read, so nothing is damaged
        raise
    except Exception as error:  # the parsers raise almost anything on hostile bytes
        raise Damaged(f"{error}") from error


def _array(data: bytes) -> np.ndarray:
    """The array in a .npy file, several times faster than numpy.load."""
    start = 10 + int.from_bytes(data[8:10], "little")
    shape, dtype = _npy_header(data[:start])
    if len(data) - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"it has {len(data) - start} bytes for an array {dtype} of shape {shape}")
    return np.ndarray(shape, dtype, data, start).copy()


@lru_cache(maxsize=1024)
def _npy_header(head: bytes) -> tuple[tuple[int, ...], np.dtype]:
    file = io.BytesIO(head)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array is of an unknown format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if fortran_order or dtype.kind not in PLAIN_KINDS:
        raise ValueError(f"an array is not plain: {dtype}")
    return shape, dtype


def archive(members: dict[str, bytes], compression: int) -> bytes:
    """A sealed archive, the same bytes for the same members."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as file:
        file.comment = bytes(64)  # where the seal goes
        for name in sorted(members):
            info = zipfile.ZipInfo(name)  # of 1980-01-01
            info.create_system, info.compress_type = 3, compression
            file.writestr(info, members[name], compresslevel=9)
    data = buffer.getvalue()[:-64]
    return data + hashlib.sha256(data).hexdigest().encode()


def check_seal(data: bytes) -> None:
    """Raise ValueError for an archive whose bytes are not those that were sealed."""
    if hashlib.sha256(data[:-64]).hexdigest().encode() != data[-64:]:
        raise ValueError("its checksum is not that of its bytes")


def directory(data: bytes) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name."""
    return zipfile.ZipFile(io.BytesIO(data)).NameToInfo


def member(data: bytes, info: zipfile.ZipInfo) -> bytes:
    """The bytes of a member, faster than ZipFile.read, and never more than it says that it has."""
    start = info.header_offset + 30 + sum(struct.unpack_from("<HH", data, info.header_offset + 26))
    found = data[start : start + info.compress_size]
    if info.file_size > MAX_FILE_BYTES:
        raise ValueError("a member is too large")
    if info.compress_type == zipfile.ZIP_DEFLATED:
        found = zlib.decompressobj(-15).decompress(found, info.file_size + 1)
    if len(found) != info.file_size or zlib.crc32(found) != info.CRC:
        raise ValueError("a member is not what the directory says")
    return found
