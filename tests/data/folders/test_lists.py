"""Lists of images as people and other programs write them."""

import pytest

from mlpconv.data.folders.listing import list_folder
from mlpconv.data.folders.lists import read_list
from mlpconv.errors import DataError
from support import image_folders

EXPECTED = [("a0.png", "Kätzchen"), ("a1.png", "dog"), ("b 2.png", "Kätzchen")]


@pytest.fixture
def place(tmp_path):
    for seed, (name, _) in enumerate(EXPECTED):
        image_folders.save_image(tmp_path / name, seed)
    return tmp_path / "list.csv"


def lines(titles=("path", "label"), separator=",", end="\n"):
    return end.join(separator.join(row) for row in (titles, *EXPECTED)) + end


def read(path, content, encoding="utf-8"):
    path.write_bytes(content.encode(encoding))
    listing = list_folder(path)
    return list(zip(listing.files, listing.classes, strict=True))


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separators_encodings_and_ends_of_lines(place, separator, encoding, end):
    assert read(place, lines(separator=separator, end=end), encoding) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused(place, encoding):
    with pytest.raises(DataError, match="zero bytes, as UTF-16"):
        read(place, lines(), encoding)


@pytest.mark.parametrize("encoding", ["latin1", "cp1252", "mac-roman"])
def test_other_encodings_are_refused_with_a_remedy(place, encoding):
    with pytest.raises(DataError, match=r"line 2: not text in UTF-8: byte 0x.*save it as CSV in UTF-8"):
        read(place, lines(), encoding)


@pytest.mark.parametrize("path", ["path", "file_name", "image_path", "filepath", "Filename", "Image ID", "img", "id"])
@pytest.mark.parametrize("label", ["label", "labels", "Class", "breed", "category_name", "target"])
def test_names_of_columns(place, path, label):
    assert read(place, lines((path, label))) == EXPECTED


def test_empty_rows_and_a_stated_separator(place):
    rows = lines(separator=";").splitlines()
    text = "\n".join(["sep=;", rows[0], "", ";", *rows[1:], ";;;", "  ", ""])
    assert read(place, text) == EXPECTED


def test_ids_without_a_suffix_and_foreign_separators(place):
    image_folders.save_image(place.parent / "in" / "x.jpg", 9)
    assert read(place, "id,breed\na0,dog\nin\\x.jpg,cat\nin\\x,cat\n") == [
        ("a0.png", "dog"),
        ("in/x.jpg", "cat"),
        ("in/x.jpg", "cat"),
    ]


def test_words_for_splits(place):
    place.write_text("path,label,split\na0.png,a,Training\na1.png,a,dev\nb 2.png,a,Test set\n")
    assert list_folder(place).splits == ["train", "validation", "test"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,label\nnone.png,a\nno.png,b\n",
            r"none of its 2 files exists; paths are relative to the directory of .*/",
        ),
        ("a0.png;dog\n", r"separated by comma, semicolon, tab, bar; received a0\.png, dog"),
        ("", "received nothing"),
        ("path;label\na0.png;\n", "line 2: the label is missing"),
        ("sep=;\npath;label\na0.png;\n", "line 3: the label is missing"),
        ('path,label\n"a0.png,a\n', "cannot be read as CSV"),
        ("path,label,sha256\na0.png,a,xyz\n", "line 2: expected a SHA-256"),
    ],
)
def test_what_cannot_be_read(place, text, message):
    with pytest.raises(DataError, match=message):
        read(place, text)


def test_a_list_with_digests_is_exact(place):
    place.write_bytes(b'path,label,split,sha256\n" a\xff.png","dog ",test,\n')
    listing = read_list(place)
    assert (listing.files, listing.classes, listing.splits) == ([" a\udcff.png"], ["dog "], ["test"])
