"""A cleaned list: it is accepted as data, and has every picture once."""

import numpy as np
import pytest
from test_copies import CHANGES, picture, saved, write

from mlpconv.data.folders.check import find_near_copies
from mlpconv.data.folders.cleaned import cleaned_list
from mlpconv.data.folders.folder import scan_folder
from support import image_folders


def loaded(root):
    folder = scan_folder(root)
    return folder.load(folder.preprocess(16, "squash"))


def cleaned(root, place):
    found = cleaned_list(loaded(root), place.parent)
    place.write_bytes(found.content)
    return found, scan_folder(place)


@pytest.mark.parametrize("change", CHANGES)
def test_one_of_each_group_of_copies_is_kept(tmp_path, change):
    root = write(tmp_path / "d", 20, change)
    (root / "a" / "broken.png").write_bytes(saved(picture(3), "PNG")[:200])
    found, again = cleaned(root, tmp_path / "list.csv")
    assert (found.images, found.copies) == (40, 40)
    names = {file.removeprefix("d/").split(" ")[0].removesuffix(".png") for file in again.files}
    assert names == {f"{label}/{k}" for label in "ab" for k in range(20)}
    assert again.problems == []
    assert not len(again.near_pairs)
    # It has no split, so the split is drawn as of a folder.
    assert found.content.startswith(b"path,label,sha256\n")
    assert np.bincount(again.splits).tolist() == [34, 0, 6]


def test_the_largest_copy_of_the_class_of_most_copies_is_kept(tmp_path):
    root = write(tmp_path / "d", 20)
    image = picture(5)
    for label, name, side in (("b", "a.png", 300), ("a", "b.png", 80), ("a", "c.png", 120), ("a", "d.png", 100)):
        (root / label / name).write_bytes(saved(image.resize((side, side)), "PNG"))
    (root / "a" / "5.png").unlink()
    found, again = cleaned(root, tmp_path / "list.csv")
    assert found.copies == 3
    assert {"d/a/c.png", "d/b/a.png"} & set(again.files) == {"d/a/c.png"}


def test_splits_of_the_layout_are_kept_and_copies_in_the_test_set(tmp_path):
    root = image_folders.create_classes(tmp_path / "d" / "train", {"a": 20, "b": 20})
    test = image_folders.create_classes(tmp_path / "d" / "test", {"a": 5, "b": 5}, start=100)
    (root / "a" / "leak.png").write_bytes((test / "a" / "000.png").read_bytes())
    found, again = cleaned(tmp_path / "d", tmp_path / "list.csv")
    assert (found.images, found.copies) == (50, 1)
    assert "d/train/a/leak.png" not in again.files
    assert "d/test/a/000.png" in again.files
    assert np.bincount(again.splits).tolist() == [40, 0, 10]


@pytest.mark.parametrize("name", [" space ", "new\nline", 'quote",', "caf\u00e9", "\udcff"])
def test_names_of_any_kind_survive(tmp_path, name):
    root = image_folders.create_classes(tmp_path / "d", {"a": 12, "b": 12})
    (root / "a" / "000.png").rename(root / "a" / f"{name}.png")
    _, again = cleaned(root, tmp_path / "list.csv")
    assert f"d/a/{name}.png" in again.files
    assert len(again.files) == 24


def test_a_list_elsewhere_has_absolute_paths(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 12, "b": 12})
    (tmp_path / "other").mkdir()
    _, again = cleaned(root, tmp_path / "other" / "list.csv")
    assert again.files[0] == str(root / "a" / "000.png")
    (root / "a").rename(root / "c")
    inside, again = cleaned(root, root / "list.csv")
    assert again.files[0] == "b/000.png"
    assert inside.images == 24


def test_near_copies_are_grouped_and_equal_files_alone_are_not_near(tmp_path):
    root = write(tmp_path / "d", 20)
    (root / "a" / "near.jpg").write_bytes(CHANGES["poor.jpg"](picture(4)))
    (root / "a" / "same.png").write_bytes((root / "a" / "7.png").read_bytes())
    (group,) = find_near_copies(loaded(root))
    assert sorted(group.files) == ["a/4.png", "a/near.jpg"]
    assert group.labels == ["a", "a"]
