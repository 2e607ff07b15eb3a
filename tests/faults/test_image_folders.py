"""Cases 27 to 33: any file in a folder of images or in an archive is converted, reported or refused."""

import csv
import html
import io
import json
import os
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data import dataset_source
from mlpconv.data.folders.folder import scan_folder
from support import image_folders
from support.command_processes import training_arguments

LITTLE_MEMORY = """
import resource
has = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + (256 << 20), resource.RLIM_INFINITY))
"""


def checked(processes, root, **options):
    """The reason for every file that `data check` skips, by path, and the report."""
    done = processes.run("data", "check", root, "--json", "--out", root.parent / "sheet.png", **options)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    return {each["path"]: each["reason"] for each in report["skipped"]}, report


def refused(processes, *arguments):
    done = processes.run(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    return done.err


def test_27_files_that_are_not_images_or_empty(processes, tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 9, "b": 9})
    (root / "a" / "notes.txt").write_text("hello")
    (root / "a" / "empty.png").touch()
    (root / "b" / "half.png").write_bytes((root / "b" / "000.png").read_bytes()[:-40])
    said, report = checked(processes, root)
    assert said.keys() == {"a/notes.txt", "a/empty.png", "b/half.png"}
    assert sum(report["images"].values()) == 18
    (root / "b" / "half.png").unlink()
    for command in (("data", "check"), ("train", "--data")):
        error = refused(processes, *command, root, "--strict")
        assert "a/notes.txt: not an image" in error
        assert "a/empty.png: an empty file" in error


def test_27_training_on_a_folder_with_every_kind_of_unusable_file(processes, tmp_path):
    expected = image_folders.create_unusable_files(tmp_path / "odd")
    image_folders.create_images_to_convert(tmp_path / "odd" / "a")
    done = processes.run(
        *training_arguments(tmp_path, data=tmp_path / "odd", model="nin_28", epochs=1), "--out", tmp_path / "run"
    )
    assert done.code == 0, done.err
    with (tmp_path / "run" / "skipped.csv").open(newline="") as file:
        skipped = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert skipped.keys() == expected.keys()
    page = html.unescape((tmp_path / "run" / "report.html").read_text())
    for path, reason in skipped.items():
        assert expected[path] in reason
        assert f'">{path}</th><td class="wrap">{reason}</td>' in page


def test_28_a_bomb_is_refused_before_it_is_decoded(processes, tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 9, "b": 9})
    Image.new("1", (30_000, 30_000)).save(root / "a" / "bomb.png")
    assert (root / "a" / "bomb.png").stat().st_size < 1 << 20
    said, _ = checked(processes, root, program=LITTLE_MEMORY)
    assert said["a/bomb.png"].startswith("refused before decoding: 900,000,000 pixels")


def test_29_every_kind_of_image_gives_the_documented_pixels(tmp_path):
    colours = image_folders.random_pixels(7, 8, 8)
    grey = colours[..., 0]
    cyan = np.full((8, 8, 4), (255, 0, 0, 0), np.uint8)
    turned = Image.Exif()
    turned[0x0112] = 6  # the first row is seen at the right
    palette = Image.fromarray(colours).quantize(16)
    alpha = np.dstack([colours, np.full((8, 8), 255, np.uint8)])
    alpha[:4, :, 3] = 0
    made = {
        "alpha.png": (Image.fromarray(alpha), {}, np.where(alpha[..., 3:] > 0, colours, 255)),
        "cmyk.tif": (Image.fromarray(cyan, "CMYK"), {}, np.full((8, 8, 3), (0, 255, 255))),
        "deep.png": (Image.fromarray(grey.astype(np.uint16) << 8 | 0xAB), {}, grey[..., None].repeat(3, 2)),
        "grey.png": (Image.fromarray(grey), {}, grey[..., None].repeat(3, 2)),
        "moving.png": (
            Image.fromarray(colours),
            {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]},
            colours,
        ),
        "palette.png": (palette, {}, np.asarray(palette.convert("RGB"))),
        "turned.png": (Image.fromarray(colours), {"exif": turned}, np.rot90(colours, -1)),
    }
    for name, (image, options, _) in made.items():
        image_folders.save_image(tmp_path / "d" / "train" / "a" / name, image, **options)
    image_folders.create_classes(tmp_path / "d", {"train/b": 2, "test/a": 1, "test/b": 1})
    folder = scan_folder(tmp_path / "d")
    found = folder.load(Preprocess(8, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1), source_size=(8, 8)))
    assert not found.problems
    for (name, (_, _, expected)), pixels in zip(made.items(), found.splits.train.images, strict=False):
        np.testing.assert_array_equal(pixels, expected, name)


def test_30_an_empty_class_and_a_single_class(processes, tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 9, "b": 9})
    (root / "c").mkdir()
    assert checked(processes, root)[0] == {"c": "the folder of a class, without files"}
    image_folders.create_classes(tmp_path / "one", {"only": 9})
    assert "has a single class, only; expected two or more" in refused(processes, "train", "--data", tmp_path / "one")


def test_31_circular_links_links_out_of_the_folder_and_special_files(processes, tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 9, "b": 9})
    (root / "a" / "circle").symlink_to("circle")
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    (root / "a" / "out.png").symlink_to(image_folders.save_image(tmp_path / "outside.png", 50))
    os.mkfifo(root / "b" / "pipe.png")
    said, report = checked(processes, root)
    assert {path: reason.partition(",")[0] for path, reason in said.items()} == {
        "a/circle": "a circular link",
        "a/up": "a link to a folder that was already read: the folder itself",
        "a/out.png": "a link out of the folder",
        "b/pipe.png": "not a regular file",
    }
    assert sum(report["images"].values()) == 18


def test_32_names_in_any_script(processes, tmp_path):
    names = ("<script>alert(1)<script>", "кошка", "new\nline", "a,b\"c'&amp;")
    root = image_folders.create_classes(tmp_path / "d", dict.fromkeys(names, 9))
    for name in ("<img src=x>.txt", os.fsdecode(b"\xff.txt")):
        (root / names[0] / name).write_text("x")
    done = processes.run(*training_arguments(tmp_path, data=root, model="nin_28", epochs=1), "--out", tmp_path / "run")
    assert done.code == 0, done.err
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<script>alert" not in page
    assert "<img src=x>" not in page
    for text in ("&lt;script&gt;alert(1)&lt;script&gt;", "кошка", "new\\nline", "&amp;amp;", "&lt;img src=x&gt;.txt"):
        assert text in page
    with (tmp_path / "run" / "split.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    assert all(os.path.exists(row["path"]) for row in rows)  # noqa: PTH110


@pytest.mark.parametrize("kind", ["tar up", "tar link", "zip up"])
def test_33_an_archive_with_paths_outside_is_refused(processes, tmp_path, kind):
    source = dataset_source("cifar10")
    path = tmp_path / source.archive.name
    if kind == "zip up":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr("../out.bin", b"x")
    else:
        with tarfile.open(path, "w:gz") as tar:
            info = tarfile.TarInfo("../out.bin" if kind == "tar up" else f"{source.archive.prefix}/x")
            info.type, info.linkname = (tarfile.SYMTYPE, "/etc/passwd") if kind == "tar link" else (tarfile.REGTYPE, "")
            tar.addfile(info, io.BytesIO())
    # As if it were the published one.
    trusting = "import mlpconv.data.known.download as fetch\nfetch.verify_archive = lambda archive, path: None\n"
    done = processes.run("data", "show", "cifar10", "--data-dir", tmp_path, program=trusting)
    assert done.code == 2
    assert f"{path}: refused: " in done.err
    assert not list(tmp_path.parent.rglob("out.bin"))
