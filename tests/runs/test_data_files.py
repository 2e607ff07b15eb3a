"""The lists of a run: what is written is read again, whatever the names are."""

import csv
import io
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpconv.data.folders.conflicts import find_conflicts
from mlpconv.data.folders.folder import scan_folder
from mlpconv.data.folders.names import class_name, is_leftover, split_of
from mlpconv.errors import RunError
from mlpconv.files import csv_line
from mlpconv.runs.data_files import CONFLICTS, read_conflicts, read_split, save_data_files
from support import image_folders

nasty = st.text("ab \t\r\n,;\"'\\=\u0301\u00e9e\u202e\x1b\x7fK\u212a|#", min_size=1, max_size=8)
file_names = st.one_of(nasty, st.binary(min_size=1, max_size=8).map(os.fsdecode)).filter(
    lambda name: "/" not in name and "\0" not in name and not is_leftover(name)
)
class_folders = nasty.filter(lambda name: not is_leftover(name) and split_of(name) is None)


@settings(max_examples=40)
@given(
    st.lists(class_folders, min_size=2, max_size=3, unique_by=lambda name: class_name(name).casefold()),
    st.lists(file_names, min_size=4, max_size=5, unique=True),
)
def test_a_split_is_read_as_it_was_written(tmp_path_factory, folders, names):
    place = tmp_path_factory.mktemp("names")
    for number, name in enumerate(folders):
        (place / "d" / name).mkdir(parents=True)
        for index, file in enumerate(names):
            image = image_folders.save_image(place / "image.png", 10 * number + index)
            shutil.move(image, place / "d" / name / file)
    folder = scan_folder(place / "d", validation=0.2)
    loaded = folder.load(folder.preprocess(8, "squash"))
    save_data_files(place, loaded)
    listing = read_split(place, folder.class_names, str(place / "d"))
    assert listing is not None
    assert (listing.root, listing.files) == (folder.root, folder.files)
    assert listing.classes == [folder.class_names[label] for label in folder.labels]
    assert set(listing.classes) == {class_name(name) for name in folders}
    assert listing.splits == [("train", "validation", "test")[split] for split in folder.splits]
    assert listing.digests == [row.tobytes() for row in folder.digests]
    again = scan_folder(place / "split.csv")
    assert again.class_names == folder.class_names
    assert [str(again.root / file) for file in again.files] == [str(folder.root / file) for file in folder.files]


@given(st.lists(st.text(), min_size=2))
def test_a_line_of_csv_is_read_as_it_was_written(cells):
    line = csv_line(cells)
    assert line.endswith("\n")
    assert list(csv.reader(io.StringIO(line, newline=""), strict=True)) == [cells]


def test_copies_in_different_classes_are_read_as_they_were_written(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a, b": 20, 'c"': 20})
    assert read_conflicts(tmp_path) == []
    shutil.copy(root / "a, b" / "003.png", root / 'c"' / "new\nline.png")
    folder = scan_folder(root)
    save_data_files(tmp_path, folder.load(folder.preprocess(8, "squash")))
    (found,) = read_conflicts(tmp_path)
    assert [found] == find_conflicts(folder)
    assert {found.path, found.copy} == {"a, b/003.png", 'c"/new\\nline.png'}
    for damage in ("path,label\na,b\n", "path,label,copy,copy_label,kind\na,b\n"):
        (tmp_path / CONFLICTS).write_text(damage)
        with pytest.raises(RunError, match=r"conflicts\.csv: damaged: .*; remove it to continue without it"):
            read_conflicts(tmp_path)
