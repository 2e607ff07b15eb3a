"""`mlpconv data`: list, get, show."""

import gzip
import hashlib

import numpy as np
import pytest
from PIL import Image

import mlpconv.data.known.registry as sources
from mlpconv.data import Source, SourceFile
from support.idx_files import write_idx


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A small data set that is known by name, in the directory of its Debian package; nothing can be downloaded."""
    stored = tmp_path / "package"
    stored.mkdir()
    draw = np.random.default_rng(1)
    arrays = {
        ("train_images", "train-images-idx3-ubyte"): draw.integers(0, 256, (6, 5, 5), np.uint8),
        ("train_labels", "train-labels-idx1-ubyte"): np.arange(6, dtype=np.uint8) % 2,
        ("test_images", "t10k-images-idx3-ubyte"): draw.integers(0, 256, (4, 5, 5), np.uint8),
        ("test_labels", "t10k-labels-idx1-ubyte"): np.arange(4, dtype=np.uint8) % 2,
    }
    files = []
    for (role, name), array in arrays.items():
        write_idx(stored / f"{name}.gz", array)
        contents = gzip.decompress((stored / f"{name}.gz").read_bytes())
        files.append(SourceFile(role=role, name=name, size=len(contents), sha256=hashlib.sha256(contents).hexdigest()))
    source = Source(
        name="toy",
        title="Toy",
        class_names=("a", "b"),
        image_shape=(5, 5, 1),
        counts=(6, 4),
        licence="MIT",
        citation="-",
        files=tuple(files),
        debian_directory=str(stored),
    )
    monkeypatch.setitem(sources._SOURCES, "toy", source)
    return stored


def test_list_states_the_path_of_each_data_set(cli, toy):
    said = cli("data", "list")
    assert said.code == 0
    assert str(toy) in next(line for line in said.out.splitlines() if line.startswith("toy"))


def test_list_states_how_to_get_missing_data_sets(cli, toy):
    next(toy.glob("t10k-labels*")).unlink()
    said = cli("data", "list")
    assert "not here: mlpconv data get toy" in said.out


def test_list_reads_and_repairs_nothing(cli, toy, tmp_path, monkeypatch):
    monkeypatch.setenv("MLPCONV_CACHE", str(tmp_path / "cache"))
    own = tmp_path / "cache" / "data" / "toy"
    own.mkdir(parents=True)
    for path in toy.iterdir():
        (own / path.name).write_bytes(b"damaged")
    assert str(own) in cli("data", "list").out
    assert {path.read_bytes() for path in own.iterdir()} == {b"damaged"}


def test_get_prints_the_path(cli, toy):
    said = cli("data", "get", "toy")
    assert said.code == 0
    assert f"complete and verified in {toy}" in said.out


def test_get_copies_the_files_into_a_directory(cli, toy, tmp_path):
    there = tmp_path / "there"
    value = cli("data", "get", "toy", "--directory", there, "--json").json()
    assert value == {"name": "toy", "path": str(there / "toy"), "origin": str(toy)}
    for path in toy.iterdir():
        assert (there / "toy" / path.name).read_bytes() == path.read_bytes()
    again = cli("data", "get", "toy", "--directory", there / "toy", "--json").json()
    assert again["path"] == str(there / "toy")
    assert "already contained it" in again["origin"]
    # What it says next is true: the directory is one for --data-dir.
    assert f"--data-dir {there}" in cli("data", "get", "toy", "--directory", there).out
    assert cli("data", "show", "toy", "--data-dir", there).code == 0


def test_get_refuses_damaged_files(cli, toy, tmp_path):
    there = tmp_path / "there"
    next(toy.glob("t10k-labels*")).write_bytes(gzip.compress(b"something else"))
    said = cli("data", "get", "toy", "--directory", there)
    assert said.code == 2
    assert said.err.startswith("error: toy: not on this machine")
    assert not list(there.glob("*/t10k-labels*"))


def test_get_finds_damage_in_a_directory(cli, toy):
    next(toy.glob("t10k-labels*")).write_bytes(gzip.compress(b"something else"))
    said = cli("data", "get", "toy", "--directory", toy)
    assert said.code == 2
    assert "t10k-labels" in said.err


def test_show_draws_a_png(cli, tmp_path):
    said = cli("data", "show", "digits")
    assert (said.code, said.out) == (0, "digits.png\n")
    with Image.open(tmp_path / "digits.png") as first:
        assert first.format == "PNG"
        assert min(first.size) > 200
    cli("data", "show", "digits", "--seed", "1", "--out", "other.png")
    cli("data", "show", "digits", "--split", "test", "--out", "test.png")
    drawn = {(tmp_path / name).read_bytes() for name in ("digits.png", "other.png", "test.png")}
    assert len(drawn) == 3
