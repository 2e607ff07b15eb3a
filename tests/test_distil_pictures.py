"""The pictures from which the start weights of `nin_photo` are distilled, and those that they are measured on."""

import struct
import zlib

import numpy as np
import pytest
from distil_pictures import SIDE, SOURCES, Source, files, on_white, pictures
from PIL import Image

from support import image_folders

MEASURED = ("tuxpaint-stamps-default", "gcompris-qt-data")


def source(**changes):
    return Source("some", "deb", "CC0-1.0", 6, least=8)._replace(**changes)


def test_nothing_is_measured_on_what_was_distilled_and_every_source_has_a_license():
    assert not {each.name for each in SOURCES} & set(MEASURED)
    assert all(each.license and each.pictures > 0 for each in SOURCES)
    assert len({each.name for each in SOURCES}) == len(SOURCES)


def test_no_test_image_of_cifar_10_is_taken(tmp_path):
    for split in ("train", "test"):
        image_folders.save_image(tmp_path / split / "cat" / "0.png", image_folders.random_pixels(1, 32, 32))
    found = files(source(kind="cifar10"), tmp_path)
    assert [path.relative_to(tmp_path).parts[0] for path in found] == ["train"]


def test_files_that_are_small_or_no_images_are_left_out(tmp_path):
    image_folders.save_image(tmp_path / "small.png", image_folders.random_pixels(1, 7, 40))
    image_folders.save_image(tmp_path / "large.png", image_folders.random_pixels(2, 8, 40))
    (tmp_path / "no.png").write_text("no image")
    (tmp_path / "link.png").symlink_to(tmp_path / "large.png")
    assert files(source(), tmp_path) == [tmp_path / "large.png"]


@pytest.mark.parametrize("crops", [False, True])
def test_pictures_are_square_and_the_same_each_time(tmp_path, crops):
    for index in range(3):
        image_folders.save_image(tmp_path / f"{index}.png", image_folders.random_pixels(index, 300, 400))
    first, second = (list(pictures(source(crops=crops), tmp_path)) for _ in range(2))
    assert len(first) == (6 if crops else 3)
    for (path, image), (other, again) in zip(first, second, strict=True):
        assert (path, image.tobytes()) == (other, again.tobytes())
        assert image.mode == "RGB"
        assert image.width == image.height <= SIDE


def test_transparent_pixels_are_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 255, 255))
    pixels = np.asarray(on_white(image))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [0, 0, 255]


def test_resources_of_qt_are_unpacked():
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    from measure_photos import resources

    contents = {"a.webp": b"first", "b.webp": zlib.compress(b"second" * 9)}
    names, data = b"", b""
    tree = struct.pack(">IHIIQ", 0, 2, 2, 1, 0)
    for number, (name, content) in enumerate(contents.items()):
        content = struct.pack(">I", 54) + content if number else content
        tree += struct.pack(">IHHHIQ", len(names), number, 0, 0, len(data), 0)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        data += struct.pack(">I", len(content)) + content
    start = 20
    header = b"qres" + struct.pack(">IIII", 2, start, start + len(tree), start + len(tree) + len(data))
    assert dict(resources(header + tree + data + names)) == {"/a.webp": b"first", "/b.webp": b"second" * 9}
