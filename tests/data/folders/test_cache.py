"""The cache of decoded images: nothing is decoded twice, damage and interruptions are noticed, and it stays bounded."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mlpconv.arch.preprocess import FITS
from mlpconv.data.folders import workers
from mlpconv.data.folders.cache import clean, entries
from mlpconv.data.folders.folder import scan_folder
from mlpconv.data.image import read_image
from mlpconv.errors import DataError
from support import image_folders
from support.image_folders import COLOUR, load, used


def test_images_are_decoded_once(tmp_path, monkeypatch):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    first = load(root)
    moved = root.rename(tmp_path / "moved")
    monkeypatch.setattr("mlpconv.data.folders.cache.run_jobs", None)  # nothing is decoded any more
    assert load(moved).place == first.place
    assert len(entries()) == 1


def test_images_of_another_split_are_copied_and_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("mlpconv.data.folders.cache.FILES_PER_JOB", 5)
    root = image_folders.create_classes(tmp_path / "d", {"a": 12, "b": 12})
    (root / "b" / "text.png").write_bytes(b"not an image")
    first = load(root)
    jobs = []

    def decode(given, count):
        jobs.extend(given)
        return run_jobs(given, count)

    run_jobs = workers.run_jobs
    monkeypatch.setattr("mlpconv.data.folders.cache.run_jobs", decode)
    image_folders.save_image(root / "a" / "new.png", 99)
    for options in ({"validation": 0.2}, {"seed": 3}, {"validation": 0.2, "seed": 4}):
        loaded = load(root, **options)
        assert loaded.place != first.place
        both = np.concatenate(
            [part.images for part in (loaded.splits.train, loaded.validation, loaded.splits.test) if part]
        )
        for image, (path, _, _) in zip(both, used(loaded), strict=True):
            np.testing.assert_array_equal(image, read_image(root / path, COLOUR))
    assert [len(job.files) for job in jobs] == [5]
    assert b"a/new.png" in jobs[0].files
    load(root, size=6)
    assert len(jobs) == 6


def test_a_damaged_entry_is_not_copied_from(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 12, "b": 12})
    for damage in (
        lambda place: os.truncate(place / "images.u8", 100),
        lambda place: os.truncate(place / "digests.u8", 33),
    ):
        damage(load(root).place)
        loaded = load(root, validation=0.2)
        for image, (path, _, _) in zip(loaded.splits.train.images, used(loaded), strict=False):
            np.testing.assert_array_equal(image, read_image(root / path, COLOUR))
        clean()


def test_a_changed_file_is_read_again(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    before = load(root)
    image_folders.save_image(root / "a" / "000.png", 500)
    after = load(root)
    assert after.place != before.place
    row = used(after).index(next(each for each in used(after) if each[0] == "a/000.png"))
    both = np.concatenate([part.images for part in after.splits])
    np.testing.assert_array_equal(both[row], image_folders.random_pixels(500))


def test_sizes_and_fits_have_separate_cache_entries(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    image_folders.save_image(root / "a" / "wide.png", image_folders.random_pixels(5, 10, 30))
    places = {load(root, size, fit).place for size, fit in ((6, "squash"), *((8, fit) for fit in FITS))}
    assert len(places) == 5
    assert len(clean()) == 5
    assert not entries()


def test_an_interruption_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "FILES_PER_JOB", 4)
    monkeypatch.setattr("mlpconv.data.folders.cache.FILES_PER_JOB", 4)
    root = image_folders.create_classes(tmp_path / "d", {"a": 16, "b": 16})
    folder = scan_folder(root)
    decoded = []

    def stop(what, done, total):
        decoded.append(done)
        if done >= 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        folder.load(folder.preprocess(8, "squash"), stop)
    assert decoded == [4, 8, 12]
    (part,) = entries()
    assert part.path.name.endswith(".part")
    again = []
    loaded = folder.load(folder.preprocess(8, "squash"), lambda what, done, total: again.append(done))
    assert again == [16, 20, 24, 28, 32]
    both = np.concatenate([each.images for each in loaded.splits])
    for image, (path, _, _) in zip(both, used(loaded), strict=True):
        np.testing.assert_array_equal(image, read_image(root / path, COLOUR))


def test_a_damaged_entry_is_decoded_again(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    place = load(root).place
    os.truncate(place / "images.u8", 100)
    assert load(root).splits.train.images[0].any()
    (place / "about.json").write_text(json.dumps({"errors": []}))
    assert load(root).splits.train.images[0].any()


def test_the_cache_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setenv("MLPCONV_CACHE_GB", "0.00001")
    first = load(image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})).place
    second = load(image_folders.create_classes(tmp_path / "e", {"a": 8, "b": 8}, 100)).place
    assert [entry.path for entry in entries()] == [second]
    assert not first.exists()
    monkeypatch.setenv("MLPCONV_CACHE_GB", "much")
    with pytest.raises(DataError, match="MLPCONV_CACHE_GB=much: expected a number"):
        load(image_folders.create_classes(tmp_path / "f", {"a": 8, "b": 8}, 200))


def test_a_full_disk_is_reported_before_decoding(tmp_path, monkeypatch):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    monkeypatch.setattr("mlpconv.data.folders.cache.shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match=r"the decoded images need .*, 1000 B are free; clear space"):
        load(root)


def test_processes_may_clean_at_the_same_time(tmp_path):
    for number in range(300):
        entry = tmp_path / "folders" / f"{number:032x}"
        entry.mkdir(parents=True)
        for name in ("a", "b", "c"):
            (entry / name).write_text(name)
    code = f"from mlpconv.data.folders.cache import clean; clean({str(tmp_path)!r})"
    cleaning = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[1] for process in cleaning] == [""] * 4
    assert not entries(tmp_path)
