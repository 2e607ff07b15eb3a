"""What a run measures on images that its start weights never saw: known classes before and after, and few images."""

import shutil

import numpy as np
import pytest
from PIL import Image

from mlpconv.data.folders.names import TEST, TRAIN
from mlpconv.jobs.execute import execute
from mlpconv.jobs.fitted_head import examples
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.jobs.start_weights import head_rows
from mlpconv.runs.outcome import few_images_lines
from mlpconv.runs.run import Run
from mlpconv.training.head_fit import STRENGTHS, fit
from support.image_folders import save_image

pytest.importorskip("torch")

QUICK = {"batch_size": 8, "precision": "float32", "model": "nin_tiny", "image_size": 14}


def patterned(root, counts, seed=0):
    """``root/CLASS/000.png``: noise whose brightness depends on the class's name."""
    draw = np.random.default_rng(seed)
    for name, count in counts.items():
        bright = 45 * (ord(name) % 4)
        for index in range(count):
            pixels = draw.integers(bright, bright + 90, (14, 14), dtype=np.uint8)
            save_image(root / name / f"{index:03}.png", Image.fromarray(pixels))
    return root


def run(path, data, **changes):
    epochs = {} if changes.get("freeze") else {"epochs": 2}
    request = Request(changes={"data": str(data), **QUICK, **epochs, **changes}, device="cpu")
    execution = execute(prepare(request), path)
    list(execution)
    return execution.run


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run on three classes, and a folder with two of them and a new one."""
    path = tmp_path_factory.mktemp("classes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLPCONV_CACHE", str(path / "cache"))
        run(path / "old", patterned(path / "first", {"a": 30, "b": 30, "c": 30}), epochs=8)
        patterned(path / "second", {"b": 24, "c": 24, "d": 24}, seed=1)
        yield path


def test_classes_that_both_know_are_compared_before_and_after(place, tmp_path):
    found = run(tmp_path / "new", place / "second", pretrained=str(place / "old"))
    known = found.result.known_classes
    assert known.names == ("b", "c")
    labels = found.result.confusion
    assert known.images == sum(map(sum, labels[:2]))  # the rows of b and c
    assert known.after == pytest.approx((labels[0][0] + labels[1][1]) / known.images)
    assert known.before > 0.5
    assert (
        f"the 2 classes that it shares with {place / 'old'}: before" in few_images_lines(found.result, place / "old")[0]
    )
    assert "before" in (found.path / "report.html").read_text()


def test_no_image_that_the_start_weights_learned_from_is_in_the_comparison(place, tmp_path):
    # The same files in a folder with splits, where half of the test images were learned from.
    files = {"train": [], "test": []}
    for line in (place / "old" / "split.csv").read_text().splitlines()[1:]:
        file, label, split, _ = line.split(",")
        files["test" if split == "test" else "train"].append((file, label))
    root = tmp_path / "splits"
    for index, (file, label) in enumerate(files["train"]):
        part = TEST if index % 4 == 0 else TRAIN
        (root / part / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / part / label / f"{index}.png")
    for index, (file, label) in enumerate(files["test"]):
        shutil.copy(file, root / TEST / label / f"new{index}.png")
    found = run(tmp_path / "new", root, pretrained=str(place / "old"), freeze=True)
    assert found.result.known_classes.images == len(files["test"])
    assert found.result.cross_validation is None  # some of the images were learned from


def test_frozen_features_of_few_images_are_cross_validated(place, tmp_path):
    found = run(tmp_path / "new", place / "second", pretrained=str(place / "old"), freeze=True)
    result = found.result.cross_validation
    assert result.images == 72
    assert result.folds == 10
    assert result.accuracy > 0.6
    assert [point.images for point in result.curve] == [16, 32, 65]
    text = " ".join(few_images_lines(found.result, "old"))
    assert "cross-validation over all 72 images, 10 folds: accuracy" in text
    assert "accuracy by the number of training images:" in text
    assert "cross-validation over all 72 images" in (found.path / "report.html").read_text().lower()
    tuned = run(tmp_path / "tuned", place / "second", pretrained=str(place / "old"))
    assert tuned.result.cross_validation is None  # its layers learned from the images


def test_the_same_folder_is_not_cross_validated(place, tmp_path):
    found = run(tmp_path / "new", place / "first", pretrained=str(place / "old"), freeze=True)
    assert found.result.cross_validation is None
    assert found.result.known_classes.names == ("a", "b", "c")
    # Nor where it is a run's start weights that learned from it.
    again = run(tmp_path / "again", place / "second", pretrained=str(tmp_path / "new"), freeze=True)
    assert again.result.cross_validation is not None
    last = run(tmp_path / "last", place / "first", pretrained=str(tmp_path / "again"), freeze=True)
    assert last.result.cross_validation is None


def test_known_classes_keep_their_rows_where_the_decay_is_strong(place):
    request = {"data": str(place / "second"), "pretrained": str(place / "old"), "model": "auto", "freeze": True}
    job = prepare(Request(recipe="folder", changes=request, device="cpu"))
    old = Run(place / "old").stored()
    names = job.data.train.class_names
    prior = head_rows(old, job.network, names)
    for number, name in enumerate(names):
        expected = old.weights["block4.conv.weight"][old.class_names.index(name), :, 0, 0] if name != "d" else 0
        assert np.allclose(prior.weight[number], expected)
    assert job.taken.kept == ("b", "c")
    seen = examples(job.make_model(), job.network, job.data.train, flips=True)
    strong = fit(seen, 1e4, prior)
    assert np.allclose(strong.weight, prior.weight, atol=1e-3)
    assert job.head.strength in STRENGTHS


def test_latest_is_the_run_that_was_the_latest_at_the_start(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(place / "old", tmp_path / "runs" / "old")
    request = {"data": str(place / "second"), "pretrained": "latest", "model": "auto", "freeze": True}
    assert prepare(Request(recipe="folder", changes=request, device="cpu")).recipe.pretrained == "runs/old"
