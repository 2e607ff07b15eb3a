import builtins
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlpconv
from mlpconv.data import Location, dataset_source, get_dataset, list_datasets, load_dataset
from mlpconv.data.cache_directory import cache_directory
from mlpconv.errors import DataError, MissingDependency
from support.idx_files import write_idx

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
needs_debian = pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")


def test_known_data_sets_are_complete_and_unknown_names_refused():
    for name in list_datasets():
        source = dataset_source(name)
        assert source.name == name
        assert source.title
        assert source.licence
        assert source.citation
        assert len(source.class_names) == len(set(source.class_names)) >= 10
        for file in source.files:
            # Whatever way a file comes, its contents are compared with a published checksum.
            assert re.fullmatch("[0-9a-f]{64}", file.sha256) or re.fullmatch(
                "[0-9a-f]{32}", file.md5 or (source.archive.md5 if source.archive else "")
            )
    with pytest.raises(DataError, match=r"unknown data set 'fashion-mnst'; did you mean 'fashion-mnist'\?"):
        load_dataset("fashion-mnst")


@needs_debian
def test_fashion_mnist_is_the_published_one():
    train, test = load_dataset("fashion-mnist", download=False)
    source = dataset_source("fashion-mnist")
    assert (len(train), len(test)) == source.counts
    assert train.image_shape == test.image_shape == source.image_shape
    assert train.name == "fashion-mnist/train"
    assert np.bincount(train.labels).tolist() == [6000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    assert train.class_names[train.labels[0]] == "ankle boot"
    assert train.mean == pytest.approx([0.286041], abs=1e-6)
    assert train.std == pytest.approx([0.353024], abs=1e-6)
    assert train.images.flags.c_contiguous
    assert get_dataset("fashion-mnist") == (DEBIAN, "Debian's package dataset-fashion-mnist")
    assert get_dataset("fashion-mnist", directory=DEBIAN) == (DEBIAN, "the given directory")


def test_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    train, test = load_dataset("digits")
    assert (len(train), len(test)) == dataset_source("digits").counts == (1437, 360)
    assert train.image_shape == (8, 8, 1)
    assert train.name == "digits/train"
    assert {images.images.max() for images in (train, test)} == {255}
    assert np.unique(train.images).tolist() == [round(level * 255 / 16) for level in range(17)]
    share = np.bincount(test.labels) / np.bincount(np.concatenate([train.labels, test.labels]))
    np.testing.assert_allclose(share, 0.2, atol=0.004)
    assert load_dataset("digits").test.fingerprint() == test.fingerprint()
    first = datasets.load_digits().images[0]
    scaled = np.round(first * 255 / 16)
    assert sum((split.images[..., 0] == scaled).all((1, 2)).sum() for split in (train, test)) == 1
    assert get_dataset("digits").origin == "scikit-learn"
    with pytest.raises(DataError, match="digits: comes with scikit-learn, not from"):
        load_dataset("digits", directory="here")


def test_digits_without_scikit_learn(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingDependency, match=re.escape('pip install "mlpconv[digits]"')):
        load_dataset("digits")


def test_importing_imports_no_framework():
    heavy = "{'matplotlib', 'sklearn', 'pooch', 'requests', 'PIL', 'filelock', 'torch'}"
    code = f"import sys, mlpconv.data, mlpconv.data.known.registry; print(sorted({heavy} & set(sys.modules)))"
    root = Path(mlpconv.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def check(splits, toy):
    for split in ("train", "test"):
        dataset = getattr(splits, split)
        np.testing.assert_array_equal(dataset.images[..., 0], toy.arrays[f"{split}_images"])
        np.testing.assert_array_equal(dataset.labels, toy.arrays[f"{split}_labels"])
        assert dataset.name == f"toy/{split}"
        assert dataset.labels.dtype == np.int64


def test_directory_given(toy, monkeypatch, tmp_path):
    check(load_dataset(toy.source(), directory=toy.directory), toy)
    monkeypatch.setenv("MLPCONV_DATA", str(toy.directory))
    assert get_dataset(toy.source()) == (toy.directory, "MLPCONV_DATA")
    toy.directory.rename(tmp_path / "toy")
    monkeypatch.setenv("MLPCONV_DATA", str(tmp_path))
    assert get_dataset(toy.source()).path == tmp_path / "toy"


def test_unzipped_files_do_as_well(toy):
    for file in toy.files:
        write_idx(toy.directory / file.name, toy.arrays[file.role])
        (toy.directory / f"{file.name}.gz").unlink()
    check(load_dataset(toy.source(), directory=toy.directory), toy)


def test_an_incomplete_data_directory_is_an_error_even_if_another_is_complete(toy, monkeypatch, tmp_path):
    source = toy.source(debian_directory=str(toy.directory))
    other = tmp_path / "other"
    with pytest.raises(DataError, match=r"other: no such directory \(the given directory\)"):
        load_dataset(source, directory=other)
    other.mkdir()
    write_idx(other / "train-labels-idx1-ubyte.gz", toy.arrays["train_labels"])
    monkeypatch.setenv("MLPCONV_DATA", str(other))
    with pytest.raises(DataError) as caught:
        load_dataset(source)
    assert "MLPCONV_DATA lacks train-images-idx3-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-" in str(caught.value)
    assert "train-labels" not in str(caught.value)


def test_directory_given_with_other_contents(toy):
    write_idx(toy.directory / "t10k-labels-idx1-ubyte.gz", toy.arrays["test_labels"][::-1])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz: differs from the published .* SHA-256") as caught:
        load_dataset(toy.source(), directory=toy.directory)
    assert toy.files[3].sha256 in str(caught.value)


def test_the_debian_directory_is_used_in_place(toy, caplog):
    caplog.set_level("INFO", "mlpconv.data")
    source = toy.source(debian_package="dataset-toy", debian_directory=str(toy.directory))
    assert get_dataset(source, download=False) == Location(toy.directory, "Debian's package dataset-toy")
    assert f"toy: found in {toy.directory}" in caplog.text
    assert not cache_directory().exists()


def test_published_files_with_different_counts(make_toy):
    labels = np.arange(49, dtype=np.uint8) % 3
    toy = make_toy(train_labels=labels)
    with pytest.raises(DataError, match="toy/train: 50 images but 49 labels"):
        load_dataset(toy.source(), directory=toy.directory)


def test_published_label_out_of_range(make_toy):
    labels = np.arange(20, dtype=np.uint8) % 3
    labels[[4, 7]] = 9
    toy = make_toy(test_labels=labels)
    with pytest.raises(DataError, match="toy/test: label 9 at index 4 is outside 0 to 2"):
        load_dataset(toy.source(), directory=toy.directory)


def test_where_the_cache_is(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/nobody")
    assert cache_directory() == tmp_path / "xdg/mlpconv"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == Path("/home/nobody/.cache/mlpconv")
    monkeypatch.setenv("MLPCONV_CACHE", "~/c")
    assert cache_directory() == Path("/home/nobody/c")
    assert cache_directory(tmp_path) == tmp_path
