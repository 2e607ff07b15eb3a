"""Your own images on the command line: check, train, evaluate, predict, clean."""

import json
import tarfile
import tomllib
import warnings
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from test_json import check

import mlpconv
from mlpconv.cli import output
from support import image_folders
from support.image_folders import lines_of, stripes

QUICK = ("--epochs", "2", "--precision", "float32", "--batch-size", "8")


@pytest.fixture
def photos(tmp_path):
    """A folder with two classes, one of them with a name that is markup, and a file that is not an image."""
    root = stripes(tmp_path / "photos", {"across": 40, "<b>down": 40})
    (root / "across" / "notes.txt").write_text("x")
    return root


def test_a_folder_from_check_to_prediction(cli, photos, tmp_path):
    report = check("data-check", cli("data", "check", "photos", "--json").json())
    assert report["images"] == {"train": 68, "validation": 0, "test": 12}
    assert [each["path"] for each in report["skipped"]] == ["across/notes.txt"]
    with Image.open(report["sheet"]) as sheet:
        assert sheet.format == "PNG"

    said = cli("train", "--data", "photos", *QUICK, "--out", "run")
    assert said.code == 0, said.err
    assert "across/notes.txt: not an image" in said.out
    assert "nin_28 at 28×28" in said.out
    rows = lines_of(tmp_path / "run" / "split.csv")
    assert len(rows) == 80
    used = {row["sha256"]: row["split"] for row in rows}
    assert {row["split"] for row in rows} == {"train", "validation", "test"}
    assert {row["label"] for row in rows} == {"across", "<b>down"}
    assert "across/notes.txt" in (tmp_path / "run" / "skipped.csv").read_text()
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<b>down" not in page
    assert "&lt;b&gt;down" in page
    assert "across/notes.txt" in page

    # The run's own split, and its classes, whatever happens to the folder later.
    stripes(photos, {"new": 3}, 5)
    value = cli("evaluate", "run", "--json", "--precision", "float32").json()
    assert value["images"] == 12
    trained = json.loads((tmp_path / "run" / "result.json").read_text())
    assert value["accuracy"] == pytest.approx(trained["test_accuracy"])

    said = cli("explain", "run", "--figure")
    assert said.code == 0, said.err
    with Image.open(tmp_path / "class-maps" / "figure.png") as figure:
        assert figure.format == "PNG"

    said = check("predict-out", cli("predict", "run", "photos", "--out", "p.csv", "--json").json())
    assert said == {"out": "p.csv", "images": 83, "skipped": 1}
    rows = lines_of(tmp_path / "p.csv")
    assert [row["file"] for row in rows if row["error"]] == ["photos/across/notes.txt"]
    assert {row["label"] for row in rows if row["label"]} <= {"across", "<b>down"}
    cli("predict", "run", "photos/across/*.png", "--out", "p.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    check("predict", lines)
    assert len(lines) == 40

    said = cli("train", "--data", "photos", "--pretrained", "run", *QUICK, "--out", "more")
    assert said.code == 0, said.err
    assert "80 images are split as in run; 3 images are new" in " ".join(said.out.split())
    again = {row["sha256"]: row["split"] for row in lines_of(tmp_path / "more" / "split.csv")}
    assert {digest: again[digest] for digest in used} == used
    assert json.loads((tmp_path / "more" / "config.json").read_text())["data"]["class_names"] == [
        "<b>down",
        "across",
        "new",
    ]

    value = check("data-clean", cli("data", "clean", "--dry-run", "--json").json())
    assert not value["removed"]
    assert value["bytes"] > 0
    assert check("data-clean", cli("data", "clean", "--json").json())["removed"]
    assert check("data-clean", cli("data", "clean", "--json").json())["entries"] == []


def test_tune_searches_a_recipe_for_a_folder(cli, photos, tmp_path):
    pytest.importorskip("optuna")
    space = ("--space", "learning_rate=1e-3..1e-2 log")
    few = ("--set", "epochs=1", "--set", "precision=float32", "--set", "batch_size=8")
    value = cli("tune", "--data", "photos", "--trials", "2", *few, *space, "--validation", "0.2", "--json").json()
    assert value["trials"] == 2
    assert value["images"] == 14
    assert set(value["values"]) == {"learning_rate"}
    again = cli("tune", "--data", "photos", "--trials", "2", *few, *space, "--held-out", "0.2", "--json")
    assert json.loads(again.out) == value
    assert again.err == "--held-out is now --validation; the old name will be removed in the next version\n"
    recipe = tomllib.loads((tmp_path / "runs" / "tune" / "best.toml").read_text())
    assert (recipe["data"], recipe["model"]) == (str(photos), "nin_28")
    assert (recipe["validation"], recipe["patience"]) == (0.1, 10)
    said = cli("train", "--recipe", "runs/tune/best.toml", "--out", "best", "--json")
    assert said.code == 0, said.err


def test_trials_are_judged_on_no_copy_of_what_they_learn_from(cli, tmp_path, monkeypatch):
    pytest.importorskip("optuna")
    from mlpconv.studies import search

    root = stripes(tmp_path / "d", {"across": 20, "down": 20})
    for path in list(root.rglob("*.png")):
        with Image.open(path) as image:
            image.save(path.with_name(f"copy of {path.name}"), compress_level=1)
    seen = []

    def spy(recipe, space, data, settings, **options):
        seen.append(data)
        return find(recipe, space, data, settings, **options)

    find = search.search
    monkeypatch.setattr(search, "search", spy)
    few = ("--set", "precision=float32", "--set", "batch_size=8", "--space", "epochs=1|2")
    for options in ((), ("--images", "40")):
        said = cli("tune", "--data", "d", "--trials", "1", *few, *options, "--out", f"out {len(seen)}")
        assert said.code == 0, said.err
        learned, judged = ({image.tobytes() for image in part.images} for part in seen[-1])
        assert judged
        assert not learned & judged
    assert [len(part) for part in seen[-1]] == [36, 4]


def test_the_validation_images_of_a_folder_judge(cli, tmp_path):
    pytest.importorskip("optuna")
    for number, (split, count) in enumerate({"train": 20, "val": 6, "test": 5}.items()):
        stripes(tmp_path / "d" / split, {"across": count, "down": count}, number)
    few = ("--set", "precision=float32", "--set", "batch_size=8", "--space", "epochs=1|2")
    said = cli("tune", "--data", "d", "--trials", "1", *few, "--out", "out")
    assert said.code == 0, said.err
    data = mlpconv.Run("out/trial-0").config.data
    assert (data.train, data.test) == (40, 12)
    assert data.name.endswith("d/train (rest)")


@pytest.mark.parametrize("command", [("data", "check"), ("train", "--data")])
def test_strict_refuses_a_folder_with_unusable_files(cli, photos, command):
    said = cli(*command, "photos", "--strict")
    assert said.code == 2
    assert "across/notes.txt: not an image" in said.err


def test_borders_in_the_color_of_the_pictures_are_stored_with_the_network(cli, tmp_path):
    draw = np.random.default_rng(0)
    for number, name in enumerate(("across", "down")):
        (tmp_path / "wide" / name).mkdir(parents=True)
        for index in range(20):
            pixels = np.full((12, 20 + index % 3, 3), (200, 100, 50), np.uint8)
            pixels[3:9, 4:14] = draw.integers(0, 255, (6, 10, 3))
            pixels[(slice(3, 9, 2), slice(4, 14)) if number else (slice(3, 9), slice(4, 14, 2))] = 255
            Image.fromarray(pixels).save(tmp_path / "wide" / name / f"{index}.png")
    said = cli("train", "--data", "wide", *QUICK, "--set", "fit=pad-border", "--out", "run")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["preprocess"]["fit"] == "pad-border"
    run = mlpconv.Run("run")
    value = cli("evaluate", "run", "--json", "--precision", "float32").json()
    assert value["accuracy"] == pytest.approx(run.result.test_accuracy)
    assert value["loss"] == pytest.approx(run.result.test_loss, rel=1e-4)
    # The same file, alone: the borders that it gets have the color of its border.
    classifier = mlpconv.load("run")
    images = classifier.predict([tmp_path / "wide" / "down" / "0.png"]).images
    assert images.shape == (1, 28, 28, 3)
    assert (images[0, 0] == (200, 100, 50)).all()
    assert (images[0, -1] == (200, 100, 50)).all()


def test_check_groups_skipped_files_and_writes_a_cleaned_list(cli, photos, tmp_path):
    for name in ("a.svg", "b.svg", "c.svg", "d.svg"):
        (photos / "across" / name).write_text("<svg/>")
    (photos / "<b>down" / "again.png").write_bytes((photos / "across" / "3.png").read_bytes())
    said = cli("data", "check", "photos", "--cleaned", "clean.csv")
    assert said.code == 0, said.err
    assert "skipped   drawings (4): save each as PNG" in said.out
    assert "            across/a.svg: not an image" in said.out
    assert "… and 1 more; --json lists all" in said.out
    assert "          texts, tables and programs (1): move them away" in said.out
    assert "conflict  <b>down/again.png (<b>down) = across/3.png (across)" in said.out
    assert "cleaned list: clean.csv, with 80 images; 1 copy is left out" in said.out
    assert "mlpconv train --data clean.csv" in said.out
    report = check("data-check", cli("data", "check", "photos", "--cleaned", "again.csv", "--json").json())
    assert report["cleaned"] == {"path": "again.csv", "images": 80, "copies": 1}
    kinds = [(each["kind"], each["count"]) for each in report["skipped_kinds"]]
    assert kinds == [("drawings", 4), ("texts, tables and programs", 1)]
    assert {each["kind"] for each in report["skipped"]} == {"drawings", "texts, tables and programs"}
    again = check("data-check", cli("data", "check", "clean.csv", "--json").json())
    assert sum(again["images"].values()) == 80
    assert (again["skipped"], again["duplicates"], again["conflicts"], again["cleaned"]) == ([], [], [], None)
    said = cli("data", "check", "photos", "--cleaned", "clean.txt")
    assert (said.code, said.err) == (2, "error: --cleaned clean.txt: expected a name that ends in .csv\n")


def test_samples_of_a_folder_are_drawn(cli, photos, tmp_path):
    said = cli("data", "show", "photos", "--split", "test", "--seed", "3")
    assert said.code == 0, said.err
    assert said.out == "photos-samples.png\n"
    assert "1 file or folder was skipped; mlpconv data check photos says why" in said.err
    with Image.open(tmp_path / "photos-samples.png") as sheet:
        assert sheet.format == "PNG"
    assert cli("data", "show", "./photos", "--out", "other.png").code == 0
    assert (tmp_path / "other.png").read_bytes() != (tmp_path / "photos-samples.png").read_bytes()
    said = cli("data", "show", "photos", "--split", "validation")
    assert (said.code, "has no validation images" in said.err) == (2, True)
    said = cli("data", "show", "digits", "--split", "validation")
    assert (said.code, "only folders have validation images" in said.err) == (2, True)
    said = cli("data", "show", "photoss")
    assert said.code == 2
    assert cli("data", "show", "digits").out == "digits.png\n"


def test_ctrl_c_while_a_folder_is_read_reports_that_nothing_is_lost(cli, photos, monkeypatch):
    def stop(self, name, done, total):
        update(self, name, done, total)
        raise KeyboardInterrupt

    update = output.Download._update
    monkeypatch.setattr(output.Download, "_update", stop)
    said = cli("train", "--data", "photos")
    assert said.code == 130
    assert said.err == "stopped; the images read and decoded so far are kept: run the same command to continue\n"


def test_check_warns_about_a_folder(cli, tmp_path):
    root = stripes(tmp_path / "d" / "train", {"a": 40, "b": 10})
    stripes(tmp_path / "d" / "test", {"a": 2, "b": 2}, 1)
    for there in ("train/b/again.png", "test/a/again.png"):
        (tmp_path / "d" / there).write_bytes((root / "a" / "0.png").read_bytes())
    report = check("data-check", cli("data", "check", "d", "--json").json())
    (group,) = report["duplicates"]
    assert sorted(group["files"]) == ["test/a/again.png", "train/a/0.png", "train/b/again.png"]
    text = "\n".join(report["warnings"])
    leak = "both in training and in validation or testing"
    for expected in (leak, "in more than one class", "3.6 times", "fewer than 20"):
        assert expected in text
    assert report["imbalance"] == pytest.approx(40 / 11)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("predict", "RUN", "nothing/*.png"), "no files found"),
        (("predict", "RUN", "photos", "--out", "p.txt"), "expected a name that ends in .csv or .jsonl"),
        (("data", "check", "photos", "--fit", "bend"), "squash, crop, pad or pad-border"),
        (("train", "--data", "./none"), "there is no such folder"),
        (("train", "--data", "none"), "for your own data, specify a folder of images or a CSV file"),
        (("train", "--data", "p.zip"), "p.zip: an archive; unpack it, and specify the folder"),
        (("data", "check", "p.tar"), "p.tar: an archive; unpack it, and specify the folder"),
        (("data", "check", "photos/across/0.png"), "0.png: an image; specify the folder that contains"),
        (("train", "--data", "photos", "--data-dir", "x"), "is a folder itself"),
    ],
)
def test_mistakes(cli, photos, digits_run, tmp_path, arguments, message):
    with zipfile.ZipFile(tmp_path / "p.zip", "w") as packed, tarfile.open(tmp_path / "p.tar", "w") as tar:
        packed.write(photos / "across" / "0.png")
        tar.add(photos / "across" / "0.png")
    said = cli(*(digits_run if each == "RUN" else each for each in arguments))
    assert said.code == 2
    assert message in said.err


def test_the_schema_refuses_other_output():
    with pytest.raises(jsonschema.ValidationError):
        check("data-check", {"format": 1})


def test_missing_fonts_are_one_line(cli, tmp_path, monkeypatch):
    monkeypatch.setattr("mlpconv.drawing.fonts._installed", lambda: frozenset({"DejaVu Sans"}))
    image_folders.create_classes(tmp_path / "d", {"猫": 8, "犬": 8, "鳥": 8})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        said = cli("data", "check", "d")
    assert said.code == 0
    assert said.err.count("no installed font has") == 1
    assert "missing from" not in said.err


def test_the_limit_of_pixels_is_chosen_and_kept(cli, tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 9, "b": 9})
    large = image_folders.save_image(root / "a" / "large.png", image_folders.random_pixels(99, 40, 30))
    said = cli("data", "check", root, "--max-pixels", "1000", "--json").json()
    (skipped,) = said["skipped"]
    assert skipped["path"] == "a/large.png"
    assert "1,200 pixels" in skipped["reason"]
    assert "--max-pixels 1200" in skipped["reason"]
    assert cli("data", "check", root, "--max-pixels", "1200", "--json").json()["skipped"] == []
    assert cli("data", "check", root, "--max-pixels", "1199", "--json").json()["skipped"] != []

    trained = cli("train", "--data", root, *QUICK, "--max-pixels", "1000", "--out", "run")
    assert trained.code == 0, trained.err
    assert json.loads((tmp_path / "run" / "config.json").read_text())["preprocess"]["max_pixels"] == 1000
    for command in ("predict", "explain"):
        said = cli(command, "run", large)
        assert said.code == 2
        assert "1,200 pixels, more than the limit of 1,000" in said.err
        said = cli(command, "run", large, "--max-pixels", "1200")
        assert said.code == 0, said.err
    assert cli("evaluate", "run", "--max-pixels", "1200").code == 0


def test_the_scale_of_deep_values_is_kept(cli, tmp_path):
    for index in range(18):
        values = np.random.default_rng(index).integers(0, 4096, (8, 8)).astype(np.uint16)
        values[0, 0] = 4095
        image_folders.save_image(tmp_path / "d" / "ab"[index % 2] / f"{index}.tif", values)
    trained = cli("train", "--data", "d", *QUICK, "--out", "run")
    assert trained.code == 0, trained.err
    assert "4,095 becomes white" in trained.out + trained.err
    assert mlpconv.Classifier("run").stored.preprocess.bits == 12
    exported = mlpconv.Classifier("run/weights.safetensors")
    first, second = Path("d/a/0.tif"), Path("8bit.png")
    values = np.asarray(Image.open(first))
    image_folders.save_image(second, (values >> 4).astype(np.uint8))
    for classifier in (mlpconv.Classifier("run"), exported):
        one, other = classifier.predict([first, second])
        assert one.top == other.top
    assert cli("evaluate", "run").code == 0
