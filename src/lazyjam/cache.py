"""Results on disk, addressed by what they are the result of: loose records and packs of them.

With records.py, which turns one record into bytes and back, the only module that knows the disk format; it knows
neither torch nor physics. Like git, a cache has

* loose records, `loose/ab/<key>.npz`: one file per run, written whole or not at all, by any number of processes,
  which wait for each other at `loose/ab/lock`;
* packs, `<name>.zip`: many records in one file, which is what is committed.

A damaged record is named in a warning, set aside, and counts as missing.
"""

from __future__ import annotations

import errno
import os
import re
import time
import uuid
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial, reduce
from pathlib import Path
from typing import Any

from . import records
from .records import Record as Record
from .records import key as key

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MAX_PACK_BYTES = 8 * 10**6  # packs are committed
STALE_SECONDS = 3600  # a temporary file older than this was left by a killed process
TEMPORARY = re.compile(r"(probe|[0-9a-f]{32}\.npz|[A-Za-z0-9_-]+\.zip)\.[0-9a-f]{32}\.tmp")
LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # some network file systems


class Cache:
    """The records in `folder` (made when first written to). Cheap to open and to send to another process.

    `damaged` lists the files, relative to `folder`, that this object found damaged so far.
    """

    _sets_aside = True

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder, self.damaged, self._known = Path(folder), [], {}

    def __reduce__(self) -> tuple:
        return Cache, (self.folder.absolute(),)

    def get(self, key: str) -> Record | None:
        """The record of `key`, or None: the union of the columns in packs and loose, where loose ones win.

        What is damaged is set aside with a warning; what another VERSION wrote is not used.
        """
        holders = [pack for pack in self._packs() if key in pack.members]
        found = [record for holder in [*holders, None] if (record := self._load(key, holder))]
        return reduce(records.overlay, found) if found else None

    def put(self, key: str, record: Record) -> None:
        """Write a loose record, whole or not at all, keeping the columns that the loose one has and this one lacks.

        Raises OSError (same kind and errno) where the folder cannot be written; ValueError for a record too large, a
        column whose name is no identifier or whose dtype is not plain, and a key that is none.
        """
        path, data = self._path(key), records.encode(key, record)
        with self._alone(path):
            old = self._load(key, None)
            self._write(path, records.encode(key, records.overlay(old, record)) if old else data)

    def check_writable(self) -> None:
        """Raises OSError where the folder cannot be written, so that it is known before anything is computed.

        What killed processes left of files that they had begun goes.
        """
        probe = self.folder / "loose" / "probe"
        self._write(probe, b"")
        probe.unlink(missing_ok=True)
        for left in (path for folder in ("", "loose/", "loose/*/") for path in self.folder.glob(f"{folder}*.tmp")):
            with suppress(OSError):
                if TEMPORARY.fullmatch(left.name) and time.time() - left.stat().st_mtime > STALE_SECONDS:
                    left.unlink()

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
        entries = [(f"{p.path.name}/{k}.npz", k, partial(p.read, k)) for p in packs for k in p.members]
        for path in self._files():
            entries.append((str(path.relative_to(self.folder)), path.stem, partial(records.read_file, path)))
        sound, damaged = set(), [p.path.name for p in packs if p.fault]
        for name, k, read in entries:
            try:
                sound |= {k} if records.decode(k, read) else set()
            except records.Damaged:
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
            members[f"{k}.npz"] = records.encode(k, records.without(record, drop))
        data = records.archive(members, zipfile.ZIP_DEFLATED)
        if len(data) > MAX_PACK_BYTES:
            raise ValueError(f"a pack has at most {MAX_PACK_BYTES} bytes, got {len(data)}: drop columns or split it.")
        self._write(path := self.folder / f"{name}.zip", data)
        return path

    def merge(self, folder: str | os.PathLike[str]) -> int:
        """Copy what another cache has and this one lacks; the number of records that brought something.

        What is sound here stays, unless the other's column has a higher version, or a run that was broken off here came
        to its end there, or was granted more gradients. Nothing is changed there. FileNotFoundError without `folder`,
        ValueError for one that holds neither packs nor records.
        """
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"there is no cache folder {str(folder)!r} to merge from.")
        other, brought = Cache(folder), 0
        other._sets_aside = False
        if not other._files() and not other._packs():
            raise ValueError(f"the folder {str(folder)!r} holds no cache to merge from: neither packs nor loose/.")
        for k in other.keys():
            mine, theirs = self.get(k), other.get(k)
            if mine and theirs and records.outdone(theirs, mine):
                continue
            if mine and theirs and not records.outdone(mine, theirs):
                old, new = (record.meta.get("versions", {}) for record in (mine, theirs))
                theirs = records.without(theirs, {c for c in mine.columns if old.get(c, 0) >= new.get(c, 0)})
            if theirs and (theirs.columns or not mine):
                self.put(k, theirs)
                brought += 1
        return brought

    def _path(self, key: str) -> Path:
        if not records.is_key(key):
            raise ValueError(f"a key has 32 hex digits, got {key!r}.")
        return self.folder / "loose" / key[:2] / f"{key}.npz"

    def _files(self) -> list[Path]:
        found = sorted(self.folder.glob("loose/*/*.npz"))
        return [path for path in found if records.is_key(path.stem) and path.parent.name == path.stem[:2]]

    def _packs(self) -> list[_Pack]:
        """The packs, sorted by name; those that are new or have changed since the last call are read."""
        packs = {}
        for path in filter(Path.is_file, sorted(self.folder.glob("*.zip"))):
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
            return records.decode(key, partial(pack.read, key) if pack else partial(records.read_file, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except records.Damaged as fault:
            if pack:
                pack.members.pop(key, None)
                self._report(f"{pack.path.name}/{key}.npz", f"{fault}; it is not used")
            elif not self._sets_aside:
                self._report(str(path.relative_to(self.folder)), f"{fault}; it is not used")
            else:
                with suppress(OSError):  # another process was first, or the folder is read-only
                    os.replace(path, f"{path}.damaged")
                self._report(str(path.relative_to(self.folder)), f"{fault}; it is set aside as {path.name}.damaged")
            return None

    def _report(self, name: str, what: str) -> None:
        self.damaged.append(name)
        warnings.warn(f"the cache file {name} in {self.folder} is damaged: {what}.", stacklevel=4)

    @contextmanager
    def _alone(self, path: Path) -> Iterator[None]:
        """No other process adds a column to a record of this folder meanwhile, or it would be lost.

        The system frees the lock when a process dies. Without locks, on Windows and on some network file systems, one
        of two that write the same record at the same time may win.
        """
        with ExitStack() as stack:
            with self._said():
                path.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(path.parent / "lock", "ab"))
                try:
                    if fcntl:
                        fcntl.flock(file, fcntl.LOCK_EX)
                except OSError as error:
                    if error.errno not in LOCKLESS:
                        raise
            yield

    def _write(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.tmp")
        try:
            with self._said():
                path.parent.mkdir(parents=True, exist_ok=True)
                with open(temporary, "xb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
        finally:
            with suppress(OSError):  # it is still there only if something failed
                temporary.unlink()

    @contextmanager
    def _said(self) -> Iterator[None]:
        """An error of the disk becomes a sentence of the same kind."""
        try:
            yield
        except OSError as error:
            sentence = (
                f"cannot write to the cache folder {self.folder} ({error.strerror or error}): what was finished so far "
                f"is safe, so make room or choose a folder that can be written, and run again."
            )
            raise OSError(error.errno, sentence) from error


class _Pack:
    """A pack, held in memory as it was on disk when its (mtime, size, inode) was `stamp`."""

    def __init__(self, path: Path, stamp: tuple[int, int, int]):
        self.path, self.stamp, self.fault, self.members = path, stamp, None, {}
        try:
            self.data = records.read_file(path)
            infos = records.directory(self.data)
            stems = {name[:-4]: info for name, info in infos.items() if name.endswith(".npz")}
            self.members = {k: info for k, info in stems.items() if records.is_key(k)}
            records.check_seal(self.data)
            if len(self.members) < len(infos):
                raise ValueError("it holds more than records")
        except OSError:
            raise
        except Exception as error:  # zipfile raises almost anything on hostile bytes
            self.fault = f"{error}"

    def read(self, key: str) -> bytes:
        return records.member(self.data, self.members[key])
