"""The known sets, each from a small file of the same format."""

import hashlib
import io
import struct
import tarfile
import zipfile
import zlib

import msgspec
import numpy as np
import pytest

from mlpconv.data import dataset_source, load_dataset
from mlpconv.data.known.definitions import KNOWN
from mlpconv.data.known.matlab import read_arrays
from mlpconv.data.known.readers import READERS, read_splits
from mlpconv.errors import DataError
from support.idx_files import write_idx

DRAW = np.random.default_rng(3)


def small(name, counts=(20, 10), **changes):
    return msgspec.structs.replace(dataset_source(name), counts=counts, **changes)


def record_file(images, *labels):
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([*(label[:, None] for label in labels), planes], axis=1).astype(np.uint8).tobytes()


def cifar_images(count):
    return DRAW.integers(0, 256, (count, 32, 32, 3), np.uint8)


def test_cifar10(tmp_path):
    train, test, labels = cifar_images(20), cifar_images(10), np.arange(20) % 10
    files = {
        f"data_batch_{k + 1}.bin": record_file(train[4 * k : 4 * k + 4], labels[4 * k : 4 * k + 4]) for k in range(5)
    }
    files["test_batch.bin"] = record_file(test, labels[:10])
    source = small("cifar10")
    source = msgspec.structs.replace(
        source, files=tuple(msgspec.structs.replace(file, size=len(files[file.name])) for file in source.files)
    )
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    found = load_dataset(source, directory=tmp_path, download=False)
    np.testing.assert_array_equal(found.train.images, train)
    np.testing.assert_array_equal(found.train.labels, labels)
    np.testing.assert_array_equal(found.test.images, test)
    # The archive, put by hand, is as good.
    archive = tmp_path / "by hand" / source.archive.name
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "cifar-10-batches-bin")
    source = with_md5(source, archive)
    np.testing.assert_array_equal(load_dataset(source, directory=archive.parent).train.images, train)


def with_md5(source, path):
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    return msgspec.structs.replace(source, archive=msgspec.structs.replace(source.archive, md5=digest))


def test_cifar100_uses_the_fine_label():
    train, test = cifar_images(20), cifar_images(10)
    fine = np.arange(20) + 50
    contents = {
        "train": bytearray(record_file(train, fine % 20, fine)),
        "test": bytearray(record_file(test, fine[:10] % 20, fine[:10])),
    }
    found = read_splits(small("cifar100"), contents)
    np.testing.assert_array_equal(found.train.labels, fine)
    np.testing.assert_array_equal(found.test.images, test)


def test_cifar_cut_short():
    with pytest.raises(DataError, match="expected records of 3,073 bytes, received 3,000"):
        read_splits(small("cifar10"), {"train_1": bytearray(3000), "test": bytearray(3073)})


def test_cifar_of_another_count():
    contents = {"train_1": bytearray(3073 * 4), "test": bytearray(3073 * 10)}
    with pytest.raises(DataError, match=r"expected images of shape \(20, 32, 32, 3\), received \(4, 32, 32, 3\)"):
        read_splits(small("cifar10"), contents)


def element(kind, value):
    return struct.pack("<2I", kind, len(value)) + value + bytes(-len(value) % 8)


def matrix(name, array, kind, *, zipped):
    """An array as MATLAB writes it; a name of up to four letters is a short element."""
    short = struct.pack("<2H", 1, len(name)) + name.encode().ljust(4, b"\0")
    dimensions = element(5, np.array(array.shape, "<i4").tobytes())
    body = element(6, struct.pack("<2I", 9, 0)) + dimensions + short + element(kind, array.tobytes(order="F"))
    whole = element(14, body)
    if not zipped:
        return whole
    packed = zlib.compress(whole)
    return struct.pack("<2I", 15, len(packed)) + packed


def mat_file(images, labels, *, zipped=True):
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H", 0x0100) + b"IM"
    arrays = matrix("X", images.transpose(1, 2, 3, 0), 2, zipped=zipped)
    return head + arrays + matrix("y", labels.astype("<f8").reshape(-1, 1), 9, zipped=zipped)


@pytest.mark.parametrize("zipped", [True, False])
def test_svhn(zipped):
    train, test = cifar_images(20), cifar_images(10)
    labels = np.arange(20) % 10 + 1
    contents = {
        "train": bytearray(mat_file(train, labels, zipped=zipped)),
        "test": bytearray(mat_file(test, labels[:10], zipped=zipped)),
    }
    found = read_splits(small("svhn"), contents)
    np.testing.assert_array_equal(found.train.images, train)
    np.testing.assert_array_equal(found.train.labels, labels % 10)
    np.testing.assert_array_equal(found.test.images, test)


def test_the_matlab_reader_agrees_with_scipy():
    scipy_io = pytest.importorskip("scipy.io")
    file = io.BytesIO()
    arrays = {
        "X": cifar_images(3).transpose(1, 2, 3, 0),
        "y": np.arange(3.0)[:, None],
        "a_long_name": np.eye(4, dtype="i2"),
    }
    scipy_io.savemat(file, arrays, do_compression=True)
    found = read_arrays(file.getvalue(), "x", 1 << 20)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"<html>" + data, "not a MATLAB 5 file|truncated|damaged"),
        (lambda data: data[:100], "not a MATLAB 5 file"),
        (lambda data: data[:-20], "truncated"),
        (lambda data: data[:150] + bytes(50) + data[200:], "damaged|truncated"),
    ],
)
def test_svhn_that_is_damaged(change, message):
    with pytest.raises(DataError, match=message):
        read_arrays(change(mat_file(cifar_images(5), np.arange(5))), "svhn", 1 << 20)


def test_an_svhn_decompression_bomb():
    with pytest.raises(DataError, match="contains more than"):
        read_arrays(mat_file(np.zeros((100, 32, 32, 3), np.uint8), np.zeros(100)), "svhn", 10_000)


def test_emnist_images_are_upright(tmp_path):
    upright = DRAW.integers(0, 256, (30, 28, 28), np.uint8)
    labels = np.arange(30, dtype=np.uint8) % 26
    archive = tmp_path / "gzip.zip"
    source = small("emnist-letters")
    sizes = {}
    with zipfile.ZipFile(archive, "w") as packed:
        for split, part in (("train", slice(0, 20)), ("test", slice(20, 30))):
            for what, array in (
                ("images-idx3", upright[part].transpose(0, 2, 1).copy()),
                ("labels-idx1", labels[part] + 1),
            ):
                name = f"emnist-letters-{split}-{what}-ubyte"
                write_idx(tmp_path / f"{name}.gz", array)
                packed.write(tmp_path / f"{name}.gz", f"gzip/{name}.gz")
                sizes[name] = array.size + (16 if array.ndim == 3 else 8)
    for path in tmp_path.glob("*.gz"):
        path.unlink()
    files = tuple(msgspec.structs.replace(file, size=sizes[file.name]) for file in source.files)
    found = load_dataset(with_md5(msgspec.structs.replace(source, files=files), archive), directory=tmp_path)
    np.testing.assert_array_equal(found.train.images[..., 0], upright[:20])
    np.testing.assert_array_equal(found.test.labels, labels[20:])


# Fault 33.


@pytest.mark.parametrize("what", ["../out.bin", "/etc/out.bin", "link", "hard link"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_an_archive_with_paths_outside_is_refused(tmp_path, kind, what):
    source = small("cifar10")
    archive = tmp_path / source.archive.name
    if kind == "zip":
        if "link" in what:
            what = "a\\..\\..\\out.bin"
        with zipfile.ZipFile(archive, "w") as packed:
            packed.writestr(what, b"x")
    else:
        with tarfile.open(archive, "w:gz") as tar:
            info = tarfile.TarInfo("cifar-10-batches-bin/x" if "link" in what else what)
            if "link" in what:
                info.type, info.linkname = (tarfile.SYMTYPE if what == "link" else tarfile.LNKTYPE), "/etc/passwd"
            tar.addfile(info, io.BytesIO())
    with pytest.raises(DataError, match="refused: "):
        load_dataset(with_md5(source, archive), directory=tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*.bin")) == []


def test_an_archive_with_another_checksum_is_refused(tmp_path):
    source = small("cifar10")
    (tmp_path / source.archive.name).write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError, match=f"expected MD5 {source.archive.md5}"):
        load_dataset(source, directory=tmp_path)


def test_the_counts_are_the_published_ones():
    counts = {source.name: (*source.counts, len(source.class_names), source.image_shape) for source in KNOWN}
    assert counts == {
        "fashion-mnist": (60_000, 10_000, 10, (28, 28, 1)),
        "mnist": (60_000, 10_000, 10, (28, 28, 1)),
        "kmnist": (60_000, 10_000, 10, (28, 28, 1)),
        "emnist-balanced": (112_800, 18_800, 47, (28, 28, 1)),
        "emnist-letters": (124_800, 20_800, 26, (28, 28, 1)),
        "cifar10": (50_000, 10_000, 10, (32, 32, 3)),
        "cifar100": (50_000, 10_000, 100, (32, 32, 3)),
        "svhn": (73_257, 26_032, 10, (32, 32, 3)),
        "digits": (1_437, 360, 10, (8, 8, 1)),
    }


def test_every_definition_names_a_reader():
    assert {source.format for source in KNOWN} == READERS.keys()


def test_an_unknown_format_is_refused():
    with pytest.raises(DataError, match="mnist: unknown format 'tar'; expected one of idx, emnist, cifar, svhn"):
        read_splits(small("mnist", format="tar"), {})
