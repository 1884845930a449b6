"""Results on disk, addressed by what they are the result of: loose records and packs of them.

The only module that knows the disk format, and it knows neither torch nor physics. Like git, a cache has

* loose records, `loose/ab/<key>.npz`: one file per run, written whole or not at all, by any number of processes;
* packs, `<name>.zip`: many records in one file, which is what is committed.

A record is a `.npz` that `numpy.load` reads: `<column>.npy` for each column and `meta.json`, uncompressed. Every file
ends with the SHA-256 of all bytes before it (as the comment of the ZIP), so that one flipped bit anywhere is found.
Nothing is ever unpickled or extracted. A damaged record is named in a warning, set aside, and counts as missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import struct
import time
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Callable, Container, Iterable
from contextlib import suppress
from functools import lru_cache, partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

VERSION = 1  # part of every key: raise it when old results must not be used any more
MAX_FILE_BYTES = 64 * 2**20  # what is or claims to be larger is refused before it is read
MAX_PACK_BYTES = 8 * 10**6  # packs are committed
PLAIN_KINDS = "biufcSU"  # of dtypes; an object array would be a pickle
STALE_SECONDS = 3600  # a temporary file older than this was left by a killed process


class Record(NamedTuple):
    """The result of one run: `meta`, any JSON-able dict, and `columns`, arrays of any shape by name.

    `meta["versions"]`, where it is present, maps names of columns to ints, and is merged column by column.
    """

    meta: dict[str, Any]
    columns: dict[str, np.ndarray]


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


class Cache:
    """The records in `folder` (made when first written to). Cheap to open and to send to another process.

    `damaged` lists the files, relative to `folder`, that this object found damaged so far.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder, self.damaged, self._known = Path(folder), [], {}
        for left in [*self.folder.glob("*.tmp"), *self.folder.glob("loose/*/*.tmp")]:
            with suppress(OSError):
                if time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink()

    def __reduce__(self) -> tuple:
        return Cache, (self.folder,)

    def get(self, key: str) -> Record | None:
        """The record of `key`, or None: the union of the columns in packs and loose, where loose ones win.

        What is damaged is set aside with a warning; what another VERSION wrote is not used.
        """
        holders = [pack for pack in self._packs() if key in pack.members]
        found = [record for holder in [*holders, None] if (record := self._load(key, holder))]
        return reduce(_overlay, found) if found else None

    def put(self, key: str, record: Record) -> None:
        """Write a loose record, whole or not at all, keeping the columns that the loose one has and this one lacks.

        Raises OSError (same kind and errno) where the folder cannot be written; ValueError for a record too large, a
        column whose name is no identifier or whose dtype is not plain, and a key that is none.
        """
        old = self._load(key, None)
        self._write(self._path(key), _encode(key, _overlay(old, record) if old else record))

    def __contains__(self, key: str) -> bool:
        """Whether a file holds the key; only `get` tells whether the record is sound."""
        return self._path(key).is_file() or any(key in pack.members for pack in self._packs())

    def keys(self) -> list[str]:
        """All keys, sorted."""
        return sorted({path.stem for path in self._files()}.union(*(pack.members for pack in self._packs())))

    def ls(self) -> list[dict[str, Any]]:
        """A row `name, records, bytes` for each pack and one for the loose records."""
        rows = [{"name": p.path.name, "records": len(p.members), "bytes": p.stamp[1]} for p in self._packs()]
        sizes = [path.stat().st_size for path in self._files()]
        return [*rows, {"name": "loose", "records": len(sizes), "bytes": sum(sizes)}]

    def verify(self) -> tuple[int, list[str]]:
        """Read everything from disk and change nothing: the number of sound records, and the names of what is not."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a pack says of itself is in the list that is returned
            packs = Cache(self.folder)._packs()
        records = [(f"{p.path.name}/{k}.npz", k, partial(p.read, k)) for p in packs for k in p.members]
        records += [(str(path.relative_to(self.folder)), path.stem, partial(_bytes, path)) for path in self._files()]
        sound, damaged = set(), [p.path.name for p in packs if p.fault]
        for name, k, read in records:
            try:
                sound |= {k} if _decode(k, read) else set()
            except _Damaged:
                damaged.append(name)
        return len(sound), damaged

    def pack(self, keys: Iterable[str], name: str, *, drop: Iterable[str] = ()) -> Path:
        """Write `folder/<name>.zip` with the records of `keys` less the columns `drop`; same records, same bytes.

        Raises ValueError where a record is missing, for a pack above MAX_PACK_BYTES and for a `name` that is none.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"a pack's name consists of letters, digits, - and _, got {name!r}.")
        drop, members = set(drop), {}
        for k in dict.fromkeys(keys):
            record = self.get(k)
            if record is None:
                raise ValueError(f"cannot pack {name!r}: there is no sound record {k}, so compute it first.")
            members[f"{k}.npz"] = _encode(k, _without(record, drop))
        data = _zip(members, zipfile.ZIP_DEFLATED)
        if len(data) > MAX_PACK_BYTES:
            raise ValueError(f"a pack has at most {MAX_PACK_BYTES} bytes, got {len(data)}: drop columns or split it.")
        self._write(path := self.folder / f"{name}.zip", data)
        return path

    def merge(self, folder: str | os.PathLike[str]) -> int:
        """Copy what another cache has and this one lacks; the number of records that brought something.

        What is sound here stays, unless the other's column has a higher version. FileNotFoundError without `folder`.
        """
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"there is no cache folder {str(folder)!r} to merge from.")
        other, brought = Cache(folder), 0
        for k in other.keys():
            mine, theirs = self.get(k), other.get(k)
            if mine and theirs:
                old, new = (record.meta.get("versions", {}) for record in (mine, theirs))
                theirs = _without(theirs, {c for c in mine.columns if old.get(c, 0) >= new.get(c, 0)})
            if theirs and (theirs.columns or not mine):
                self.put(k, theirs)
                brought += 1
        return brought

    def _path(self, key: str) -> Path:
        if not _is_key(key):
            raise ValueError(f"a key has 32 hex digits, got {key!r}.")
        return self.folder / "loose" / key[:2] / f"{key}.npz"

    def _files(self) -> list[Path]:
        found = sorted(self.folder.glob("loose/*/*.npz"))
        return [path for path in found if _is_key(path.stem) and path.parent.name == path.stem[:2]]

    def _packs(self) -> list[_Pack]:
        """The packs, sorted by name; those that are new or have changed since the last call are read."""
        packs = {}
        for path in sorted(self.folder.glob("*.zip")):
            stat = path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            pack = self._known.get(path)
            if pack is None or pack.stamp != stamp:
                pack = _Pack(path, stamp)
                if pack.fault:
                    self._report(path.name, f"{pack.fault}; the sound records in it are still used")
            packs[path] = pack
        self._known = packs
        return list(packs.values())

    def _load(self, key: str, pack: _Pack | None) -> Record | None:
        """The record in a pack, or the loose one; None where there is none or where it is damaged."""
        path = self._path(key)
        try:
            return _decode(key, partial(pack.read, key) if pack else partial(_bytes, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except _Damaged as fault:
            if pack:
                pack.members.pop(key, None)
                self._report(f"{pack.path.name}/{key}.npz", f"{fault}; it is not used")
            else:
                with suppress(OSError):  # another process was first, or the folder is read-only
                    os.replace(path, f"{path}.damaged")
                self._report(str(path.relative_to(self.folder)), f"{fault}; it is set aside as {path.name}.damaged")
            return None

    def _report(self, name: str, what: str) -> None:
        self.damaged.append(name)
        warnings.warn(f"the cache file {name} in {self.folder} is damaged: {what}.", stacklevel=4)

    def _write(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except OSError as error:
            sentence = (
                f"cannot write to the cache folder {self.folder} ({error.strerror or error}): what was finished so far "
                f"is safe, so make room or choose a folder that can be written, and run again."
            )
            raise OSError(error.errno, sentence) from error
        finally:
            with suppress(OSError):  # it is still there only if something failed
                temporary.unlink()


class _Damaged(Exception):
    """What is wrong with some bytes, as the end of a sentence."""


class _Pack:
    """A pack, held in memory as it was on disk when its (mtime, size, inode) was `stamp`."""

    def __init__(self, path: Path, stamp: tuple[int, int, int]):
        self.path, self.stamp, self.fault, self.members = path, stamp, None, {}
        try:
            self.data = _bytes(path)
            infos = _directory(self.data)
            self.members = {k: info for name, info in infos.items() if _is_key(k := name[:-4]) and name[-4:] == ".npz"}
            _check_seal(self.data)
            if len(self.members) < len(infos):
                raise ValueError("it holds more than records")
        except OSError:
            raise
        except Exception as error:  # zipfile raises almost anything on hostile bytes
            self.fault = f"{error}"

    def read(self, key: str) -> bytes:
        return _member(self.data, self.members[key])


def _bytes(path: Path) -> bytes:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_FILE_BYTES:
            raise _Damaged(f"it is larger than {MAX_FILE_BYTES} bytes")
        return file.read()


def _is_key(text: str) -> bool:
    return re.fullmatch(r"[0-9a-f]{32}", text) is not None


def _overlay(old: Record, new: Record) -> Record:
    versions = {**old.meta.get("versions", {}), **new.meta.get("versions", {})}
    meta = {**old.meta, **new.meta, **({"versions": versions} if versions else {})}
    return Record(meta, {**old.columns, **new.columns})


def _without(record: Record, drop: Container[str]) -> Record:
    meta = dict(record.meta)
    if "versions" in meta:
        meta["versions"] = {name: version for name, version in meta["versions"].items() if name not in drop}
    return Record(meta, {name: column for name, column in record.columns.items() if name not in drop})


def _encode(key: str, record: Record) -> bytes:
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
    data = _zip(members, zipfile.ZIP_STORED)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"a record has at most {MAX_FILE_BYTES} bytes, got {len(data)}: store smaller columns.")
    return data


def _decode(key: str, read: Callable[[], bytes]) -> Record | None:
    """The record in what `read` returns, or None if another VERSION wrote it.

    Raises _Damaged for anything that `_encode` cannot have written.
    """
    try:
        _check_seal(data := read())
        infos = _directory(data)
        if sum(info.file_size for info in infos.values()) > len(data):
            raise ValueError("its members are larger than itself")  # compressed or overlapping: a bomb
        head = json.loads(_member(data, infos.pop("meta.json")))
        if head["version"] != VERSION:
            return None
        if head["key"] != key:
            raise ValueError(f"it is the record of {head['key']!r}")
        if not isinstance(head["meta"].get("versions", {}), dict):
            raise ValueError("its versions are no dict")
        if not all(name[:-4].isidentifier() and name[-4:] == ".npy" for name in infos):
            raise ValueError(f"it holds more than columns, got {sorted(infos)}")
        return Record(head["meta"], {name[:-4]: _array(_member(data, info)) for name, info in infos.items()})
    except OSError:  # nothing was read, so nothing is damaged
        raise
    except Exception as error:  # the parsers raise almost anything on hostile bytes
        raise _Damaged(f"{error}") from error


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


def _zip(members: dict[str, bytes], compression: int) -> bytes:
    """A sealed archive, the same bytes for the same members."""
    with zipfile.ZipFile(buffer := io.BytesIO(), "w") as archive:
        archive.comment = bytes(64)  # where the seal goes
        for name in sorted(members):
            info = zipfile.ZipInfo(name)  # of 1980-01-01
            info.create_system, info.compress_type = 3, compression
            archive.writestr(info, members[name], compresslevel=9)
    data = buffer.getvalue()[:-64]
    return data + hashlib.sha256(data).hexdigest().encode()


def _check_seal(data: bytes) -> None:
    if hashlib.sha256(data[:-64]).hexdigest().encode() != data[-64:]:
        raise ValueError("its checksum is not that of its bytes")


def _directory(data: bytes) -> dict[str, zipfile.ZipInfo]:
    return zipfile.ZipFile(io.BytesIO(data)).NameToInfo


def _member(data: bytes, info: zipfile.ZipInfo) -> bytes:
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
