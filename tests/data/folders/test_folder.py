"""A folder of images: layouts, splits, the cache, and everything that can be wrong with it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.folders import workers
from mlpconv.data.folders.cache import clean
from mlpconv.data.folders.folder import FolderOptions, scan_folder
from mlpconv.data.folders.listing import list_folder
from mlpconv.data.folders.worker_jobs import ScanJob
from mlpconv.data.image import read_image
from mlpconv.data.memory_mapped import map_of
from mlpconv.errors import DataError
from support import image_folders
from support.image_folders import COLOUR, load, used


def reasons(loaded_or_folder):
    return {problem.path: problem.reason for problem in loaded_or_folder.problems}


def test_folders_of_classes_are_split_in_proportion(tmp_path):
    loaded = load(image_folders.create_classes(tmp_path / "pets", {"dog": 40, "cat": 20}))
    train, test = loaded.splits
    assert train.class_names == ("cat", "dog")
    assert (len(train), len(test)) == (51, 9)
    assert np.bincount(test.labels).tolist() == [3, 6]
    assert loaded.folder.notes == ["9 images held out for testing, each class in proportion (seed 0)"]
    assert train.name == f"{tmp_path / 'pets'}/train"


def test_the_pixels_are_those_of_the_files(tmp_path):
    root = image_folders.create_classes(tmp_path / "pets", {"dog": 5, "cat": 5})
    loaded = load(root)
    both = np.concatenate([part.images for part in loaded.splits])
    for image, (path, _, _) in zip(both, used(loaded), strict=True):
        np.testing.assert_array_equal(image, read_image(root / path, COLOUR))
    assert map_of(loaded.splits.train.images) is map_of(loaded.splits.test.images) is not None
    assert not loaded.splits.train.images.flags.writeable


def test_the_split_depends_only_on_files_and_seed(tmp_path):
    root = image_folders.create_classes(tmp_path / "a", {"dog": 20, "cat": 20})
    first, again, other = used(load(root)), used(load(root)), used(load(root, seed=1))
    assert first == again
    assert {path for path, _, split in first if split} != {path for path, _, split in other if split}
    with_more = used(load(root, validation=0.2))
    assert [split for _, _, split in with_more] == sorted(split for _, _, split in with_more)
    assert {path for path, _, split in with_more if split == 2} == {path for path, _, split in first if split == 2}
    assert sum(split == 1 for _, _, split in with_more) == 7


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "test"), {"train/a": 0, "train/b": 0, "test/a": 2, "test/b": 2}),
        (("train", "val"), {"train/a": 0, "train/b": 0, "val/a": 2, "val/b": 2}),
        (("Training", "valid", "Test"), {"Training/a": 0, "valid/b": 1, "Test/a": 2}),
    ],
)
def test_splits_that_the_folders_name(tmp_path, folders, expected):
    for number, name in enumerate(folders):
        image_folders.create_classes(tmp_path / "d" / name, {"a": 3, "b": 3}, 10 * number)
    found = {path.rpartition("/")[0]: split for path, _, split in used(load(tmp_path / "d"))}
    assert found.items() >= expected.items()


def test_images_at_any_depth_belong_to_their_class(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 4, "b": 4})
    image_folders.save_image(root / "a" / "more" / "still" / "x.png", 99)
    assert ("a/more/still/x.png", "a") in [each[:2] for each in used(load(root))]


def test_a_csv_list(tmp_path):
    root = image_folders.create_classes(tmp_path / "pool", {"p": 12})
    lines = [f"pool/p/{index:03}.png,{'xy'[index % 2]},{'test' if index > 7 else 'train'}" for index in range(12)]
    (tmp_path / "list.csv").write_text("\ufeffFile,Label,Split\n" + "\n".join(lines) + "\n")
    loaded = load(tmp_path / "list.csv")
    assert loaded.splits.train.class_names == ("x", "y")
    assert [len(part) for part in loaded.splits] == [8, 4]
    assert root.exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "columns path and label"),
        ("path,label\n", "lists no images"),
        ("path,label\nx.png,\n", "line 2: the label is missing"),
        ("path,label,split\nx.png,a,dev2\n", r"line 2: expected the split train, validation or test, received 'dev2'"),
    ],
)
def test_a_csv_list_that_cannot_be_used(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        list_folder(tmp_path / "list.csv")


@pytest.mark.parametrize("make", ["nothing", "empty", "loose"])
def test_a_folder_without_classes(tmp_path, make):
    root = tmp_path / "d"
    if make != "nothing":
        root.mkdir()
    if make == "loose":
        image_folders.save_image(root / "x.png")
    with pytest.raises(DataError, match="there is no such folder" if make == "nothing" else "no images in folders"):
        scan_folder(root)


# Faults 27 to 32.


def test_every_unusable_file_is_skipped_with_its_reason(tmp_path):
    expected = image_folders.create_unusable_files(tmp_path / "d")
    loaded = load(tmp_path / "d")
    found = reasons(loaded)
    assert found.keys() == expected.keys()
    for path, reason in expected.items():
        assert reason in found[path], path
    assert loaded.splits.train.class_names == ("a", "b")
    assert len(loaded.rows) == 24
    both = np.concatenate([part.images for part in loaded.splits])
    for image, (path, _, _) in zip(both, used(loaded), strict=True):  # the gap that the cut file left is closed
        np.testing.assert_array_equal(image, read_image(tmp_path / "d" / path, COLOUR))


def test_strict_refuses_and_names(tmp_path):
    image_folders.create_unusable_files(tmp_path / "d")
    with pytest.raises(DataError, match=r"(?s)--strict, and 12 files or folders cannot be used:\n.*notes\.txt"):
        scan_folder(tmp_path / "d", options=FolderOptions(strict=True))


def test_strict_refuses_what_only_decoding_finds(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    whole = image_folders.save_image(root / "a" / "cut.jpg", image_folders.random_pixels(7, 64, 64)).read_bytes()
    (root / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    folder = scan_folder(root, options=FolderOptions(strict=True))
    with pytest.raises(DataError, match=r"(?s)--strict.*\n  a/cut\.jpg: cannot be decoded"):
        folder.load(folder.preprocess(8, "squash"))


def test_links_out_of_the_folder_are_followed_if_asked_for(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 4, "b": 4})
    pool = image_folders.create_classes(tmp_path / "pool", {"c": 4}, 50)
    (root / "c").symlink_to(pool / "c", target_is_directory=True)
    assert scan_folder(root).class_names == ("a", "b")
    assert scan_folder(root, options=FolderOptions(follow_links=True)).class_names == ("a", "b", "c")


def test_a_single_class_is_named(tmp_path):
    image_folders.create_classes(tmp_path / "d", {"only": 5})
    with pytest.raises(DataError, match="has a single class, only"):
        scan_folder(tmp_path / "d")


def test_a_class_with_only_test_images_is_named(tmp_path):
    image_folders.create_classes(tmp_path / "d" / "train", {"a": 3, "b": 3})
    image_folders.create_classes(tmp_path / "d" / "test", {"a": 2, "new": 2}, 20)
    folder = scan_folder(tmp_path / "d")
    assert folder.class_names == ("a", "b")
    assert "its 2 files are skipped" in reasons(folder)["new"]


def test_a_class_without_readable_images_is_named(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    whole = image_folders.save_image(root / "x.jpg", image_folders.random_pixels(7, 64, 64)).read_bytes()
    (root / "x.jpg").unlink()
    for index in range(4):
        (root / "c").mkdir(exist_ok=True)
        (root / "c" / f"{index}.jpg").write_bytes(whole[: -50 - index])
    folder = scan_folder(root)
    with pytest.raises(DataError, match=r"none of the training images of c can be decoded; the first: c/\d\.jpg"):
        folder.load(folder.preprocess(8, "squash"))


def test_class_names_in_any_script(tmp_path):
    names = ["кошка", "new\nline", "<script>alert(1)<script>", "e\u0301t\u00e9", "\u202egnp", "a,b\"c'"]
    for number, name in enumerate(names):
        image_folders.create_classes(tmp_path / "d", {name: 4}, 10 * number)
    image_folders.save_image(tmp_path / "d" / names[0] / os.fsdecode(b"\xff\xfe.png"), 99)
    loaded = load(tmp_path / "d")
    assert not loaded.problems
    assert set(loaded.splits.train.class_names) == {
        "кошка",
        "new\\nline",
        "<script>alert(1)<script>",
        "\u00e9t\u00e9",
        "\\u202egnp",
        "a,b\"c'",
    }
    assert len(loaded.rows) == 25


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become a user who may not read a file")
def test_a_file_without_read_permission_is_named():
    code = (
        "import os, sys, PIL.Image, numpy.random; from mlpconv.data.folders.folder import FolderOptions, scan_folder; "
        "PIL.Image.init(); "
        "os.setuid(65534); "
        "print(scan_folder(sys.argv[1], cache='/nonexistent').problems)"
    )
    # pytest's own directories can be entered by their owner alone.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        root = image_folders.create_classes(Path(place) / "d", {"a": 8, "b": 8})
        (root / "a" / "000.png").chmod(0)
        done = subprocess.run([sys.executable, "-c", code, str(root)], capture_output=True, text=True, check=False)
    assert "a/000.png', reason='cannot be read: Permission denied'" in done.stdout, done.stderr


# The cache.


def test_several_processes_give_what_one_gives(tmp_path, monkeypatch):
    root = image_folders.create_classes(tmp_path / "d", {"a": 12, "b": 12})
    alone = load(root).splits.train
    pixels = alone.images.copy()
    clean()
    monkeypatch.setattr(workers, "_MAX_FILES_IN_ONE_WORKER", 0)
    monkeypatch.setattr(workers, "FILES_PER_JOB", 5)
    monkeypatch.setattr("mlpconv.data.folders.cache.FILES_PER_JOB", 5)
    monkeypatch.setattr("mlpconv.data.folders.scan.FILES_PER_JOB", 5)
    monkeypatch.setattr(workers, "cpu_count", lambda: 2)
    together = load(root).splits.train
    np.testing.assert_array_equal(together.images, pixels)
    assert together.fingerprint() == alone.fingerprint()


def test_a_file_that_crashes_the_decoder_is_named(tmp_path, monkeypatch):
    root = image_folders.create_classes(tmp_path / "d", {"a": 4})
    bad = root / "a" / "002.png"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\nimport mlpconv.data.folders.worker_jobs as w\nold = w._scan\n"
        f"w._scan = lambda path, *rest: os._exit(9) if path == {str(bad)!r} else old(path, *rest)\n"
    )
    monkeypatch.setattr(sys, "path", [str(site), *sys.path])
    monkeypatch.setattr(workers, "_MAX_FILES_IN_ONE_WORKER", 0)
    files = [f"a/{index:03}.png".encode() for index in range(4)]
    ((_, results),) = workers.run_jobs([ScanJob(0, str(root), files)], 4)
    assert [file.error for file in results] == ["", "", workers.CRASHED, ""]


def test_gray_images_stay_gray_and_large_ones_are_resized(tmp_path):
    for number, name in enumerate("ab"):
        for index in range(4):
            image_folders.save_image(
                tmp_path / "d" / name / f"{index}.png", image_folders.random_pixels(10 * number + index, 20, 30)[..., 0]
            )
    folder = scan_folder(tmp_path / "d")
    assert not folder.colour
    assert folder.one_size == (20, 30)
    assert folder.typical_side == 20
    assert folder.load(folder.preprocess(12, "squash")).splits.train.image_shape == (12, 12, 1)
    # What is no larger than the network sees keeps its own size: it is enlarged on the device.
    assert folder.load(folder.preprocess(40, "squash")).splits.train.image_shape == (20, 30, 1)


def test_a_large_jpeg_is_decoded_at_reduced_size_with_equal_pixels(tmp_path):
    smooth = Image.fromarray(image_folders.random_pixels(3, 12, 16)).resize((1600, 1200), Image.Resampling.BICUBIC)
    path = image_folders.save_image(tmp_path / "large.jpg", smooth, quality=95)
    found = read_image(path, Preprocess(32, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1), source_size=(32, 32)))
    with Image.open(path) as whole:
        exact = np.asarray(whole.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - exact).max() <= 3


def test_paths_are_relative_to_any_directory(tmp_path, monkeypatch):
    image_folders.create_classes(tmp_path / "d", {"a": 4, "b": 4})
    monkeypatch.chdir(tmp_path)
    assert load(Path("d")).place == load(tmp_path / "d").place
