"""The cache: what goes in comes out, and nothing else ever does."""

import errno
import hashlib
import io
import json
import math
import os
import pickle
import random
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest

from lazyjam import cache as cache_module
from lazyjam import records
from lazyjam.cache import Cache, Record, key

FLIPS = 20


def repeats(often: int = 100) -> list:
    """Seeds of a test: ten of them, and as many as are asked for in `make stress`."""
    return [seed if seed < 10 else pytest.param(seed, marks=pytest.mark.stress) for seed in range(often)]


FIELDS = {"dataset": "mnist", "P": 1000, "h": 64, "alpha_tilde": 2.0, "t_max": math.inf, "bias": False, "seed": 0}
K, K2 = key(FIELDS), key({**FIELDS, "seed": 1})

RECORD = Record(
    {"fields": FIELDS, "versions": {"error": 1, "outputs": 2}, "provenance": {"data": "ab" * 32}, "cost": {"s": 0.25}},
    {
        "error": np.array(0.125),
        "outputs": np.linspace(-1, 1, 24).astype(np.float16).reshape(2, 3, 4),
        "steps": np.array([3, -4], dtype=np.int64),
        "fitted": np.array([True, False, True]),
        "t": np.array([np.inf, -np.inf, np.nan, -0.0, 5e-324]),
        "single": np.float32([1.5]),
        "name": np.array(["soft hinge", "\u03b1"]),
        "swapped": np.arange(3, dtype=">f8"),
        "none": np.zeros((0, 3)),
    },
)


def same(a: Record, b: Record) -> bool:
    return (
        a.meta == b.meta
        and a.columns.keys() == b.columns.keys()
        and all(
            a.columns[c].dtype == b.columns[c].dtype
            and a.columns[c].shape == b.columns[c].shape
            and a.columns[c].tobytes() == b.columns[c].tobytes()
            for c in a.columns
        )
    )


def seal(data: bytes) -> bytes:
    """The bytes of an archive with a comment of 64 bytes, sealed as an attacker who knows the format would."""
    return data[:-64] + hashlib.sha256(data[:-64]).hexdigest().encode()


def archive(members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> bytes:
    with zipfile.ZipFile(buffer := io.BytesIO(), "w", compression) as file:
        file.comment = bytes(64)
        for name, data in members.items():
            file.writestr(name, data)
    return seal(buffer.getvalue())


def hostile(meta=(), compression=zipfile.ZIP_STORED, **members: bytes) -> bytes:
    head = {"key": K, "version": records.VERSION, "meta": {}, **dict(meta)}
    return archive({"meta.json": json.dumps(head).encode(), **members}, compression)


def npy(array: np.ndarray, **options) -> bytes:
    np.save(buffer := io.BytesIO(), array, **options)
    return buffer.getvalue()


def npy_of(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


def loose(folder, k=K):
    return folder / "loose" / k[:2] / f"{k}.npz"


def place(folder, data: bytes, k=K):
    loose(folder, k).parent.mkdir(parents=True, exist_ok=True)
    loose(folder, k).write_bytes(data)


def temporaries(folder) -> list:
    return list(folder.rglob("*.tmp"))


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, "2430f1a2ad2982d0067885488a4c89e2"),
        ({"seed": 0}, "2e818bf29b74e4275c15774deea3674e"),
        ({"seed": 1}, "4c90efff418217e76f12f065961a3f0f"),
        ({"alpha_tilde": 1.0}, "6572d665176a739b3b6282f9bd850a9e"),
        ({"alpha_tilde": 1}, "f4580ef56b8345d95006cfeda5350d8d"),
        ({"alpha_tilde": 4e-3, "t_max": math.inf}, "bc5af393b453e0dc4265cabd5003018f"),
        ({"dataset": "mnist", "P": 1000, "h": 64, "bias": True}, "c20955a54a7b51b0c5248c0c3209444a"),
        ({"dataset": "file:\u03b1.npz", "alpha_tilde": 1e6}, "0f56fbb263bd1b07a9c5c3b76f4278a1"),
        ({"nested": {"b": [1, 2.5, None], "a": "x"}}, "14808d209999d24f9f2a0149493eba60"),
        (FIELDS, "67c6bf47f1bb32eed41ce6da6fb2418c"),
    ],
)
def test_ten_old_keys_stay(fields, expected):
    assert key(fields) == expected


def test_key_ignores_order_and_feels_every_field():
    changed = {"dataset": "digits", "P": 1001, "h": 65, "alpha_tilde": 2.0000000000000004, "t_max": 1e300, "bias": True}
    keys = {key({**FIELDS, name: value}) for name, value in {**changed, "seed": 1}.items()}
    keys |= {key({f: FIELDS[f] for f in FIELDS if f != name}) for name in FIELDS}
    assert len(keys | {K}) == 2 * len(FIELDS) + 1
    assert key(dict(reversed(FIELDS.items()))) == K


def test_key_feels_the_version(monkeypatch):
    monkeypatch.setattr(records, "VERSION", records.VERSION + 1)
    assert key(FIELDS) != K


@pytest.mark.parametrize("fields", [{"x": math.nan}, {"x": {"y": [1.0, math.nan]}}, {"version": 3}])
def test_key_refuses(fields):
    with pytest.raises(ValueError, match="NaN|'version'"):
        key(fields)


# -- records -----------------------------------------------------------------------------------------------------------


def test_round_trip_loose_and_packed(tmp_path):
    cache = Cache(tmp_path)
    assert cache.get(K) is None and K not in cache and cache.keys() == []
    cache.put(K, RECORD)
    assert same(cache.get(K), RECORD) and K in cache and cache.keys() == [K]
    cache.pack([K], "some")
    shutil.rmtree(tmp_path / "loose")
    assert same(cache.get(K), RECORD) and K in cache and cache.keys() == [K]
    assert same(pickle.loads(pickle.dumps(cache)).get(K), RECORD)
    assert cache.get(K).columns["error"].flags.writeable
    assert cache.verify() == (1, []) and temporaries(tmp_path) == []


def test_numpy_reads_a_record(tmp_path):
    Cache(tmp_path).put(K, RECORD)
    with np.load(loose(tmp_path), allow_pickle=False) as file:
        assert np.array_equal(file["outputs"], RECORD.columns["outputs"])
        assert json.loads(file["meta.json"])["meta"] == RECORD.meta


def test_layout_and_order_in_memory_do_not_matter(tmp_path):
    a = np.arange(6.0).reshape(2, 3)
    Cache(tmp_path / "one").put(K, Record({"x": 1, "y": 2}, {"a": np.asfortranarray(a), "b": a[:, ::-1]}))
    Cache(tmp_path / "two").put(K, Record({"y": 2, "x": 1}, {"b": a[:, ::-1].copy(), "a": a}))
    assert loose(tmp_path / "one").read_bytes() == loose(tmp_path / "two").read_bytes()


def test_columns_are_united_and_the_newest_wins(tmp_path):
    cache = Cache(tmp_path)
    cache.put(K, Record({"versions": {"a": 1, "b": 1}, "cost": 1}, {"a": np.array(1), "b": np.array(1)}))
    cache.pack([K], "old")
    shutil.rmtree(tmp_path / "loose")
    cache.put(K, Record({"versions": {"b": 2}, "cost": 2}, {"b": np.array(2)}))
    cache.put(K, Record({"versions": {"c": 3}, "cost": 3}, {"c": np.array(3)}))
    record = cache.get(K)
    assert record.meta == {"versions": {"a": 1, "b": 2, "c": 3}, "cost": 3}
    assert record.columns == {"a": 1, "b": 2, "c": 3}


@pytest.mark.parametrize(
    "column", [{"a": np.array([object()])}, {"../a": np.array(1)}, {"a.b": np.array(1)}, {"": np.array(1)}]
)
def test_put_refuses_what_it_could_not_read(tmp_path, column):
    with pytest.raises(ValueError, match="a column"):
        Cache(tmp_path).put(K, Record({}, column))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", ["", "../../x", K[:-1], K.upper(), K + "\n"])
def test_a_key_is_a_key(tmp_path, bad):
    for call in (lambda c: c.get(bad), lambda c: c.put(bad, RECORD), lambda c: bad in c):
        with pytest.raises(ValueError, match="32 hex digits"):
            call(Cache(tmp_path))


def test_too_large_a_record_is_refused_before_it_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 1000)
    with pytest.raises(ValueError, match="at most 1000 bytes, got"):
        Cache(tmp_path).put(K, RECORD)
    assert list(tmp_path.iterdir()) == []


def test_ls(tmp_path):
    cache = Cache(tmp_path)
    for k in (K, K2):
        cache.put(k, RECORD)
    size = cache.pack([K], "one").stat().st_size
    assert cache.ls() == [
        {"name": "one.zip", "records": 1, "bytes": size},
        {"name": "loose", "records": 2, "bytes": 2 * loose(tmp_path).stat().st_size},
    ]


def test_another_version_is_not_used_and_is_no_damage(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(records, "VERSION", 99)
        cache.put(K, RECORD)
        cache.put(K2, RECORD)
        cache.pack([K], "future")
    assert cache.get(K) is None and cache.get(K2) is None
    assert cache.verify() == (0, []) and cache.damaged == []
    cache.put(K2, Record({}, {"a": np.array(1)}))
    assert cache.get(K2).columns == {"a": 1}


# -- damage ------------------------------------------------------------------------------------------------------------


def flips(data: bytes, seed: int):
    rng = random.Random(seed)
    for _ in range(FLIPS):
        bad = bytearray(data)
        bad[rng.randrange(len(bad))] ^= rng.randrange(1, 256)
        yield bytes(bad)


@pytest.mark.parametrize("seed", repeats())
def test_every_flip_in_a_loose_record_is_found(tmp_path, seed):
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    for bad in flips(loose(tmp_path).read_bytes(), seed):
        place(tmp_path, bad)
        assert cache.verify() == (0, [str(loose(tmp_path).relative_to(tmp_path))])
        with pytest.warns(UserWarning, match=K):
            assert cache.get(K) is None
        assert not loose(tmp_path).exists() and loose(tmp_path).with_name(f"{K}.npz.damaged").read_bytes() == bad
        assert K not in cache
    cache.put(K, RECORD)
    assert same(cache.get(K), RECORD) and cache.verify() == (1, [])
    assert len(cache.damaged) == FLIPS


@pytest.mark.parametrize("seed", repeats())
def test_every_flip_in_a_pack_is_found(tmp_path, seed):
    writer = Cache(tmp_path / "whole")
    for k in (K, K2):
        writer.put(k, RECORD)
    data, survived = writer.pack([K, K2], "both").read_bytes(), 0
    (tmp_path / "flipped").mkdir()
    for bad in flips(data, seed):
        (tmp_path / "flipped" / "both.zip").write_bytes(bad)
        cache = Cache(tmp_path / "flipped")
        n, damaged = cache.verify()
        assert "both.zip" in damaged
        with pytest.warns(UserWarning, match="both.zip"):
            found = [record for k in (K, K2) if (record := cache.get(k))]
        assert all(same(record, RECORD) for record in found) and len(found) == n
        survived += n
    assert survived > FLIPS / 2  # mostly one of the two, so a flip costs one record and not the pack


def test_a_damaged_pack_is_read_again_once_repaired(tmp_path):
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    path = cache.pack([K], "one")
    shutil.rmtree(tmp_path / "loose")
    good = path.read_bytes()
    path.write_bytes(good[:-1000])
    with pytest.warns(UserWarning, match="one.zip"):
        assert cache.get(K) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cache.get(K) is None  # said once
        path.write_bytes(good)
        assert same(cache.get(K), RECORD)


def test_truncated_and_empty_files(tmp_path):
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    data = loose(tmp_path).read_bytes()
    for n in (0, 1, 22, 64, len(data) // 2, len(data) - 1):
        place(tmp_path, data[:n])
        with pytest.warns(UserWarning, match=K):
            assert cache.get(K) is None


def test_a_damaged_record_is_set_aside_by_put_too(tmp_path):
    cache = Cache(tmp_path)
    place(tmp_path, b"nonsense")
    with pytest.warns(UserWarning, match="set aside"):
        cache.put(K, RECORD)
    assert same(cache.get(K), RECORD)


GOOD = npy(np.arange(3.0))
FLOATS = "{'descr': '<f8', 'fortran_order': False, 'shape': %s}\n"
HOSTILE = {
    "pickled objects": hostile(**{"a.npy": npy(np.array([{}, None]), allow_pickle=True)}),
    "objects without a pickle": hostile(**{"a.npy": npy_of(FLOATS.replace("<f8", "O") % "(1,)", bytes(8))}),
    "a name that climbs": hostile(**{"../a.npy": GOOD}),
    "an absolute name": hostile(**{"/etc/a.npy": GOOD}),
    "a foreign member": hostile(**{"a.npy": GOOD, "a.py": b"import os"}),
    "a huge header": hostile(**{"a.npy": npy_of(FLOATS % ("(" + "1," * 30000 + ")"))}),
    "a huge shape": hostile(**{"a.npy": npy_of(FLOATS % "(1000000000000,)", bytes(8))}),
    "an overflowing shape": hostile(**{"a.npy": npy_of(FLOATS % f"({2**62}, 4)")}),
    "a negative shape": hostile(**{"a.npy": npy_of(FLOATS % "(-1, -1)", bytes(8))}),
    "a deep header": hostile(**{"a.npy": npy_of("(" * 9000)}),
    "a header of code": hostile(**{"a.npy": npy_of("__import__('os').abort()")}),
    "a Fortran order": hostile(**{"a.npy": npy(np.asfortranarray(np.ones((2, 2))))}),
    "more than an array": hostile(**{"a.npy": GOOD + b"and code"}),
    "no array": hostile(**{"a.npy": b""}),
    "another key": hostile({"key": K2}),
    "no key": archive({"meta.json": json.dumps({"version": 1, "meta": {}}).encode()}),
    "no meta": archive({"a.npy": GOOD}),
    "a meta that is a list": hostile({"meta": [1]}),
    "versions that are a list": hostile({"meta": {"versions": [1]}}),
    "a deep meta": archive({"meta.json": b"[" * 100_000}),
    "a bomb": hostile(**{"a.npy": npy(np.zeros(10**6))}, compression=zipfile.ZIP_DEFLATED),
    "another compression": hostile(**{"a.npy": GOOD}, compression=zipfile.ZIP_LZMA),
    "not an archive": seal(bytes(200)),
}


@pytest.mark.parametrize("seed", repeats())
def test_what_is_hostile_in_a_random_way_is_refused_or_is_the_record(tmp_path, seed):
    """Bytes of a record cut, doubled, exchanged or overwritten, and sealed again, so that no checksum helps."""
    rng = random.Random(seed)
    Cache(tmp_path).put(K, RECORD)
    good = loose(tmp_path).read_bytes()
    for _ in range(FLIPS):
        a, b, c = sorted(rng.randrange(len(good)) for _ in range(3))
        bad = rng.choice([
            good[:a] + good[b:], good[:b] + good[a:], good[:a] + good[b:c] + good[a:b] + good[c:],
            good[:a] + rng.randbytes(min(b - a, 40)) + good[a + min(b - a, 40) :],
        ])  # fmt: skip
        place(tmp_path, seal(bad))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = Cache(tmp_path).get(K)
        assert found is None or same(found, RECORD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loose"]


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives_are_refused(tmp_path, what):
    place(tmp_path, HOSTILE[what])
    with pytest.warns(UserWarning, match=K):
        assert Cache(tmp_path).get(K) is None
    (tmp_path / "pack.zip").write_bytes(archive({f"{K}.npz": HOSTILE[what]}))
    cache = Cache(tmp_path)
    assert cache.verify() == (0, [f"pack.zip/{K}.npz"])
    with pytest.warns(UserWarning, match="pack.zip"):
        assert cache.get(K) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["loose", "pack.zip"]


def test_a_pack_that_lies_about_sizes_is_no_bomb(tmp_path):
    Cache(tmp_path).put(K, Record({}, {"zeros": np.zeros(10**6)}))
    data = loose(tmp_path).read_bytes()
    packed = archive({f"{K}.npz": data}, zipfile.ZIP_DEFLATED)
    assert len(packed) < len(data) / 100
    loose(tmp_path).unlink()
    (tmp_path / "pack.zip").write_bytes(seal(packed.replace(len(data).to_bytes(4, "little"), bytes([9, 0, 0, 0]))))
    tracemalloc.start()
    with pytest.warns(UserWarning, match="not what the directory says"):
        assert Cache(tmp_path).get(K) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(data) / 4


def test_a_file_too_large_is_not_read(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    cache.pack([K], "one")
    monkeypatch.setattr(records, "MAX_FILE_BYTES", 1000)
    with pytest.warns(UserWarning, match="larger than 1000 bytes"):
        assert Cache(tmp_path).get(K) is None


def test_a_pack_with_foreign_members_is_named_and_its_records_are_used(tmp_path):
    Cache(tmp_path).put(K, RECORD)
    data = loose(tmp_path).read_bytes()
    loose(tmp_path).unlink()
    (tmp_path / "odd.zip").write_bytes(archive({f"{K}.npz": data, "../../evil.py": b"", f"../{K2}.npz": data}))
    cache = Cache(tmp_path)
    with pytest.warns(UserWarning, match="more than records"):
        assert same(cache.get(K), RECORD)
    assert cache.keys() == [K] and cache.verify() == (1, ["odd.zip"])


# -- packs and merging -------------------------------------------------------------------------------------------------


def test_packs_are_deterministic_and_drop_columns(tmp_path):
    a, b = Cache(tmp_path / "a"), Cache(tmp_path / "b")
    for cache, order in ((a, (K, K2)), (b, (K2, K))):
        for k in order:
            cache.put(k, RECORD)
        cache.pack(order, "some", drop=["outputs"])
    assert (tmp_path / "a/some.zip").read_bytes() == (tmp_path / "b/some.zip").read_bytes()
    shutil.rmtree(tmp_path / "a/loose")
    record = a.get(K)
    assert record.columns.keys() == RECORD.columns.keys() - {"outputs"} and record.meta["versions"] == {"error": 1}
    a.pack(a.keys(), "some")  # from the pack into itself
    assert (tmp_path / "a/some.zip").read_bytes() == (tmp_path / "b/some.zip").read_bytes()


def test_pack_refuses(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    with pytest.raises(ValueError, match=f"no sound record {K2}"):
        cache.pack([K, K2], "some")
    for name in ("", "../some", "a.zip", "a/b"):
        with pytest.raises(ValueError, match="a pack's name"):
            cache.pack([K], name)
    monkeypatch.setattr(cache_module, "MAX_PACK_BYTES", 100)
    with pytest.raises(ValueError, match="at most 100 bytes, got"):
        cache.pack([K], "some")
    assert list(tmp_path.glob("*.zip")) == [] and temporaries(tmp_path) == []


def test_merge(tmp_path):
    mine, theirs = Cache(tmp_path / "mine"), Cache(tmp_path / "theirs")
    k3, k4 = key({"only": "packed"}), key({"only": "damaged"})
    versions = {"a": 1, "b": 2}
    mine.put(K, Record({"versions": versions}, {"a": np.array(1), "b": np.array(1)}))
    mine.put(K2, RECORD)
    theirs.put(K, Record({"versions": {"a": 2, "b": 1, "c": 1}}, {n: np.array(2) for n in "abc"}))
    theirs.put(K2, Record({"versions": {"error": 1}}, {"error": np.array(0.5)}))
    theirs.put(k3, RECORD)
    theirs.pack([k3], "pack")
    loose(theirs.folder, k3).unlink()
    place(theirs.folder, b"nonsense", k4)
    foreign = theirs.folder / "mine.tmp"
    foreign.write_bytes(b"important")
    os.utime(foreign, (0, 0))
    before = {path: path.read_bytes() for path in theirs.folder.rglob("*") if path.is_file()}
    with pytest.warns(UserWarning, match=k4):
        assert mine.merge(theirs.folder) == 2
    assert mine.get(K).columns == {"a": 2, "b": 1, "c": 2}  # an outdated column gives way, a sound one stays
    assert mine.get(K).meta["versions"] == {"a": 2, "b": 2, "c": 1}
    assert same(mine.get(K2), RECORD) and same(mine.get(k3), RECORD) and k4 not in mine
    with pytest.warns(UserWarning, match=k4):
        assert mine.merge(theirs.folder) == 0
    assert mine.verify() == (3, [])
    after = {path: path.read_bytes() for path in theirs.folder.rglob("*") if path.is_file()}
    assert after == before, "another's folder is left as it is"
    with pytest.raises(FileNotFoundError, match="no cache folder"):
        mine.merge(tmp_path / "nowhere")
    for wrong in (tmp_path, theirs.folder / "loose"):
        with pytest.raises(ValueError, match="holds no cache to merge from: neither packs nor loose/"):
            mine.merge(wrong)


def test_a_run_that_came_to_its_end_replaces_one_that_was_broken_off(tmp_path):
    """Whichever cache is merged into the other, packed or not, and no column of the shorter run is left."""
    def record(capped: bool, granted: int) -> Record:
        names = ("capped", "t", "seen_only_by_the_shorter") if capped else ("capped", "t")
        columns = {name: np.array(capped if name == "capped" else granted) for name in names}
        return Record({"versions": dict.fromkeys(names, 1), "how": {"max_gradients": granted}}, columns)

    pairs = [(record(True, one), record(False, other)) for one, other in ((40, 1000), (100, 100), (1000, 40))]
    merges = [(short, long, 1, long) for short, long in pairs] + [(long, short, 0, long) for short, long in pairs]
    merges.append((record(True, 40), record(True, 1000), 1, record(True, 1000)))
    for number, (mine, theirs, brought, expected) in enumerate(merges):
        for packed in (False, True):
            folders = [tmp_path / f"{number}{packed}{who}" for who in ("mine", "theirs")]
            caches = [Cache(folder) for folder in folders]
            for cache, one in zip(caches, (mine, theirs), strict=True):
                cache.put(K, one)
                if packed:
                    cache.pack([K], "pack")
                    loose(cache.folder).unlink()
            assert caches[0].merge(folders[1]) == brought
            assert same(caches[0].get(K), expected) and same(Cache(folders[0]).get(K), expected)


def test_a_folder_called_like_a_pack_is_none(tmp_path):
    (tmp_path / "folder.zip").mkdir()
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    assert same(cache.get(K), RECORD) and cache.verify() == (1, [])


def test_packed_records_are_read_fast(tmp_path):
    cache = Cache(tmp_path)
    data = {f"c{i}": np.array(float(i)) for i in range(20)}
    keys = [key({"i": i}) for i in range(500)]
    members = {f"{k}.npz": records.encode(k, Record({"versions": dict.fromkeys(data, 1)}, data)) for k in keys}
    (tmp_path / "many.zip").write_bytes(records.archive(members, zipfile.ZIP_DEFLATED))
    start = time.process_time()
    assert all(cache.get(k).columns == data for k in keys)
    assert time.process_time() - start < 2  # about 0.1 s; numpy.load alone would take five times that


# -- kills, other processes, full disks --------------------------------------------------------------------------------

WRITER = """
import random, sys, types
sys.modules["lazyjam"] = package = types.ModuleType("lazyjam")  # without the rest of the library, which is slow
package.__path__ = [sys.argv[1]]
import numpy as np
from lazyjam import cache
c, who, n, seed = cache.Cache(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
keys = [cache.key({"i": i}) for i in range(40)]
rng = random.Random(seed)
for _ in range(n):
    k = rng.choice(keys)
    columns = {name: np.full(size, who) for name, size in (("a", 1000), ("b", 10), ("c", 3000))}
    if sys.argv[6] == "own":
        columns = {f"of_{who}_{rng.randrange(3)}": np.full(9, who)}
    c.put(k, cache.Record({"who": who}, columns))
    print(k, *columns, flush=True)
"""


HOLDER = """
import fcntl, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
file = open(folder / "lock", "ab")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def start_writer(folder, who, n, seed=0, columns="same"):
    arguments = [os.path.dirname(cache_module.__file__), str(folder), str(who), str(n), str(seed), columns]
    command = [sys.executable, "-W", "error", "-c", WRITER, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def assert_whole(record: Record):
    who = record.meta["who"]
    assert {name: column.shape for name, column in record.columns.items()} == {"a": (1000,), "b": (10,), "c": (3000,)}
    assert all((column == who).all() for column in record.columns.values())


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.stress)])
def test_kills_lose_nothing_finished(tmp_path, kills):
    rng, finished = random.Random(0), {}
    for attempt in range(kills):
        writer = start_writer(tmp_path, attempt, 10**6, attempt)
        lines = [writer.stdout.readline()]
        time.sleep(rng.uniform(0, 0.15))
        writer.kill()
        lines += writer.communicate()[0].splitlines(keepends=True)
        reported = {line.split()[0] for line in lines if line.endswith("\n")}
        assert reported
        cache = Cache(tmp_path)
        finished.update(dict.fromkeys(reported, attempt))
        for k, who in finished.items():
            record = cache.get(k)
            assert_whole(record)
            assert record.meta["who"] >= who  # what was reported, or what the killed process wrote and did not report
        assert cache.verify() == (len(cache.keys()), []) and cache.damaged == []


@pytest.mark.parametrize("seed", repeats())
def test_two_processes_on_the_same_keys_agree(tmp_path, seed):
    writers = [start_writer(tmp_path, who, 100, 10 * seed + who) for who in (1, 2)]
    cache, read = Cache(tmp_path), 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        while any(writer.poll() is None for writer in writers):
            for k in cache.keys():
                assert_whole(cache.get(k))
                read += 1
    assert [len(writer.communicate()[0].splitlines()) for writer in writers] == [100, 100]
    assert read and cache.verify() == (len(cache.keys()), []) and temporaries(tmp_path) == []


@pytest.mark.parametrize("seed", repeats())
def test_processes_that_write_other_columns_lose_none(tmp_path, seed):
    """Every column that a process was told is written is there, though the others read and write the same files."""
    writers = {who: start_writer(tmp_path, who, 150, 10 * seed + who, "own") for who in (1, 2, 3)}
    told = [line.split() for writer in writers.values() for line in writer.communicate()[0].splitlines()]
    assert len(told) == 450 and all(writer.returncode == 0 for writer in writers.values())
    cache = Cache(tmp_path)
    assert not [(k, name) for k, name in told if name not in cache.get(k).columns]
    assert cache.verify() == (len(cache.keys()), []) and temporaries(tmp_path) == []


def test_temporary_files_are_no_records_and_old_ones_go(tmp_path):
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    young, old = (loose(tmp_path).with_name(f"{K}.npz.{32 * digit}.tmp") for digit in "01")
    others = [tmp_path / f"pack.zip.{32 * '2'}.tmp", tmp_path / "loose" / f"probe.{32 * '3'}.tmp"]
    foreign = [tmp_path / "important.tmp", tmp_path / "loose" / "notes.npz.tmp"]
    for path in (young, old, *others, *foreign):
        path.write_bytes(b"half")
    for path in (old, *others, *foreign):
        os.utime(path, (0, 0))
    cache = Cache(tmp_path)
    assert cache.keys() == [K] and cache.verify() == (1, []) and old.exists(), "who reads changes nothing"
    cache.check_writable()
    assert sorted(temporaries(tmp_path)) == sorted([young, *foreign])


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_written_to(tmp_path, monkeypatch, code):
    fcntl, cache = pytest.importorskip("fcntl"), Cache(tmp_path)

    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    cache.put(K, RECORD)
    assert same(cache.get(K), RECORD)
    code = errno.EIO
    with pytest.raises(OSError, match="cannot write to the cache folder"):
        cache.put(K, RECORD)


def test_a_record_is_written_when_the_lock_is_free(tmp_path):
    """And at once, if the process that held it has died."""
    pytest.importorskip("fcntl")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(loose(tmp_path).parent)], stdout=subprocess.PIPE)
    holder.stdout.readline()
    writer = threading.Thread(target=Cache(tmp_path).put, args=(K, RECORD))
    writer.start()
    writer.join(0.2)
    assert writer.is_alive() and not loose(tmp_path).exists()
    holder.kill()
    holder.communicate()
    writer.join(5)
    assert not writer.is_alive() and same(Cache(tmp_path).get(K), RECORD)


@pytest.mark.parametrize("function", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_full_or_read_only_disk_gets_a_sentence(tmp_path, monkeypatch, function, code):
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    with monkeypatch.context() as patch:

        def fail(*_):
            raise OSError(code, os.strerror(code))

        patch.setattr(os, function, fail)
        for call in (lambda: cache.put(K, Record({}, {"new": np.array(1)})), lambda: cache.pack([K], "some")):
            with pytest.raises(OSError, match="cannot write to the cache folder .* is safe") as caught:
                call()
            assert caught.value.errno == code and type(caught.value) is type(OSError(code, ""))
            assert str(tmp_path) in str(caught.value) and os.strerror(code) in str(caught.value)
    assert same(cache.get(K), RECORD) and temporaries(tmp_path) == []
    assert cache.verify() == (1, [])


@pytest.mark.parametrize("seed", repeats())
def test_a_write_that_really_fails_half_way(tmp_path, seed):
    resource = pytest.importorskip("resource")
    cache = Cache(tmp_path)
    cache.put(K, RECORD)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (random.Random(seed).randrange(80_000), limits[1]))
    try:
        with pytest.raises(OSError, match="cannot write to the cache folder") as caught:
            cache.put(K2, Record({}, {"large": np.ones(10_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG and temporaries(tmp_path) == []
    assert cache.keys() == [K] and cache.verify() == (1, [])


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    cache = Cache(tmp_path / "file")
    assert cache.get(K) is None and cache.keys() == [] and cache.verify() == (0, [])
    with pytest.raises(OSError, match="cannot write to the cache folder"):
        cache.put(K, RECORD)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_interrupt_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Cache(tmp_path).put(K, RECORD)
    assert temporaries(tmp_path) == [] and Cache(tmp_path).keys() == []
