"""Copies of a picture, and splits that keep them on one side."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlpconv.data.folders.check import warnings
from mlpconv.data.folders.conflicts import Conflict, find_conflicts
from mlpconv.data.folders.copies import Pictures, equal_pairs, groups_of_copies, held_out_groups, near_pairs
from mlpconv.data.folders.folder import scan_folder
from support import image_folders


def picture(seed, side=96):
    """A picture with shapes of several sizes, as photos have, and not noise."""
    small = image_folders.random_pixels(seed, 6, 6)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def saved(image, kind, **options):
    data = io.BytesIO()
    image.save(data, kind, **options)
    return data.getvalue()


CHANGES = {
    "copy.png": lambda image: saved(image, "PNG"),
    "again.png": lambda image: saved(image, "PNG", compress_level=1),
    "copy.bmp": lambda image: saved(image, "BMP"),
    "good.jpg": lambda image: saved(image, "JPEG", quality=90),
    "poor.jpg": lambda image: saved(image, "JPEG", quality=30),
    "small.png": lambda image: saved(image.resize((60, 60)), "PNG"),
    "bright.png": lambda image: saved(image.point(lambda value: min(255, int(value * 1.05 + 5))), "PNG"),
}


def write(root, count, change=None):
    for number, name in enumerate("ab"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            image = picture(1000 * number + index)
            (root / name / f"{index}.png").write_bytes(saved(image, "PNG"))
            if change:
                (root / name / f"{index} {change}").write_bytes(CHANGES[change](image))
    return root


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_on_one_side(tmp_path, change):
    folder = scan_folder(write(tmp_path / "d", 20, change), validation=0.1)
    side = {}
    for file, split in zip(folder.files, folder.splits.tolist(), strict=True):
        side.setdefault(file.split(" ")[0].removesuffix(".png"), set()).add(split)
    assert len(side) == 40
    assert {len(sides) for sides in side.values()} == {1}
    assert np.bincount(folder.splits).tolist() == [62, 6, 12]
    assert folder.notes[-1].startswith("40 images are copies or near copies of others")


@pytest.mark.parametrize("change", CHANGES)
def test_copies_in_different_classes_are_found(tmp_path, change):
    root = write(tmp_path / "d", 20)
    (root / "b" / f"wrong {change}").write_bytes(CHANGES[change](picture(7)))
    (root / "a" / f"right {change}").write_bytes(CHANGES[change](picture(3)))
    folder = scan_folder(root)
    (found,) = find_conflicts(folder)
    kind = "equal" if change in ("copy.png", "again.png", "copy.bmp") else "near"
    expected = {("a/7.png", "a"), (f"b/wrong {change}", "b")}
    assert {found[:2], found[2:4]} == expected
    assert found.kind == kind
    assert "1 picture is in more than one class" in "\n".join(warnings(folder.load(folder.preprocess(8, "squash"))))


def test_a_picture_in_many_classes_is_a_conflict_for_each_of_them(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 20, "b": 20, "c": 20})
    for name in "bc":
        (root / name / "again.png").write_bytes((root / "a" / "000.png").read_bytes())
    found = find_conflicts(scan_folder(root))
    assert {each.kind for each in found} == {"equal"}
    assert {path for each in found for path in (each.path, each.copy)} == {"a/000.png", "b/again.png", "c/again.png"}
    assert all(each.label != each.copy_label for each in found)
    assert isinstance(found[0], Conflict)


def test_different_pictures_are_not_copies(tmp_path):
    folder = scan_folder(write(tmp_path / "d", 40))
    assert not len(folder.near_pairs)
    assert np.bincount(folder.splits).tolist() == [68, 0, 12]


def test_the_split_depends_on_contents_and_not_on_names(tmp_path):
    first = scan_folder(write(tmp_path / "d", 20))
    for index in range(20):
        (tmp_path / "d" / "a" / f"{index}.png").rename(tmp_path / "d" / "a" / f"{99 - index} renamed.png")
    second = scan_folder(tmp_path / "d")
    splits = [
        {digest.tobytes(): split for digest, split in zip(folder.digests, folder.splits.tolist(), strict=True)}
        for folder in (first, second)
    ]
    assert splits[0] == splits[1]


def test_leaks_of_the_users_own_split_are_reported(tmp_path):
    write(tmp_path / "d" / "train", 5)
    (tmp_path / "d" / "test").mkdir()
    for index, change in enumerate(CHANGES):
        for name in "ab":
            (tmp_path / "d" / "test" / name).mkdir(exist_ok=True)
            (tmp_path / "d" / "test" / name / change).write_bytes(
                CHANGES[change](picture(1000 * "ab".index(name) + index % 5))
            )
    folder = scan_folder(tmp_path / "d")
    found = warnings(folder.load(folder.preprocess(24, "squash")))
    assert "14 pictures are both in training and in validation or testing" in found[0]


def test_a_picture_in_two_classes_is_reported(tmp_path):
    root = write(tmp_path / "d", 8)
    (root / "b" / "same.png").write_bytes((root / "a" / "0.png").read_bytes())
    folder = scan_folder(root)
    (message,) = [text for text in warnings(folder.load(folder.preprocess(24, "squash"))) if "than one class" in text]
    assert "1 picture is in more than one class" in message


def test_a_class_of_which_all_images_look_alike_is_split(tmp_path):
    base = np.asarray(picture(1)).astype(int)
    for name in "ab":
        for index in range(30):
            noise = np.random.default_rng(index).integers(-3, 4, base.shape)
            pixels = np.clip(base + noise + 20 * (name == "b"), 0, 255).astype(np.uint8)
            image_folders.save_image(tmp_path / "d" / name / f"{index}.png", pixels)
    counts = np.bincount(scan_folder(tmp_path / "d").splits, minlength=3)
    assert counts[2] >= 4


labels_and_groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), min_size=2, max_size=60)


@given(labels_and_groups, st.floats(0.05, 0.6), st.integers(0, 5))
def test_whole_groups_are_held_out(rows, share, seed):
    labels, groups = np.array(rows).T
    digests = np.random.default_rng(0).integers(0, 256, (len(rows), 32), np.uint8)
    count = min(max(1, round(share * len(rows))), len(rows) - 1)
    held = held_out_groups(labels, groups, digests, count, seed)
    for group in np.unique(groups):
        assert len(set(held[groups == group].tolist())) == 1
    order = np.random.default_rng(1).permutation(len(rows))
    assert (held_out_groups(labels[order], groups[order], digests[order], count, seed) == held[order]).all()
    for label in np.unique(labels):
        if (labels == label).sum() > 1 and count <= len(rows) // 2:
            assert not held[labels == label].all()


@given(st.lists(st.integers(0, 3), min_size=2, max_size=60), st.floats(0.05, 0.9), st.integers(0, 5))
def test_without_copies_exactly_the_count_is_held_out(classes, share, seed):
    labels = np.array(classes)
    count = min(max(1, round(share * len(labels))), len(labels) - 1)
    digests = np.random.default_rng(0).integers(0, 256, (len(labels), 32), np.uint8)
    assert held_out_groups(labels, np.arange(len(labels)), digests, count, seed).sum() == count


def test_sixty_thousand_images_take_seconds():
    draw = np.random.default_rng(0)
    thumbnails = draw.integers(0, 256, (60_000, 256), np.uint8)
    thumbnails[30_000:30_100] = thumbnails[:100]
    pictures = Pictures(*(draw.integers(0, 256, (60_000, size), np.uint8) for size in (32, 16)), thumbnails)
    pairs = near_pairs(pictures)
    assert {tuple(pair) for pair in pairs.tolist()} == {(index, index + 30_000) for index in range(100)}
    assert not len(equal_pairs(pictures))
    assert len(np.unique(groups_of_copies(pictures, np.zeros(60_000, np.int64), pairs))) == 59_900
