"""How few photographs are measured: folders from packages, splits, and the pictures that the other network sees."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn")
pytest.importorskip("torch")

from measure_photos import _copied, draw, on_white, resources

from support import image_folders


def test_transparent_pixels_are_white():
    image = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 255, 255))
    pixels = np.asarray(on_white(image))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [0, 0, 255]


def test_a_fifth_of_each_class_is_tested_and_splits_differ(tmp_path):
    files = {name: [tmp_path / f"{name}{number}" for number in range(20)] for name in ("a", "b")}
    first, second = (draw(files, split, 0) for split in (0, 1))
    for rows in (first, second):
        assert sorted(path for path, _, _ in rows) == sorted(path for paths in files.values() for path in paths)
        assert [sum(row[1:] == (name, "test") for row in rows) for name in files] == [4, 4]
    assert first != second
    assert first == draw(files, 0, 0)


def test_of_a_data_set_with_test_images_so_many_of_a_class_are_learned(tmp_path):
    files = {f"{split}/{name}": [tmp_path / f"{split}{name}{number}" for number in range(300)]
             for split in ("train", "test") for name in ("a", "b")}  # fmt: skip
    rows = draw(files, 0, 50)
    counts = [sum(row[1:] == (name, split) for row in rows) for split in ("train", "test") for name in ("a", "b")]
    assert counts == [50, 50, 200, 200]


def test_files_of_one_name_are_copied_into_a_folder_for_each_class(tmp_path):
    files = {}
    for name, seed in (("a", 0), ("b", 1)):
        files[name] = [tmp_path / f"source-{name}" / str(number) / "same.png" for number in range(2)]
        for number, path in enumerate(files[name]):
            image_folders.save_image(path, image_folders.random_pixels(10 * seed + number, 8, 8))
    copies = _copied(tmp_path / "folder", files)
    assert len({path for paths in copies.values() for path in paths}) == 4
    for name, paths in copies.items():
        assert [path.parent for path in paths] == [tmp_path / "folder" / name] * 2
        assert [path.read_bytes() for path in paths] == [path.read_bytes() for path in files[name]]
    assert _copied(tmp_path / "folder", files) == copies


def test_resources_of_qt_are_unpacked():
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
