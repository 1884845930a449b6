"""Data sets: splits, labels and preprocessing against independent computations; sources against hand-made archives."""

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pooch
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from lazyjam import archives, data, preprocessing, sources
from lazyjam.data import DATASETS, check, load

GOOD = dict(dataset="digits", P=100, P_test=100, P_kernel=0, d=10, preprocessing="pca", pca_on="pool")


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No folder of the user, no network, and nothing remembered from another test."""
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "user_cache" / project)
    monkeypatch.setattr(pooch, "retrieve", no_network)
    monkeypatch.delenv("LAZYJAM_DATA", raising=False)
    yield
    data._images.cache_clear()
    data._features.cache_clear()


def no_network(url, **_):
    raise ConnectionError(url)


def rows(split) -> set[tuple]:
    return set(map(tuple, split.x.tolist()))


def same(a, b) -> bool:
    return torch.equal(a.x, b.x) and torch.equal(a.y, b.y)


def unit_digits() -> tuple[np.ndarray, np.ndarray]:
    x, labels = load_digits(return_X_y=True)
    z = x - x.mean(axis=0)
    return 8 * z / np.linalg.norm(z, axis=1, keepdims=True), labels


# --- splits


@pytest.mark.parametrize("dataset, preprocessing", [("digits", "pca"), ("teacher", "none")])
def test_sets_are_disjoint_and_of_the_asked_shape(dataset, preprocessing):
    split = load(dataset, 700, 800, 10, 3, P_kernel=240, preprocessing=preprocessing)
    train, test, kernel = split[:3]
    assert [tuple(s.x.shape) for s in split[:3]] == [(700, 10), (800, 10), (240, 10)]
    assert all(s.x.dtype == s.y.dtype == torch.float64 and s.y.shape == s.x.shape[:1] for s in split[:3])
    assert len(rows(train)) == 700
    assert len(rows(train) | rows(test) | rows(kernel)) == 1740


def test_every_class_takes_its_turn():
    order = data._balanced_order(load_digits().target, seed=5)
    labels = load_digits().target[order]
    assert len(order) == len(set(order)) == DATASETS["digits"].size == 10 * np.bincount(load_digits().target).min()
    assert (labels.reshape(-1, 10) == np.arange(10)).all()


def test_labels_are_the_parity_of_the_class():
    x, labels = unit_digits()
    class_of = {tuple(row): label for row, label in zip(np.round(x, 9).tolist(), labels.tolist(), strict=True)}
    train = load("digits", 500, 100, 64, 0, preprocessing="none").train
    expected = [1.0 - 2.0 * (class_of[tuple(row)] % 2) for row in np.round(train.x.numpy(), 9).tolist()]
    assert train.y.tolist() == expected
    assert train.y.sum() == 0


@pytest.mark.parametrize("dataset, preprocessing", [("digits", "pca"), ("stripe", "none"), ("random", "none")])
def test_training_sets_are_nested(dataset, preprocessing):
    small, large = (load(dataset, P, 50, 5, 1, P_kernel=20, preprocessing=preprocessing) for P in (30, 101))
    assert torch.equal(small.train.x, large.train.x[:30]) and torch.equal(small.train.y, large.train.y[:30])
    assert same(small.test, large.test) and same(small.kernel, large.kernel)


@pytest.mark.parametrize("dataset, preprocessing", [("digits", "pca"), ("teacher", "none")])
def test_the_seed_is_the_split(dataset, preprocessing):
    first, again, other = (load(dataset, 100, 50, 5, seed, preprocessing=preprocessing) for seed in (0, 0, 1))
    assert all(same(a, b) for a, b in zip(first[:3], again[:3], strict=True))
    assert first.checksum == again.checksum == other.checksum
    assert not same(first.test, other.test) and not same(first.train, other.train)


def test_a_kernel_set_may_be_empty():
    kernel = load("digits", 10, 10, 5, 0).kernel
    assert tuple(kernel.x.shape) == (0, 5) and tuple(kernel.y.shape) == (0,)
    assert tuple(load("digits", 10, 10, 5, 0, pca_on="train").kernel.x.shape) == (0, 5)


# --- preprocessing


def aligned(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """u with the signs of its columns chosen as in v."""
    return u * np.sign((u * v).sum(axis=0))


def test_pca_agrees_with_scikit_learn():
    z, labels = unit_digits()
    pca = PCA(10, svd_solver="full").fit(z)
    u = pca.transform(z)
    expected = u / np.sqrt((u**2).mean(axis=0).mean())
    order = data._balanced_order(labels, 0)
    test = load("digits", 100, 1500, 10, 0).test.x.numpy()
    np.testing.assert_allclose(test, aligned(expected[order[:1500]], test), rtol=0, atol=1e-10)


def test_pca_has_unit_mean_variance_and_descending_components():
    x, _, _ = data._features("digits", (), "pca", 12)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    assert (x**2).mean() == pytest.approx(1, abs=1e-12)
    assert (np.diff(x.var(axis=0)) < 0).all()
    np.testing.assert_allclose(np.cov(x.T, bias=True), np.diag(x.var(axis=0)), atol=1e-12)


def test_whitened_pca_agrees_with_an_svd():
    z, _ = unit_digits()
    u = np.linalg.svd(z - z.mean(axis=0), full_matrices=False)[0][:, :10]
    expected = np.sqrt(10) * u / np.linalg.norm(u, axis=1, keepdims=True)
    x, _, _ = data._features("digits", (), "pca_whitened", 10)
    np.testing.assert_allclose(x, aligned(expected, x), rtol=0, atol=1e-10)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), np.sqrt(10), rtol=1e-13)


@pytest.mark.parametrize("fit", ["pca", "pca_whitened"])
def test_the_largest_entry_of_a_component_is_positive(fit, monkeypatch):
    x = load_digits().data
    before = preprocessing.PREPROCESSING[fit](x, 10)(x)
    eigh = preprocessing.scipy.linalg.eigh
    flip = lambda *args, **kwargs: (eigh(*args, **kwargs)[0], -eigh(*args, **kwargs)[1])  # noqa: E731
    monkeypatch.setattr(preprocessing.scipy.linalg, "eigh", flip)
    np.testing.assert_array_equal(preprocessing.PREPROCESSING[fit](x, 10)(x), before)


def test_components_of_a_pool_in_chunks_are_those_of_the_pool(monkeypatch):
    whole = data._features("digits", (), "pca", 10)[0]
    data._features.cache_clear()
    monkeypatch.setattr(preprocessing, "CHUNK", 100)
    np.testing.assert_allclose(data._features("digits", (), "pca", 10)[0], whole, rtol=0, atol=1e-11)


def test_unprocessed_images_are_centred_and_of_norm_sqrt_dim():
    z, labels = unit_digits()
    test = load("digits", 10, 500, 64, 2, preprocessing="none").test.x.numpy()
    np.testing.assert_allclose(test, z[data._balanced_order(labels, 2)[:500]], rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(test, axis=1), 8, rtol=1e-13)


def test_pca_on_the_training_set_sees_nothing_else(tmp_path):
    """Other test images change what is fitted on the pool, and leave what is fitted on the training set as it was."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((400, 3, 4)), np.arange(400) % 2
    order = data._balanced_order(y, 0)
    other = x.copy()
    other[order[:100]] = rng.standard_normal((100, 3, 4)) * np.arange(1, 5)
    for name, array in (("x", x), ("other", other)):
        np.savez(tmp_path / name, x=array, y=y)

    def train(name, pca_on):
        return load(f"file:{tmp_path}/{name}.npz", 200, 100, 5, 0, P_kernel=50, pca_on=pca_on).train.x

    assert torch.equal(train("x", "train"), train("other", "train"))
    assert (train("x", "pool") - train("other", "pool")).abs().max() > 1e-2
    fitted = train("x", "train")
    assert fitted.mean(0).abs().max() < 1e-12 and (fitted**2).mean() == pytest.approx(1, abs=1e-12)


# --- synthetic sets


@pytest.mark.parametrize(
    "dataset, positive",
    [
        ("stripe", lambda x: -0.3 < x[0] < 1.18549),
        ("cylinder", lambda x: x[0] ** 2 + x[1] ** 2 > 2 - 2 / 3),
        ("sphere", lambda x: sum(v * v for v in x) > 7 * (1 - 2 / 63) ** 3),
    ],
)
def test_synthetic_rules(dataset, positive):
    split = load(dataset, 1000, 20_000, 7, 0, preprocessing="none")
    assert split.checksum == "synthetic"
    assert [y > 0 for y in split.train.y.tolist()] == [positive(x) for x in split.train.x.tolist()]
    assert split.test.x.mean().abs() < 0.01 and (split.test.x.var() - 1).abs() < 0.02
    assert split.test.y.mean().abs() < (0.05 if dataset == "cylinder" else 0.03)  # chi^2 median of the cylinder: 51 %


def test_random_labels_are_balanced_and_independent_of_the_inputs():
    train = load("random", 20_000, 10, 5, 0, preprocessing="none").train
    assert train.y.sum() == 0
    assert (train.x * train.y[:, None]).mean(0).abs().max() < 0.03


def test_a_tenth_of_the_noisy_labels_is_wrong():
    clean, noisy = (load(name, 1000, 10, 3, 0, preprocessing="none").train for name in ("stripe", "noisy_stripe"))
    assert torch.equal(clean.x, noisy.x)
    wrong = clean.y != noisy.y
    assert wrong.sum() == 100 and wrong[:50].sum() == 5
    assert (clean.x[:, 0] * (wrong.double() - 0.1)).mean().abs() < 0.03  # wherever the input is


def test_the_teacher_is_one_balanced_odd_function():
    first, second = (load("teacher", 20_000, 10, 6, seed, preprocessing="none").train for seed in (0, 1))
    assert first.y.mean().abs() < 0.03
    linear = torch.linalg.lstsq(first.x, first.y[:, None]).solution  # another seed has other inputs, the same rule
    assert ((second.x @ linear).sign()[:, 0] == second.y).double().mean() > 0.8
    x = second.x.numpy()
    assert (DATASETS["teacher"].label(x) != DATASETS["teacher"].label(-x)).all()


# --- arguments


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"dataset": "digist"}, "Unknown data set 'digist': did you mean 'digits'?"),
        ({"dataset": "imagenet_21k"}, "Unknown data set 'imagenet_21k': choose one of digits, mnist,"),
        ({"P": 0}, "P must be a whole number, 1 or larger, got 0."),
        ({"P": -5}, "P must be a whole number, 1 or larger, got -5."),
        ({"P": True}, "P must be a whole number, 1 or larger, got True."),
        ({"P_test": -1}, "P_test must be a whole number, 0 or larger, got -1."),
        ({"P_kernel": -1}, "P_kernel must be a whole number, 0 or larger, got -1."),
        ({"d": 0}, "d must be a whole number, 1 or larger, got 0."),
        ({"d": 65}, "The images of 'digits' have 64 pixels: d must be at most that, got 65."),
        ({"preprocessing": "none"}, "With preprocessing='none' d must be the 64 pixels of 'digits', got 10."),
        ({"preprocessing": "pca_whitend"}, "Unknown preprocessing 'pca_whitend': did you mean 'pca_whitened'?"),
        ({"pca_on": "test"}, "Unknown pca_on 'test': choose one of pool, train."),
        ({"pca_on": "train", "P": 10}, "Fitting d = 10 components on the training set needs P of at least 11, got 10."),
        (
            {"P": 1600, "P_kernel": 41},
            "The data set 'digits' has 1740 images in balanced classes: P + P_test + P_kernel must be at most that, "
            "got 1600 + 100 + 41 = 1741.",
        ),
        ({"dataset": "mnist", "P": 63_031}, "The data set 'mnist' has 63130 images in balanced classes"),
        ({"dataset": "cifar10", "P": 60_000}, "The data set 'cifar10' has 60000 images in balanced classes"),
        (
            {"dataset": "stripe"},
            "The synthetic data set 'stripe' is used as drawn: set preprocessing='none' and pca_on='pool', "
            "got 'pca' and 'pool'.",
        ),
        (
            {"dataset": "cylinder", "preprocessing": "none", "d": 1},
            "The data set 'cylinder' needs d of at least 2, got 1.",
        ),
    ],
)
def test_wrong_arguments_are_refused_without_data(change, sentence):
    with pytest.raises(ValueError) as refusal:
        check(**(GOOD | change))
    assert str(refusal.value).startswith(sentence)
    assert str(refusal.value).count(". ") == 0 and str(refusal.value)[-1] in ".?"
    arguments = GOOD | change
    with pytest.raises(ValueError, match="^" + sentence[:20].replace("+", r"\+")):
        load(seed=0, **arguments)


def test_good_arguments_are_accepted_without_data():
    check(**GOOD)
    check(**GOOD | {"dataset": "mnist", "P": 63_030})
    check(**GOOD | {"dataset": "sphere", "preprocessing": "none", "P": 10**9})
    check(**GOOD | {"dataset": "file:nowhere.npz", "P": 10**9})


def test_the_seed_is_not_negative():
    with pytest.raises(ValueError, match="^The seed must be a whole number, 0 or larger, got -1.$"):
        load("digits", 10, 10, 5, -1)


def test_components_without_variance_are_refused():
    with pytest.raises(ValueError, match="fewer than d = 64 dimensions: choose a smaller d"):
        load("digits", 10, 10, 64, 0)


# --- sources: tiny archives in the official formats


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def tar(mode: str, members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:
        for name, blob in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(blob)
            archive.addfile(info, io.BytesIO(blob))
    return stream.getvalue()


def jpeg(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=100, subsampling=0)
    return stream.getvalue()


def sha256(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


@pytest.fixture
def mnist(tmp_path, monkeypatch) -> Path:
    """A LAZYJAM_DATA with 50 + 20 images of 4 x 3 pixels in the place of MNIST."""
    rng = np.random.default_rng(0)
    contents = []
    for n in (50, 20):
        contents += [idx(rng.integers(0, 256, (n, 4, 3))), idx(np.arange(n) % 10)]
    files = tuple(
        file._replace(size=len(blob), content=sha256(blob), archive=sha256(gzip.compress(blob, mtime=0)))
        for file, blob in zip(DATASETS["mnist"].files, contents, strict=True)
    )
    monkeypatch.setitem(DATASETS, "mnist", DATASETS["mnist"]._replace(size=70, dim=12, files=files))
    folder = tmp_path / "data" / "mnist"
    folder.mkdir(parents=True)
    for file, blob in zip(files, contents, strict=True):
        (folder / file.name).write_bytes(gzip.compress(blob, mtime=0))
    monkeypatch.setenv("LAZYJAM_DATA", str(tmp_path / "data"))
    return folder


def test_idx_files_pool_train_and_test(mnist):
    split = load("mnist", 20, 50, 12, 0, preprocessing="none")
    contents = [gzip.decompress((mnist / file.name).read_bytes()) for file in DATASETS["mnist"].files]
    assert split.checksum == sha256(b"".join(contents))
    pixels = np.concatenate([np.frombuffer(contents[i][16:], np.uint8).reshape(-1, 12) for i in (0, 2)])
    labels = np.concatenate([np.frombuffer(contents[i][8:], np.uint8) for i in (1, 3)])
    z = pixels - pixels.mean(axis=0)
    z *= np.sqrt(12) / np.linalg.norm(z, axis=1, keepdims=True)
    order = data._balanced_order(labels, 0)
    np.testing.assert_allclose(torch.cat([split.test.x, split.train.x]), z[order], rtol=0, atol=1e-12)
    assert split.train.y.tolist() == [1.0, -1.0] * 10


def test_the_checksum_does_not_see_the_compression(mnist):
    before = load("mnist", 20, 20, 5, 0)
    name = mnist / DATASETS["mnist"].files[0].name
    name.write_bytes(gzip.compress(gzip.decompress(name.read_bytes()), compresslevel=1, mtime=12345))
    after = load("mnist", 20, 20, 5, 0)
    assert before.checksum == after.checksum and same(before.train, after.train)


def spoil(kind: str, blob: bytes) -> bytes:
    content = gzip.decompress(blob)
    return {
        "truncated": blob[:-20],
        "not gzip": b"<html>captive portal</html>",
        "flipped": gzip.compress(content[:-1] + bytes([content[-1] ^ 1])),
        "endless": gzip.compress(content + bytes(10**6)),
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "not gzip", "flipped", "endless"])
def test_a_damaged_idx_file_is_named(mnist, kind):
    path = mnist / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(spoil(kind, path.read_bytes()))
    with pytest.raises(ValueError) as refusal:
        load("mnist", 20, 20, 5, 0)
    assert str(refusal.value).startswith(f"{path} is damaged (")
    assert str(refusal.value).endswith("): delete it and download it again.")


def test_an_idx_file_begins_with_its_magic_number():
    blobs = [idx(np.zeros((2, 2, 2))), idx(np.zeros(2)), idx(np.zeros((2, 2, 2))), idx(np.zeros(2))]
    assert archives.read_idx(tuple(blobs))[0].shape == (4, 4)
    with pytest.raises(ValueError, match="magic number of an IDX file"):
        archives.read_idx((b"\x89PNG" + blobs[0][4:], *blobs[1:]))
    with pytest.raises(ValueError):
        archives.read_idx((blobs[0][:-1], *blobs[1:]))


def test_a_changed_file_is_not_served_from_memory(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "own.npz"
    sums = []
    for n in (40, 60):
        np.savez(path, x=rng.standard_normal((n, 6)), y=np.arange(n) % 2)
        sums.append(load(f"file:{path}", 10, 10, 3, 0).checksum)
        assert sums[-1] == sha256(path.read_bytes())
    assert sums[0] != sums[1]


def cifar_records(n: int, seed: int) -> bytes:
    records = np.random.default_rng(seed).integers(0, 256, (n, 3073), dtype=np.uint8)
    records[:, 0] = np.arange(n) % 10
    return records.tobytes()


def put_cifar(folder: Path, monkeypatch, blob: bytes) -> None:
    folder.joinpath("cifar10").mkdir(parents=True)
    (file,) = DATASETS["cifar10"].files
    file = file._replace(size=len(blob), content=sha256(blob), archive=sha256(blob))
    monkeypatch.setitem(DATASETS, "cifar10", DATASETS["cifar10"]._replace(size=60, files=(file,)))
    (folder / "cifar10" / file.name).write_bytes(blob)
    monkeypatch.setenv("LAZYJAM_DATA", str(folder))


def test_the_binary_cifar_archive(tmp_path, monkeypatch):
    batches = {f"cifar-10-batches-bin/data_batch_{i}.bin": cifar_records(10, i) for i in range(1, 6)}
    members = {
        "cifar-10-batches-bin/test_batch.bin": cifar_records(10, 6),
        "../outside.bin": b"never written",
        **batches,
    }
    blob = tar("w:gz", members)
    put_cifar(tmp_path / "data", monkeypatch, blob)
    split = load("cifar10", 20, 40, 3072, 0, preprocessing="none")
    assert split.checksum == sha256(blob)
    pixels, labels, _ = data._images("cifar10", sources.stamps("cifar10", DATASETS["cifar10"]))
    expected = np.frombuffer(b"".join([*batches.values(), cifar_records(10, 6)]), np.uint8).reshape(60, 3073)
    np.testing.assert_array_equal(pixels, expected[:, 1:])
    np.testing.assert_array_equal(labels, expected[:, 0])
    assert not (tmp_path / "outside.bin").exists()


@pytest.mark.parametrize("kind", ["too few members", "oversized member", "no tar"])
def test_a_wrong_cifar_archive_is_refused(tmp_path, monkeypatch, kind):
    batches = {f"b/data_batch_{i}.bin": cifar_records(10, i) for i in range(1, 6)}
    blob = {
        "too few members": lambda: tar("w:gz", batches),
        "oversized member": lambda: tar("w:gz", batches | {"b/test_batch.bin": bytes(10_000 * 3073 + 1)}),
        "no tar": lambda: gzip.compress(b"something else" * 100),
    }[kind]()
    put_cifar(tmp_path / "data", monkeypatch, blob)
    with pytest.raises(
        ValueError, match=r"cifar-10-binary.tar.gz is damaged \(.*\): delete it and download it again.$"
    ):
        load("cifar10", 20, 40, 10, 0)


@pytest.fixture
def cifar_jpeg(tmp_path, monkeypatch):
    """A function that writes an archive of three classes and further members, and names it in LAZYJAM_DATA."""

    def write(extra: dict[str, bytes], cut: int | None = None) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(1)
        plain = {}
        for split, n in (("train", 3), ("test", 1)):
            for name in ("cat", "airplane", "dog"):
                for i in range(n):
                    shade = rng.integers(0, 256, (1, 1, 3), dtype=np.uint8)  # flat images survive JPEG
                    plain[f"top/{split}/{name}/{i:04}.jpg"] = np.broadcast_to(shade, (32, 32, 3)).copy()
        blob = tar("w:xz", {name: jpeg(pixels) for name, pixels in plain.items()} | extra)
        folder = tmp_path / "data" / "cifar10"
        folder.mkdir(parents=True)
        (folder / "cifar-10-images.tar.xz").write_bytes(blob[:cut])
        monkeypatch.setenv("LAZYJAM_DATA", str(tmp_path / "data"))
        monkeypatch.setitem(DATASETS, "cifar10_jpeg", DATASETS["cifar10_jpeg"]._replace(size=12))
        return plain

    return write


def test_the_jpeg_copy_of_cifar_in_the_order_of_its_names(cifar_jpeg):
    plain = cifar_jpeg({"top/readme.txt": b"ignored"})
    pixels, labels, checksum = data._images("cifar10_jpeg", sources.stamps("cifar10_jpeg", DATASETS["cifar10_jpeg"]))
    names = sorted(plain)
    expected = np.array([plain[name].transpose(2, 0, 1).ravel() for name in names]).astype(int)
    assert np.abs(pixels - expected).max() <= 3
    assert [("airplane", "cat", "dog")[label] for label in labels] == [name.split("/")[2] for name in names]
    split = load("cifar10_jpeg", 3, 6, 3072, 0, preprocessing="none")
    assert split.checksum == checksum
    assert split.train.y.tolist() == [1, -1, 1]


@pytest.mark.parametrize(
    "extra, reason",
    [
        ({"top/train/cat/0009.jpg": b"GIF89a, not a JPEG"}, "0009.jpg is no JPEG image"),
        ({"top/train/cat/0009.jpg": jpeg(np.zeros((64, 32, 3), np.uint8))}, r"has \(32, 64\) pixels, not \(32, 32\)"),
        ({"top/train/cat/0009.jpg": jpeg(np.zeros((32, 32, 3), np.uint8))[:-300]}, "0009.jpg is no JPEG image"),
        ({"top/train/emu/0000.jpg": jpeg(np.zeros((32, 32, 3), np.uint8))}, "4 usable images of 3072 pixels, not 12"),
        ({"bomb": bytes(2**20)}, "it unpacks to more bytes than it should"),
    ],
)
def test_a_hostile_jpeg_archive_is_refused(cifar_jpeg, monkeypatch, extra, reason):
    bounded = archives._Bounded
    monkeypatch.setattr(archives, "_Bounded", lambda stream, left: bounded(stream, min(left, 2**19)))
    cifar_jpeg(extra)
    with pytest.raises(
        ValueError, match=rf"cifar-10-images.tar.xz is damaged \(.*{reason}.*\): delete it and download"
    ):
        load("cifar10_jpeg", 3, 6, 2, 0)


def test_a_truncated_jpeg_archive_is_refused(cifar_jpeg):
    cifar_jpeg({}, cut=-200)
    with pytest.raises(
        ValueError, match=r"cifar-10-images.tar.xz is damaged \(.*\): delete it and download it again.$"
    ):
        load("cifar10_jpeg", 3, 6, 2, 0)


def test_the_jpeg_copy_is_offered_where_the_official_archive_is_missing(cifar_jpeg):
    cifar_jpeg({})
    with pytest.raises(FileNotFoundError, match="or use dataset='cifar10_jpeg', which is there.$"):
        load("cifar10", 10, 10, 5, 0)


def test_the_jpeg_copy_has_no_address():
    with pytest.raises(FileNotFoundError) as refusal:
        load("cifar10_jpeg", 10, 10, 5, 0)
    assert str(refusal.value) == (
        "cifar-10-images.tar.xz is missing, it has no download address: put it in the folder cifar10 of a folder that "
        "the environment variable LAZYJAM_DATA names."
    )


def test_a_failed_download_names_address_and_variable():
    with pytest.raises(FileNotFoundError) as refusal:
        load("cifar10", 10, 10, 5, 0)
    for words in ("cifar-10-binary.tar.gz is missing", "https://", "ConnectionError", "folder cifar10", "LAZYJAM_DATA"):
        assert words in str(refusal.value)


def test_the_second_mirror_is_asked_and_the_checksum_given(mnist, monkeypatch):
    folder, asked = Path(os.environ["LAZYJAM_DATA"]), []
    monkeypatch.delenv("LAZYJAM_DATA")

    def retrieve(url, known_hash, fname, path, progressbar):
        asked.append(url)
        if url.startswith(DATASETS["mnist"].urls[0]):
            raise ValueError("wrong hash")
        assert progressbar and known_hash == "sha256:" + sha256((folder / "mnist" / fname).read_bytes())
        return str(folder / "mnist" / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert load("mnist", 20, 20, 5, 0).checksum
    assert [url.rpartition("/")[0] + "/" for url in asked[:2]] == list(DATASETS["mnist"].urls)


def test_a_folder_of_the_system_comes_second(mnist, monkeypatch):
    here = DATASETS["mnist"]._replace(system=(str(mnist),))
    monkeypatch.setitem(DATASETS, "mnist", here)
    monkeypatch.delenv("LAZYJAM_DATA")
    assert load("mnist", 20, 20, 5, 0).checksum


def test_lazyjam_data_is_a_folder(monkeypatch):
    monkeypatch.setenv("LAZYJAM_DATA", "/nowhere/at/all")
    with pytest.raises(FileNotFoundError, match="^LAZYJAM_DATA names '/nowhere/at/all', which is not a folder"):
        load("mnist", 10, 10, 5, 0)


# --- the features kept in the user's cache folder


def test_slow_features_are_kept_and_a_damaged_copy_is_not_used(mnist, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "SLOW", 0)
    fresh = load("mnist", 20, 20, 5, 0)
    (kept,) = (tmp_path / "user_cache" / "lazyjam" / "features").iterdir()
    assert kept.name == f"{fresh.checksum}-pca-5-v{data.FORMAT}.npz"

    data._features.cache_clear()
    with monkeypatch.context() as without_reader:
        without_reader.setattr(sources, "read", None)
        assert same(load("mnist", 20, 20, 5, 0).train, fresh.train)

    for spoiled in (kept.read_bytes()[:-100], kept.read_bytes()[:200] + b"!" + kept.read_bytes()[201:], b""):
        kept.write_bytes(spoiled)
        data._features.cache_clear()
        assert same(load("mnist", 20, 20, 5, 0).train, fresh.train)
    assert [path.name for path in kept.parent.iterdir()] == [kept.name]


def test_quick_features_are_not_kept(mnist, tmp_path):
    load("mnist", 20, 20, 5, 0)
    assert not (tmp_path / "user_cache").exists()


def test_an_unwritable_cache_folder_is_no_error(mnist, monkeypatch, tmp_path):
    monkeypatch.setattr(data, "SLOW", 0)
    (tmp_path / "user_cache").write_text("a file where the folder should be")
    assert len(load("mnist", 20, 20, 5, 0).train.y) == 20


# --- a person's own file


def test_own_labels_of_either_kind(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 2, 3)).astype(np.float32)
    signs = np.where(np.arange(30) % 2, 1, -1)
    for name, y in (("signs", signs), ("floats", signs.astype(float)), ("classes", np.arange(30) % 3)):
        np.savez(tmp_path / name, x=x, y=y)
    z = x.reshape(30, 6).astype(np.float64) - x.reshape(30, 6).mean(axis=0, dtype=np.float64)
    z *= np.sqrt(6) / np.linalg.norm(z, axis=1, keepdims=True)
    for name in ("signs", "floats"):
        train = load(f"file:{tmp_path}/{name}.npz", 20, 10, 6, 0, preprocessing="none").train
        found = np.abs(train.x.numpy()[:, None] - z[None]).max(axis=2).argmin(axis=1)
        assert train.y.tolist() == signs[found].tolist()
    assert load(f"file:{tmp_path}/classes.npz", 21, 9, 3, 0).train.y.tolist() == [1, -1, 1] * 7


X, Y = np.ones((10, 4)), np.arange(10) % 2


@pytest.mark.parametrize(
    "arrays, reason",
    [
        ({"x": X}, "no arrays x and y"),
        ({"x": X, "y": Y[:9]}, "10 images, 9 labels and 2 classes"),
        ({"x": X, "y": 0 * Y}, "10 images, 10 labels and 1 classes"),
        ({"x": X, "y": Y + 0.5}, "not whole numbers of shape"),
        ({"x": X, "y": Y[:, None]}, "not whole numbers of shape"),
        ({"x": np.full((10, 4), np.nan), "y": Y}, "not finite numbers of shape"),
        ({"x": X.astype(str), "y": Y}, "not finite numbers of shape"),
        ({"x": X.astype(object), "y": Y}, "allow_pickle=False"),
    ],
)
def test_wrong_arrays_in_an_own_file(tmp_path, arrays, reason):
    path = tmp_path / "own.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError) as refusal:
        load(f"file:{path}", 2, 2, 2, 0)
    assert str(refusal.value).startswith(f"{path} cannot be used (") and reason in str(refusal.value)
    assert str(refusal.value).endswith("numbers x (n, ...) and whole-number labels y (n,).")


@pytest.mark.parametrize("blob", [b"", b"no archive at all", b"PK\x03\x04 cut short"])
def test_an_own_file_that_is_no_npz(tmp_path, blob):
    (tmp_path / "own.npz").write_bytes(blob)
    with pytest.raises(ValueError, match="own.npz cannot be used .*: it must be an .npz file"):
        load(f"file:{tmp_path}/own.npz", 2, 2, 2, 0)


def test_sizes_of_an_own_file_are_checked_when_it_is_read(tmp_path):
    np.savez(tmp_path / "own.npz", x=np.random.default_rng(0).standard_normal((10, 4)), y=np.arange(10) % 3 % 2)
    own = f"file:{tmp_path}/own.npz"
    with pytest.raises(ValueError, match="has 6 images in balanced classes.* got 4 [+] 3 [+] 0 = 7"):
        load(own, 4, 3, 2, 0)
    for pca_on in ("pool", "train"):
        with pytest.raises(ValueError, match="have 4 pixels: d must be at most that, got 5"):
            load(own, 6 if pca_on == "train" else 4, 0, 5, 0, pca_on=pca_on)


def test_an_own_file_must_be_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="^There is no file '.*absent.npz': correct dataset='file:"):
        load(f"file:{tmp_path}/absent.npz", 4, 3, 2, 0)


# --- the real thing, where it is at hand

REAL = os.environ.get("LAZYJAM_DATA", "")


@pytest.mark.skipif(not Path(REAL, "mnist", "train-images-idx3-ubyte.gz").is_file(), reason="needs LAZYJAM_DATA/mnist")
def test_real_mnist(monkeypatch):
    monkeypatch.setenv("LAZYJAM_DATA", REAL)
    _, labels, checksum = data._images("mnist", sources.stamps("mnist", DATASETS["mnist"]))
    assert checksum == "b2d8f5bf39174ee5ffeefa97e42d673c35432b411bb5d1f74fbbeddae7f1690a"
    assert len(data._balanced_order(labels, 0)) == DATASETS["mnist"].size
