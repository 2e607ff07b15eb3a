"""Which files are classified, and their names in the files of predictions."""

import csv
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.data.folders.listing import list_folder
from mlpconv.data.folders.names import is_leftover
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Classifier
from mlpconv.inference.predictions import Unreadable, find_files, open_predictions, predict_files
from support import image_folders, tiny_training

pytest.importorskip("torch")

LEFTOVERS = (
    "Thumbs.db",
    "desktop.ini",
    ".DS_Store",
    "._cat.png",
    "__MACOSX",
    "@eaDir",
    "#recycle",
    "Icon\r",
    ".hidden",
)
nasty = st.one_of(
    st.text("ab \t\r\n,;\"'\\=\u0301\u00e9\u202e\x7f|#*[?", min_size=1, max_size=8),
    st.binary(min_size=1, max_size=8).map(os.fsdecode),
).filter(lambda name: "/" not in name and "\0" not in name and not is_leftover(name))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("predictions") / "run"
    tiny_training.train(path, job=tiny_training.prepared(epochs=1))
    return Classifier(path, device="cpu", precision="float32")


@settings(max_examples=40)
@given(st.lists(nasty, min_size=1, max_size=6, unique=True), st.integers(0, 6))
def test_every_name_is_the_same_in_the_predictions(classifier, tmp_path_factory, names, readable):
    place = tmp_path_factory.mktemp("names")
    good, bad = set(), set()
    for index, name in enumerate(names):
        path = place / "d" / name
        if index < readable:
            image_folders.save_image(place / "d.png", image_folders.random_pixels(index, 6, 6)[..., 0]).rename(
                place / "image"
            )
            path.parent.mkdir(exist_ok=True)
            (place / "image").rename(path)
            good.add(str(path))
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"not an image")
            bad.add(str(path))
    files = find_files([str(place / "d")])
    for suffix in ("csv", "jsonl"):
        with open_predictions(place / f"p.{suffix}", 2) as writer:
            for item in predict_files(classifier, files, top=2):
                writer.write(item)
    with (place / "p.csv").open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert [row["file"] for row in rows] == [file.path for file in files]
    assert {row["file"] for row in rows if row["label"]} == good
    assert {row["file"] for row in rows if row["error"]} == bad
    lines = [json.loads(line) for line in (place / "p.jsonl").read_bytes().split(b"\n")[:-1]]
    assert [line["file"] for line in lines] == [file.path for file in files]
    assert {line["file"] for line in lines if "error" in line} == bad


parts = st.one_of(st.sampled_from(LEFTOVERS), nasty)


@given(st.lists(st.lists(parts, min_size=1, max_size=3), min_size=1, max_size=8))
def test_the_files_of_a_folder_are_those_that_training_finds(tmp_path_factory, paths):
    root = tmp_path_factory.mktemp("d")
    (root / "first class").mkdir()
    (root / "first class" / "x.png").touch()
    (root / "last class").mkdir()
    (root / "last class" / "x.png").touch()
    for path in paths:
        place = root.joinpath("first class", *path)
        if any(parent.is_file() for parent in place.parents) or place.exists():
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    listed = list_folder(root)
    assert sorted(file.path for file in find_files([str(root)])) == sorted(str(root / file) for file in listed.files)


def test_what_systems_leave_behind_is_classified_only_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("d/a.png", "d/sub/b.png", *(f"d/{name}/c.png" for name in ("@eaDir", "__MACOSX", ".hidden"))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("d/Thumbs.db", "d/sub/desktop.ini", "d/._a.png"):
        (tmp_path / name).touch()

    def found(*paths):
        return [file.path for file in find_files(paths)]

    assert found("d") == found("d/**/*.png") == found("d/*") == ["d/a.png", "d/sub/b.png"]
    assert found("../" + tmp_path.name + "/d/*.png") == ["../" + tmp_path.name + "/d/a.png"]
    assert found("d/__MACOSX") == found("d/__MACOSX/*.png") == ["d/__MACOSX/c.png"]
    assert found("d/.hid*/*") == ["d/.hidden/c.png"]
    assert found("d/._*.png") == ["d/._a.png"]
    named = find_files(["d/Thumbs.db", "d"])
    assert [(file.path, file.named) for file in named] == [
        ("d/Thumbs.db", True),
        ("d/a.png", False),
        ("d/sub/b.png", False),
    ]
    assert [file.named for file in find_files(["d", "d/a.png"])] == [True, False]
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "Thumbs.db").touch()
    with pytest.raises(DataError, match="e: no files found"):
        found("e")


def test_a_named_file_is_always_tried(classifier, tmp_path):
    path = tmp_path / "Thumbs.db"
    path.write_bytes(b"x")
    (item,) = predict_files(classifier, find_files([str(path)]))
    assert isinstance(item, Unreadable)
    assert item.file == str(path)
    assert "not an image" in item.reason
