"""Which folders are splits, which are classes, and what is refused because it could be either."""

import pytest

from mlpconv.data.folders.folder import FolderOptions, scan_folder
from mlpconv.data.folders.listing import list_folder
from mlpconv.errors import DataError
from support import image_folders


def make(root, *folders, count=2):
    for number, folder in enumerate(folders):
        image_folders.create_classes(root, {folder: count}, 100 * number)
    return root


def found(root, **options):
    listing = list_folder(root, **options)
    return {(split, label) for split, label in zip(listing.splits, listing.classes, strict=True)}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train/train", "test/test"),
        ("train/images", "test/images"),
        ("訓練データ", "テストデータ"),
        ("训练集", "测试集"),
        ("Trainingsdaten", "Testdaten"),
        ("entraînement", "test"),
        ("entrenamiento", "pruebas"),
        ("train2017", "Test2017"),
    ],
)
def test_splits_are_recognized(tmp_path, train, test):
    make(tmp_path, f"{train}/a", f"{train}/b", f"{test}/a", f"{test}/b")
    assert found(tmp_path) == {(split, label) for split in ("train", "test") for label in "ab"}


@pytest.mark.parametrize("name", ["dev", "eval", "Validation"])
def test_validation_beside_train(tmp_path, name):
    make(tmp_path, "train/a", "train/b", "test/a", "test/b", f"{name}/a", f"{name}/b")
    assert ("validation", "a") in found(tmp_path)


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (("val/a", "val/b", "test/a", "test/b"), "there is no training split"),
        (("test/a", "test/b"), "there is no training split"),
        (("train", "test"), "their images are not in folders of classes"),
        (("alpha/a", "alpha/b", "beta/a", "beta/b"), "may be splits or classes"),
        (("alpha/a", "alpha/b", "alpha/c", "beta/a", "beta/b"), "may be splits or classes"),
        (("cats/train", "cats/test", "dogs/train", "dogs/test"), "the classes contain the splits"),
        (("train/a", "train/b", "kontrolle/a", "kontrolle/b"), "kontrolle contains folders of the same classes"),
        (("übung/a", "übung/b", "test/a", "test/b"), "test looks like a split that contains classes"),
        (("a", "b", "test/a", "test/b"), "test looks like a split that contains classes"),
        (("photos/a", "photos/b"), r"give that folder: .*/photos$"),
        (("data/photos/a", "data/photos/b"), r"give that folder: .*/data/photos$"),
        (("photos/train/a", "photos/train/b", "photos/test/a"), r"give that folder: .*/photos$"),
    ],
)
def test_what_is_unclear_is_refused(tmp_path, folders, message):
    with pytest.raises(DataError, match=message):
        list_folder(make(tmp_path, *folders))


def test_what_only_looks_like_a_split_is_a_class(tmp_path):
    make(tmp_path / "vehicles", "bus", "car", "train")
    assert found(tmp_path / "vehicles") == {("", "bus"), ("", "car"), ("", "train")}
    assert "train is taken as a class" in list_folder(tmp_path / "vehicles").notes[0]
    make(tmp_path / "parts", "valid", "invalid")
    assert found(tmp_path / "parts") == {("", "valid"), ("", "invalid")}
    make(tmp_path / "deep", "cat/2020", "dog/2021")
    assert found(tmp_path / "deep") == {("", "cat"), ("", "dog")}


def test_unlabeled_test_images_are_named(tmp_path):
    listing = list_folder(make(tmp_path, "train/a", "train/b", "test1"))
    assert set(listing.splits) == {"train"}
    assert [problem.path for problem in listing.problems] == ["test1/"]
    assert "mlpconv predict" in listing.problems[0].reason


def test_known_classes_are_classes(tmp_path):
    make(tmp_path, "train/x", "test/x")
    assert found(tmp_path, known_classes=("train", "test", "other")) == {("", "train"), ("", "test")}
    assert found(make(tmp_path / "one", "train/x/y", "train/x/z"), known_classes=("train",)) == {("", "train")}


def test_classes_that_differ_by_case(tmp_path):
    make(tmp_path / "apart", "train/Cat", "train/Dog", "test/cat", "test/dog")
    with pytest.raises(DataError, match="the class Cat of the training images is called cat in another split"):
        scan_folder(tmp_path / "apart")
    make(tmp_path / "together", "Cat", "cat", "dog", count=9)
    assert "Cat and cat are two classes, although" in " ".join(scan_folder(tmp_path / "together").notes)


def test_splits_without_a_common_class(tmp_path):
    make(tmp_path, "train/a", "train/b", "test/x", "test/y")
    with pytest.raises(DataError, match=r"no test image is of a class of the training images \(a, b\)"):
        scan_folder(tmp_path)


def test_number_folders_sort_as_numbers(tmp_path):
    assert scan_folder(make(tmp_path, *map(str, range(11)))).class_names == tuple(map(str, range(11)))


def test_what_systems_leave_behind_is_no_class(tmp_path):
    make(tmp_path, "a", "b", count=9)
    for name in ("@eaDir", ".@__thumb", "__MACOSX", "lost+found", "$RECYCLE.BIN", "a/@eaDir", "b/__MACOSX"):
        make(tmp_path, name)
    for name in ("Thumbs.db", "desktop.ini", "a/Thumbs.db", "b/.DS_Store"):
        (tmp_path / name).write_bytes(b"x")
    folder = scan_folder(tmp_path, options=FolderOptions(strict=True))
    assert folder.class_names == ("a", "b")
    assert len(folder.files) == 18


def test_folders_that_link_into_each_other(tmp_path):
    root = make(tmp_path / "d", "a", "b", count=9)
    other = make(tmp_path / "other", "x", "y", count=9)
    (root / "a" / "to b").symlink_to(root / "b")
    (root / "b" / "to a").symlink_to(root / "a")
    (root / "c").symlink_to(other / "x")
    (other / "x" / "back").symlink_to(root)
    (other / "x" / "y").symlink_to(other / "y")
    (other / "y" / "x").symlink_to(other)
    listing = list_folder(root, follow_links=True)
    counts = {label: listing.classes.count(label) for label in listing.classes}
    assert counts == {"a": 9, "b": 9, "c": 18}
    assert all(
        file.startswith("b/") for file, label in zip(listing.files, listing.classes, strict=True) if label == "b"
    )
    assert {problem.path for problem in listing.problems} >= {"a/to b", "b/to a"}


def test_a_class_that_is_a_link_within_the_folder(tmp_path):
    make(tmp_path, "pool/x", "train/b", "test/b", "test/a")
    (tmp_path / "train" / "a").symlink_to(tmp_path / "pool" / "x")
    assert ("train", "a") in found(tmp_path)
