"""Folders and lists as listings: names of classes that would become one are refused."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.data.folders.listing import list_folder
from mlpconv.data.folders.names import class_name, is_leftover, split_of
from mlpconv.errors import DataError
from mlpconv.files import csv_line

# Characters that are escaped, what they are escaped to, and what composes: "e" and an accent, and the Kelvin sign.
names = st.text("e\u0301\u00e9K\u212a\n\\nx0a\x07u202e\u202e ", min_size=1, max_size=8).filter(
    lambda name: not is_leftover(name) and split_of(name) is None
)


@st.composite
def pairs(draw):
    """Two different names, often of the same class."""
    name = draw(names)
    other = draw(
        st.one_of(
            names,
            st.sampled_from([class_name(name), *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]),
        )
    )
    return name, other


def composed(name):
    return unicodedata.normalize("NFC", name)


def write(root, *folders):
    for folder in folders:
        (root / folder).mkdir(parents=True)
        (root / folder / "x.png").touch()
    return root


@given(pairs())
def test_folders_are_different_classes_or_refused(tmp_path_factory, pair):
    one, other = pair
    if one == other:
        return
    root = write(tmp_path_factory.mktemp("d"), one, other)
    if class_name(one) == class_name(other):
        with pytest.raises(DataError, match="would become one class") as error:
            list_folder(root)
        assert {ascii(one), ascii(other)} <= set(
            str(error.value).split("the folders ")[1].split(" would")[0].split(" and ")
        )
        return
    listing = list_folder(root)
    assert {file.rpartition("/")[0]: label for file, label in zip(listing.files, listing.classes, strict=True)} == {
        one: class_name(one),
        other: class_name(other),
    }


@given(pairs())
def test_splits_may_store_the_same_accents_in_different_ways(tmp_path_factory, pair):
    one, other = pair
    root = write(tmp_path_factory.mktemp("d"), f"train/{one}", f"test/{other}")
    if class_name(one) == class_name(other) and composed(one) != composed(other):
        with pytest.raises(DataError, match="characters that cannot be printed"):
            list_folder(root)
        return
    listing = list_folder(root)
    assert dict(zip(listing.splits, listing.classes, strict=True)) == {
        "train": class_name(one),
        "test": class_name(other),
    }


@given(pairs(), st.booleans())
def test_labels_are_different_classes_or_refused(tmp_path_factory, pair, split):
    one, other = (name.strip() for name in pair)
    if not one or not other:
        return
    root = tmp_path_factory.mktemp("d")
    for name in "ab":
        (root / name).touch()
    rows = [("path", "label", "split"), ("a", one, ""), ("b", other, "test" if split else "")]
    (root / "list.csv").write_bytes("".join(map(csv_line, rows)).encode())
    accepted = one == other or (split and composed(one) == composed(other))
    if class_name(one) == class_name(other) and not accepted:
        with pytest.raises(DataError, match=r"list\.csv, line \d+: the labels .* would become one class"):
            list_folder(root / "list.csv")
        return
    assert list_folder(root / "list.csv").classes == [class_name(one), class_name(other)]


def test_the_error_names_both_folders_and_what_to_do(tmp_path):
    root = write(tmp_path / "d", "train/caf\u00e9", "train/cafe\u0301", "train/dog")
    with pytest.raises(DataError) as error:
        list_folder(root)
    assert str(error.value) == (
        f"{root}: the folders 'train/cafe\\u0301' and 'train/caf\\xe9' would become one class, caf\u00e9: they differ "
        "only in how Unicode stores their characters (composed or decomposed); rename one of them, or put their files "
        "into one folder"
    )
    write(tmp_path / "e", "a\tb", "a\\tb")
    with pytest.raises(DataError, match=r"the folders 'a\\tb' and 'a\\\\tb' would become one class, a\\tb: .*escaped"):
        list_folder(tmp_path / "e")
