"""The images of a run that are measured later: those of its recorded split, or another folder as a whole."""

import csv
import hashlib
import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.errors import DataError, RunError
from mlpconv.inference.classifier import Classifier
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.jobs.run_data import reload_run_data
from mlpconv.runs.run import Run
from support import image_folders

NASTY = ("dog ", " cat", "a,b\"c'", "cafe\u0301", "new\nline", "tab\there", "x\ry")


def train(root, out):
    changes = {
        "data": str(root),
        "epochs": 1,
        "batch_size": 8,
        "model": "nin_tiny",
        "min_steps": 0,
        "precision": "float32",
    }
    for _ in execute(prepare(Request(changes=changes, backend="torch")), out):
        pass
    return Classifier(out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder and the classifier that was trained on it, with a separate cache."""
    place = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPCONV_CACHE", str(place / "cache"))
        root = image_folders.create_classes(place / "photos", {"a": 20, "b": 20})
        yield root, train(root, place / "run")


def recorded(classifier):
    """(path, SHA-256) of the images of each recorded split."""
    found = {}
    with (classifier.path / "split.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["split"], set()).add((row["path"], row["sha256"]))
    return found


def pixels(dataset):
    return sorted(hashlib.sha256(image.tobytes()).hexdigest() for image in dataset.images)


def test_the_recorded_split_is_measured(trained):
    root, classifier = trained
    result = reload_run_data(classifier)
    assert result.dataset.name == f"{root}/test"
    assert len(result.dataset) == len(recorded(classifier)["test"]) == 6
    assert len(reload_run_data(classifier, split="train").dataset) == 31
    assert len(reload_run_data(classifier, str(root), "validation").dataset) == 3
    assert not result.problems
    assert not result.notes


actions = st.lists(
    st.tuples(st.sampled_from(["lose", "gain", "rename", "swap", "copy"]), st.integers(0, 39), st.integers(0, 39)),
    max_size=25,
)


@settings(max_examples=30)
@given(actions)
def test_no_other_images_are_ever_called_test(trained, tmp_path_factory, changes):
    root, classifier = trained
    place = tmp_path_factory.mktemp("changed")
    before = place / "before"
    root.rename(before)
    try:
        shutil.copytree(before, root)
        names = sorted(root.rglob("*.png"))
        for number, (action, one, other) in enumerate(changes):
            source, target = names[one], names[other]
            if not source.exists():
                continue
            if action == "lose":
                source.unlink()
            elif action == "gain":
                image_folders.save_image(root / "a" / f"new {number}.png", 5000 + number)
            elif action == "rename":
                source.replace(target)
            elif action == "copy" and source != target:
                shutil.copy(source, target)
            elif action == "swap" and target.exists() and source != target:
                source.rename(root / "aside")
                target.rename(source)
                (root / "aside").rename(target)
        wanted = recorded(classifier)["test"]
        left = {
            path
            for path, digest in wanted
            if Path(path).exists() and hashlib.sha256(Path(path).read_bytes()).hexdigest() == digest
        }
        if not left:
            with pytest.raises(DataError, match="none of the 6 images can be used"):
                reload_run_data(classifier)
            return
        result = reload_run_data(classifier)
        assert len(result.dataset) == len(left)
        assert len(result.problems) == len(wanted) - len(left)
        assert bool(result.notes) == (len(left) < len(wanted))
    finally:
        shutil.rmtree(root, ignore_errors=True)
        before.rename(root)


def test_a_folder_is_measured_as_a_whole(trained, tmp_path):
    _, classifier = trained
    root = image_folders.create_classes(tmp_path / "new", {"a": 5, "b": 5}, 700)
    result = reload_run_data(classifier, str(root))
    assert (len(result.dataset), result.dataset.name) == (10, str(root))
    shutil.rmtree(root / "b")
    assert len(reload_run_data(classifier, str(root)).dataset) == 5
    with pytest.raises(DataError, match="has no splits"):
        reload_run_data(classifier, str(root), "test")
    (root / "a").rename(root / "A")
    with pytest.raises(DataError, match=r"the network has no class A, .* did you mean a\?"):
        reload_run_data(classifier, str(root))


def test_a_folder_with_splits_is_measured_by_its_splits(trained, tmp_path):
    _, classifier = trained
    root = tmp_path / "new"
    image_folders.create_classes(root / "train", {"a": 5, "b": 5}, 700)
    with pytest.raises(DataError, match="has no test images, only train images"):
        reload_run_data(classifier, str(root))
    image_folders.create_classes(root / "test", {"a": 2}, 800)
    assert len(reload_run_data(classifier, str(root)).dataset) == 2
    assert len(reload_run_data(classifier, str(root), "train").dataset) == 10


def test_training_images_in_another_folder_are_noticed(trained, tmp_path):
    root, classifier = trained
    shutil.copytree(root, tmp_path / "copy")
    result = reload_run_data(classifier, str(tmp_path / "copy"))
    assert len(result.dataset) == 40
    assert result.notes[0].startswith("34 of these images were used to train or choose this network")


def test_without_a_recorded_split_nothing_is_called_test(trained, tmp_path):
    root, classifier = trained
    shutil.copytree(classifier.path, tmp_path / "run")
    (tmp_path / "run" / "split.csv").unlink()
    bare = Classifier(tmp_path / "run")
    with pytest.raises(DataError, match=r"does not record which images of .* were held out for testing"):
        reload_run_data(bare)
    assert reload_run_data(bare, str(root)).dataset.name == str(root)
    (tmp_path / "run" / "split.csv").write_text("path,label,split\nx.png,c,test\n")
    with pytest.raises(RunError, match="the run has no class c"):
        reload_run_data(bare)


def test_names_survive_from_the_folder_to_the_predictions(monkeypatch, tmp_path):
    monkeypatch.setenv("MLPCONV_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "photos"
    for number, name in enumerate(NASTY):
        for index in range(8):
            image_folders.save_image(root / name / f"{index} \r{name}.png", 100 * number + index)
        image_folders.save_image(root / name / os.fsdecode(b"\xff\xfe .png"), 100 * number + 99)
    classifier = train(root, tmp_path / "run")
    files = {str(path) for path in root.rglob("*.png")}
    rows = {path for rows in recorded(classifier).values() for path, _ in rows}
    assert rows == files
    result = reload_run_data(classifier)
    assert not result.problems
    assert result.dataset.class_names == classifier.class_names
    again = train(tmp_path / "run" / "split.csv", tmp_path / "again")
    assert again.class_names == classifier.class_names
    assert recorded(again) == recorded(classifier)


def test_a_resume_uses_the_recorded_split(monkeypatch, tmp_path):
    monkeypatch.setenv("MLPCONV_CACHE", str(tmp_path / "cache"))
    root = image_folders.create_classes(tmp_path / "photos", {"a": 12, "b": 12})
    train(root, tmp_path / "run")
    run = Run(tmp_path / "run")
    image_folders.save_image(root / "a" / "added.png", 901)
    request = Request(resume_from=str(run.path), resume_override={"epochs": 2})
    prepared = prepare(request)
    assert prepared.job.data == run.config.data
    folder = prepared.run_data.loaded_folder.folder
    assert folder.notes == [
        "1 file was added to the folder since the run started and will not be used; first: a/added.png"
    ]
    (root / "a" / "000.png").write_bytes((root / "a" / "001.png").read_bytes())
    with pytest.raises(RunError, match=r"has changed since the run started: 1 of its 24 images cannot be used"):
        prepare(request)
