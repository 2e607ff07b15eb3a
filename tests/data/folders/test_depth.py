"""Values of more than 8 bits are scaled by one rule for the whole folder, which the trained network keeps."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mlpconv.data.folders.folder import scan_folder
from mlpconv.data.folders.workers import read_images
from mlpconv.errors import DataError
from support import image_folders


def create(root, largest, kind="<u2", suffix="tif"):
    """A folder of two classes whose largest value is in one of its images."""
    generator = np.random.default_rng(largest)
    for number in range(12):
        values = generator.integers(0, largest // 2 + 1, (8, 8)).astype(kind)
        values[0, 0] = largest if number == 5 else 0
        image_folders.save_image(root / "ab"[number % 2] / f"{number}.{suffix}", Image.fromarray(values))
    return root


def load(root, **options):
    folder = scan_folder(root, **options)
    return folder, folder.load(folder.preprocess(8, "squash"))


@settings(max_examples=40)
@given(
    st.integers(1, 65535),
    st.sampled_from([("<u2", "tif"), ("<u2", "png"), (">u2", "tif"), ("<i4", "tif")]),
)
def test_every_image_of_a_folder_has_the_same_scale(tmp_path_factory, largest, stored):
    root = create(tmp_path_factory.mktemp("d") / "d", largest, *stored)
    folder, loaded = load(root)
    bits = folder.bits
    assert largest < 1 << bits
    assert bits in (8, 10, 12, 14, 16)
    assert bits == 8 or largest >= 1 << (bits - 2)  # no image is darker than it must be
    pixels = np.concatenate([part.images for part in loaded.splits])
    for row, image in zip(loaded.rows.tolist(), pixels, strict=True):
        with Image.open(root / folder.files[row]) as file:
            np.testing.assert_array_equal(image[..., 0], np.asarray(file).astype(int) >> (bits - 8))
    files = [root / folder.files[row] for row in loaded.rows]
    np.testing.assert_array_equal(np.stack(read_images(files, folder.preprocess(8, "squash"))), pixels)
    assert any(f"use {bits} of them" in note for note in folder.notes) == (bits < 16)


def test_a_brighter_image_than_those_of_training_is_refused_in_words(tmp_path):
    folder, _ = load(create(tmp_path / "d", 4000))
    assert folder.bits == 12
    bright = image_folders.save_image(tmp_path / "bright.png", Image.fromarray(np.full((8, 8), 9000, np.uint16)))
    (found,) = read_images([bright], folder.preprocess(8, "squash"))
    assert isinstance(found, DataError)
    assert f"{bright}: has values up to 9000, but the training images had 12 bits per value, so 4095 is white" in str(
        found
    )


def test_images_of_8_bits_keep_their_values_beside_others(tmp_path):
    root = create(tmp_path / "d", 1000)
    plain = np.full((8, 8), 200, np.uint8)
    image_folders.save_image(root / "a" / "plain.png", plain)
    folder, loaded = load(root)
    pixels = np.concatenate([part.images for part in loaded.splits])
    rows = [folder.files[row] for row in loaded.rows]
    np.testing.assert_array_equal(pixels[rows.index("a/plain.png")][..., 0], plain)


def test_the_scale_is_found_again_from_what_was_read_before(tmp_path):
    root = create(tmp_path / "d", 1000)
    assert [scan_folder(root, cache=tmp_path / "cache").bits for _ in range(3)] == [10, 10, 10]


@pytest.mark.parametrize("value", [-1, 65536, 1 << 30, 0.5])
def test_values_without_a_known_white_are_refused(tmp_path, value):
    root = create(tmp_path / "d", 300)
    values = np.full((8, 8), value, np.float32 if isinstance(value, float) else np.int32)
    image_folders.save_image(root / "a" / "odd.tif", Image.fromarray(values))
    folder, _ = load(root)
    (problem,) = folder.problems
    assert problem.path == "a/odd.tif"
    assert "save the image with 8 or 16 bits per value" in problem.reason
    assert folder.bits == 10


def colors(root, largest):
    """PNG files of 16 bits per color, which Pillow reads but does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    for number in range(4):
        rows = np.zeros((8, 1 + 8 * 3 * 2), np.uint8)
        values = np.random.default_rng(number).integers(0, largest, (8, 24)).astype(">u2")
        values[0, 0] = largest
        rows[:, 1:] = values.view(np.uint8)
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0))
        pixels = chunk(b"IDAT", zlib.compress(rows.tobytes()))
        (root / "a" / f"color{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b""))


def test_colors_of_16_bits_that_would_be_almost_black_are_refused(tmp_path):
    root = image_folders.create_classes(tmp_path / "d", {"a": 8, "b": 8})
    colors(root, 4095)
    folder, _ = load(root)
    assert len(folder.problems) == 4
    assert all("use only the lower 12" in problem.reason for problem in folder.problems)
    colors(root, 65535)
    folder, loaded = load(root)
    assert not folder.problems
    assert len(loaded.rows) == 20
