"""Whatever a folder or list holds, it is read as images of classes, or refused in words: no crash, no hang."""

import csv
import io
import os
import resource
import shutil
import time
import warnings
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from mlpconv.data.folders.check import check
from mlpconv.data.folders.folder import FolderOptions, scan_folder
from mlpconv.errors import MlpconvError
from mlpconv.runs.data_files import save_data_files
from support.command_processes import FIRST_SEED, INPUTS
from support.damaged_files import damage

SECONDS, BYTES = 20, 1 << 30
MAX_FAILURES = 20
"""Failures after which a long test ends."""
WORDS = (
    "train", "test", "val", "validation", "Training", "TEST", "training_set", "test_set", "seg_train", "dev", "eval",
    "valid", "holdout", "fold1", "fold 2", "split", "data", "images", "train.zip", "entraînement", "训练", "テスト",
    "cat", "Cat", "CAT", "dog", "a", "b", "0", "1", "2", "10", "02", "-1", "class 1", "n01440764", "café", "cafe\u0301",
    ".hidden", ".thumbnails", "__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "$RECYCLE.BIN", "lost+found",
    " x", "x ", "x.", "con", "~", "a\nb", "a\rb", "a\tb", "a\x1b[31mb", "a,b", 'a"b', "a;b", "a|b", "=1+1", "<b>&amp;",
    "\u202eabc", "\ufeffabc", "ß", "SS", "ss", "İ", "i\u0307", "x" * 255, "é" * 127, "*", "[a]", "{b}", "%s", "{{7*7}}",
)  # fmt: skip
RAW = (b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", b"\xf0\x9f", b"a\xc3")
"""Names that are not text in UTF-8."""
ENDINGS = (
    ".png",
    ".jpg",
    ".JPG",
    ".jpeg",
    ".tif",
    ".gif",
    ".webp",
    ".heic",
    ".txt",
    ".png.jpg",
    "",
    ".",
    ".PNG ",
    ".json",
)
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp932", "gb18030", "utf-7")
COLUMNS = (
    ("path", "label"),
    ("path", "label", "split"),
    ("file_name", "class"),
    ("image_path", "Category", "fold"),
    ("id", "breed"),
    ("label", "path", "sha256"),
    ("path", "label", "split", "sha256"),
    ("path", "path", "label", "label"),
    ("a", "b"),
    ("path",),
    (),
)
SPLITS = ("", "train", "test", "val", "valid", "0", "1", "Train ", "other", "validation", "test\n")


def contents():
    """Pictures of every kind and size, damaged ones, and files that are none."""
    found = [b"", b"text", b"%!PS\n", b"\0" * 100]
    generator = np.random.default_rng(0)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F", "HSV"):
        for height, width in ((1, 1), (8, 8), (5, 60), (40, 3)):
            base = Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8))
            if mode == "I;16":
                image = Image.fromarray(generator.integers(0, 4096, (height, width), np.uint16))
            else:
                image = (base.convert("L") if mode in ("I", "F") else base).convert(mode)
            for format in ("PNG", "JPEG", "TIFF", "GIF"):
                file = io.BytesIO()
                try:
                    image.save(file, format)
                except (OSError, ValueError):  # a format without this mode
                    continue
                found.append(file.getvalue())
    return found


def any_name(draw):
    """A name of a file or folder, without its ending."""
    if draw.random() < 0.08:
        return os.fsdecode(draw.choice(RAW))
    return draw.choice(WORDS) if draw.random() < 0.8 else f"{draw.randrange(30)}"


def new_path(folder, draw, ending=""):
    """A path in a folder at which nothing is, or None."""
    name = os.fsdecode(os.fsencode(any_name(draw))[:240]) + ending
    path = folder / name
    return None if name in ("", ".", "..") or os.path.lexists(path) else path


def fill(folder, draw, pictures, depth=0):
    """Files, links and folders in a folder."""
    for _ in range(draw.choice((0, 1, 2, 4, 9)) if depth else draw.choice((0, 0, 1, 3))):
        path = new_path(folder, draw, draw.choice(ENDINGS))
        if path is None:
            continue
        match draw.randrange(40):
            case 0:
                path.symlink_to(draw.choice((".", "..", "nowhere", path.name, "/etc")))
            case 1:
                os.mkfifo(path)
            case kind:
                content = draw.choice(pictures)
                path.write_bytes(damage(content, draw) if kind < 6 else content)
    for _ in range(draw.choice((0, 1, 2, 3, 6)) if depth < draw.choice((1, 2, 3, 5)) else 0):
        path = new_path(folder, draw)
        if path is not None:
            path.mkdir()
            fill(path, draw, pictures, depth + 1)
    if depth == 0 and draw.random() < 0.3:  # the same folders in each folder, as in those of splits
        first, *others = [each for each in sorted(folder.iterdir()) if each.is_dir() and not each.is_symlink()] or [
            None
        ]
        for other in others:
            shutil.rmtree(other)
            shutil.copytree(first, other, copy_function=copy_file, symlinks=True)


def copy_file(source, target):
    """Copy a file, but not a pipe, which would wait for a writer."""
    if Path(source).is_file():
        shutil.copy(source, target)


def add_list(folder, draw):
    """A list of the files of a folder, and its path: right, wrong, or damaged."""
    right = draw.random() < 0.6
    columns = draw.choice(COLUMNS[:6] if right else COLUMNS)
    names = [os.path.relpath(path, folder) for path in sorted(folder.rglob("*")) if not path.is_dir()]
    if right:
        names = [name for name in names if name.isprintable()] or ["photo.png"]
        Image.new("RGB", (9, 9)).save(folder / "photo.png")
    else:
        names += ["missing.png", "../outside.png", "/etc/passwd", "", "~/x.png", "https://example.org/x.png"]
    labels = [draw.choice(WORDS) for _ in range(draw.choice((1, 2, 3)))] if right else WORDS
    rows = []
    for _ in range(draw.choice((0, 1, 5, 30, 60))):
        values = {
            "split": draw.choice(SPLITS[:3] if right else SPLITS),
            "fold": draw.choice(SPLITS[:3] if right else SPLITS),
            "sha256": "" if right else draw.choice(("", "0" * 64, "x")),
        }
        for column in columns:
            if column not in values:
                is_path = column in ("path", "file_name", "image_path", "id")
                values[column] = draw.choice(names) if is_path else draw.choice(labels)
                if not right and draw.random() < 0.05:
                    values[column] = draw.choice(("", " ", "x" * 200_000, "\0", '"'))
        rows.append([values[column] for column in columns][: 99 if right else draw.choice((99, 99, 99, 1))])
    text = io.StringIO(newline="")
    if draw.random() < 0.1:
        text.write(draw.choice(("sep=;\n", "\n\n", "# a comment\n")))
    writer = csv.writer(text, delimiter=draw.choice(",,,;\t|"), lineterminator=draw.choice(("\n", "\r\n", "\r")))
    writer.writerows([columns, *rows] if right or draw.random() < 0.9 else rows)
    encoding = draw.choice(ENCODINGS) if draw.random() < (0.1 if right else 0.4) else "utf-8"
    errors = "surrogateescape" if encoding == "utf-8" else "replace"
    content = text.getvalue().encode(encoding, errors)
    path = folder / "list.csv"
    if not path.is_dir():
        path.unlink(missing_ok=True)
        path.write_bytes(damage(content, draw) if not right and draw.random() < 0.3 else content)
    return path


def use(path, draw, cache, out):
    """Do with a folder or list what training and `data check` do; None, or the words in which it was refused."""
    options = FolderOptions(strict=draw.random() < 0.1, follow_links=draw.random() < 0.2)
    try:
        folder = scan_folder(path, validation=draw.choice((0.0, 0.2)), options=options, cache=cache)
        preprocess = folder.preprocess(8, draw.choice(("squash", "crop", "pad")))
        loaded = folder.load(preprocess)
        check(loaded, preprocess, "a network")
        out.mkdir()
        save_data_files(out, loaded)
        again = folder.load(preprocess)
        listed = scan_folder(out / "split.csv", cache=cache).load(preprocess)
    except MlpconvError as error:
        return str(error)
    finally:
        shutil.rmtree(out, ignore_errors=True)
    assert len(loaded.rows) == sum(map(len, loaded.splits)) + len(loaded.validation or ())
    assert set(loaded.splits.train.labels.tolist()) <= set(range(len(folder.class_names)))
    for before, after, same in zip(loaded.splits, again.splits, listed.splits, strict=True):
        np.testing.assert_array_equal(before.images, after.images)
        np.testing.assert_array_equal(before.images, same.images)
        assert before.class_names == same.class_names
        np.testing.assert_array_equal(before.labels, same.labels)
    return None


def test_any_folder_or_list_is_read_or_refused_in_words(tmp_path, faults):
    pictures, failed = contents(), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for seed in range(FIRST_SEED, FIRST_SEED + INPUTS // 2):
        draw = Random(seed)
        root = tmp_path / "root"
        root.mkdir()
        fill(root, draw, pictures)
        paths = [root, add_list(root, draw)]
        for path in paths:
            started = time.monotonic()
            try:
                with faults, warnings.catch_warnings():
                    warnings.simplefilter("error")
                    said = use(path, draw, tmp_path / "cache", tmp_path / "out")
                    assert time.monotonic() - started < SECONDS
                    assert said is None or (10 < len(said) < 20_000 and said.replace("\n", "").isprintable()), said
            except Exception as error:
                failed.append(f"seed {seed}: {path.name}: {error!r}")
        shutil.rmtree(root)
        shutil.rmtree(tmp_path / "cache", ignore_errors=True)
        if len(failed) >= MAX_FAILURES:
            break
    assert not failed, "\n".join(failed)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < BYTES
