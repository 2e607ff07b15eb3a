"""Skipped files grouped by kind: real files of each kind, and the reasons that reading them gives."""

import gzip
import io
import tarfile
import zipfile

import pytest
from PIL import Image

from mlpconv.data.folders.folder import scan_folder
from mlpconv.data.folders.listed import Problem
from mlpconv.data.folders.remedies import KINDS, OTHER, by_kind, kind_of
from support import image_folders

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200)
MP4 = b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41" + bytes(200)


def packed_zip():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        file.writestr("a.jpg", "x")
    return content.getvalue()


def packed_tar():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.jpg"))
    return content.getvalue()


CONTENTS = {
    "logo.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "drawings"),
    "really an svg.png": (b"<svg/>", "drawings"),
    "print.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "drawings"),
    "print.jpg": (b"%!PS-Adobe-3.0\n", "drawings"),
    "raw.cr3": (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "raw files of cameras"),
    "CLIP.MP4": (MP4, "videos"),
    "movie.mov": (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "videos"),
    "voice.m4a": (MP4, "sound files"),
    "paper.pdf": (b"%PDF-1.7\n", "documents"),
    "paper.jpg": (b"%PDF-1.7\n", "documents"),
    "letter.docx": (packed_zip(), "documents"),
    "layers.psd": (b"8BPS\0\1" + bytes(100), "documents of image editors"),
    "more.zip": (packed_zip(), "archives"),
    "more.tar.gz": (gzip.compress(packed_tar()), "archives"),
    "scan.dcm": (bytes(128) + b"DICM" + bytes(100), "scientific images and arrays"),
    "scan.png": (bytes(128) + b"DICM" + bytes(100), "scientific images and arrays"),
    "notes.txt": (b"notes", "texts, tables and programs"),
    "data.xml": (b"<?xml version='1.0'?><a/>", "texts, tables and programs"),
    "failed.jpg": (b"<!doctype html><title>404 Not Found</title>", "files with the name of a picture that are none"),
    "empty.jpg": (b"", "empty files"),
    "what.ever": (b"what", "other files"),
    "nameless": (b"what", "other files"),
}


def test_every_kind_of_file_is_recognized(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 12, "b": 12})
    expected = {}
    for name, (content, kind) in CONTENTS.items():
        (root / "a" / name).write_bytes(content)
        expected[f"a/{name}"] = kind
    found = by_kind(scan_folder(root).problems)
    assert {problem.path: kind.name for kind in found for problem in kind.problems} == expected
    assert [len(kind.problems) for kind in found] == sorted((len(kind.problems) for kind in found), reverse=True)
    assert all(kind.remedy for kind in found)


def test_heic_pictures_are_recognized(tmp_path):
    assert kind_of(Problem("a.jpg", "a HEIC picture, which needs another package")).name == "HEIC pictures"
    pytest.importorskip("pillow_heif", reason="HEIC needs the package pillow-heif")
    root = image_folders.create_classes(tmp_path / "d", {"a": 12, "b": 12})
    (root / "a" / "IMG_1.HEIC").write_bytes(HEIC)
    (root / "a" / "IMG_2.jpg").write_bytes(HEIC)
    (kind,) = by_kind(scan_folder(root).problems)
    assert (kind.name, len(kind.problems)) == ("damaged pictures", 2)


KINDS_OF_UNUSABLE = {
    "a/notes.txt": "texts, tables and programs",
    "a/empty.jpg": "empty files",
    "a/bomb.png": "pictures that are too large",
    "b/cut.jpg": "damaged pictures",
    "nothing": "classes without usable images",
    "text only": "classes without usable images",
    "b/loop": "links",
    "b/back": "links",
    "b/gone.png": "links",
    "b/out.png": "links",
    "b/pipe.png": "files that cannot be read",
    "stray.png": "files and folders outside the folders of classes",
}


def test_what_cannot_be_used_for_other_reasons_has_a_kind(tmp_path):
    reasons = image_folders.create_unusable_files(tmp_path / "d")
    folder = scan_folder(tmp_path / "d")
    problems = folder.load(folder.preprocess(8, "squash")).problems
    kinds = {problem.path: kind_of(problem).name for problem in problems}
    assert {path: kinds.get(path) for path in KINDS_OF_UNUSABLE} == KINDS_OF_UNUSABLE
    assert OTHER.name not in kinds.values()
    assert set(reasons) <= set(kinds)


def test_files_of_other_splits_and_lists_have_a_kind(tmp_path):
    root = image_folders.create_classes(tmp_path / "d" / "train", {"a": 4, "b": 4})
    image_folders.create_classes(tmp_path / "d" / "test", {"a": 2, "c": 2}, start=50)
    Image.new("LAB", (8, 8)).save(root / "a" / "lab.tif")
    kinds = {kind.name for kind in by_kind(scan_folder(tmp_path / "d").problems)}
    assert "classes that the training set lacks" in kinds
    rows = [f"train/a/{k:03}.png,a" for k in range(5)] + [f"train/b/{k:03}.png,b" for k in range(4)]
    (tmp_path / "d" / "list.csv").write_text("path,label\n" + "\n".join(rows) + "\n")
    (kind,) = by_kind(scan_folder(tmp_path / "d" / "list.csv").problems)
    assert (kind.name, [each.path for each in kind.problems]) == ("files that cannot be read", ["train/a/004.png"])


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_suffix_has_two_kinds(kind):
    assert kind.reason or kind.suffixes
    others = [suffix for other in KINDS if other is not kind for suffix in other.suffixes.split()]
    assert set(kind.suffixes.split()).isdisjoint(others)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in kind.suffixes.split())
