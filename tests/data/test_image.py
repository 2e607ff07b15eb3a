"""Image files of every kind become the pixels that a network learnt from, by documented rules; or a clear error."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.reference.images import squared
from mlpconv.data import ImageDataset
from mlpconv.data.image import (
    background,
    border_color,
    depth,
    fitting_preprocess,
    largest_value,
    looks_inverted,
    read_header,
    read_image,
)
from mlpconv.errors import DataError

GREY, COLOUR = Preprocess(8), Preprocess(8, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1))
RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
RAMP_BORDER = np.concatenate([RAMP[0], RAMP[-1], RAMP[1:-1, 0], RAMP[1:-1, -1]])


def coloured(height=6, width=8):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def luma(pixels):
    """What Pillow documents for RGB → L: ITU-R 601-2."""
    return np.asarray(pixels, float) @ (0.299, 0.587, 0.114)


def write(path, image, **options):
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def test_grey_and_colour(tmp_path):
    path = write(tmp_path / "grey.png", RAMP)
    np.testing.assert_array_equal(read_image(path, GREY), RAMP[..., None])
    np.testing.assert_array_equal(read_image(str(path), COLOUR), RAMP[..., None].repeat(3, 2))
    path = write(tmp_path / "colour.png", coloured())
    found = read_image(path, COLOUR)
    np.testing.assert_array_equal(found, coloured())
    assert found.dtype == np.uint8
    np.testing.assert_allclose(read_image(path, GREY)[..., 0], luma(coloured()), atol=1)


def test_a_palette(tmp_path):
    image = Image.fromarray(coloured()).quantize(256)
    path = write(tmp_path / "palette.png", image)
    with Image.open(path) as file:
        assert file.mode == "P"
    np.testing.assert_array_equal(read_image(path, COLOUR), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "1 of RGB"])
def test_transparent_pixels_become_white(tmp_path, mode):
    seen = np.zeros((6, 8), np.uint8)
    seen[2:4] = 255
    path = tmp_path / "image.png"
    if mode == "P":
        image = Image.new("P", (8, 6))
        image.putpalette([9, 9, 9, 40, 80, 120] + [0] * 762)
        image.putdata((seen // 255).ravel().tolist())
        image.save(path, transparency=0)
        colour = (40, 80, 120)
    elif mode == "1 of RGB":
        image = np.full((6, 8, 3), 9, np.uint8)
        image[2:4] = colour = (40, 80, 120)
        write(path, image, transparency=(9, 9, 9))
    else:
        colour = (40, 80, 120) if mode == "RGBA" else (40, 40, 40)
        base = Image.new(mode, (8, 6), (*colour, 0) if mode == "RGBA" else (40, 0))
        base.putalpha(Image.fromarray(seen))
        base.save(path)
    found = read_image(path, COLOUR)
    assert (found[:2] == 255).all()
    assert (found[4:] == 255).all()
    assert (found[2:4] == colour).all()


def test_half_transparent_is_mixed_with_white(tmp_path):
    path = write(tmp_path / "a.png", Image.new("RGBA", (8, 6), (0, 100, 200, 128)))
    np.testing.assert_allclose(read_image(path, COLOUR)[0, 0], [127, 177, 227], atol=1)


@pytest.mark.parametrize("name", ["deep.png", "deep.tif", "deep.pgm"])
def test_16_bits_become_8_by_their_upper_half(tmp_path, name):
    deep = (RAMP.astype(np.uint16) << 8) + 77
    path = tmp_path / name
    if name == "deep.pgm":
        path.write_bytes(b"P5 8 6 65535\n" + deep.astype(">u2").tobytes())
    else:
        write(path, deep)
    np.testing.assert_array_equal(read_image(path, GREY)[..., 0], RAMP)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize(("name", "kind"), [("deep.png", "<u2"), ("deep.tif", "<u2"), ("deep.tif", "<i4")])
def test_values_of_fewer_than_16_bits_become_8_by_the_bits_of_their_network(tmp_path, bits, name, kind):
    values = (np.arange(48).reshape(6, 8) * ((1 << bits) - 1) // 47).astype(kind)
    path = write(tmp_path / name, values)
    found = read_image(path, Preprocess(8, bits=bits))
    np.testing.assert_array_equal(found[..., 0], values >> (bits - 8))
    assert (found.min(), found.max()) == (0, 255)
    with path.open("rb") as file:
        assert read_header(file, "").deep
        file.seek(0)
        assert largest_value(file, "") == (1 << bits) - 1
    assert depth((1 << bits) - 1) == bits
    if bits > 8:
        with pytest.raises(DataError, match=rf"values up to {(1 << bits) - 1}, but .* {bits - 1} bits .* is white"):
            read_image(path, Preprocess(8, bits=bits - 1))


def test_big_images_are_converted_in_parts_without_seams(tmp_path, monkeypatch):
    alpha = np.random.default_rng(0).integers(0, 256, (60, 8, 4), dtype=np.uint8)
    deep = alpha[..., 0].astype(np.uint16) << 8
    paths = write(tmp_path / "alpha.png", alpha), write(tmp_path / "deep.png", deep)
    whole = [read_image(path, COLOUR) for path in paths]
    monkeypatch.setattr("mlpconv.data.image._PIXELS_OF_A_PART", 56)
    for path, expected in zip(paths, whole, strict=True):
        np.testing.assert_array_equal(read_image(path, COLOUR), expected)


def test_one_bit_and_cmyk(tmp_path):
    path = write(tmp_path / "bit.png", Image.fromarray(RAMP > 100))
    np.testing.assert_array_equal(read_image(path, GREY)[..., 0], np.where(RAMP > 100, 255, 0))
    image = Image.fromarray(coloured()).convert("CMYK")
    path = write(tmp_path / "cmyk.tif", image)
    np.testing.assert_array_equal(read_image(path, COLOUR), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["F", "I"])
def test_numbers_without_a_range_are_refused(tmp_path, mode):
    path = write(tmp_path / "numbers.tif", Image.fromarray(RAMP * 3000.0).convert(mode))
    with pytest.raises(DataError, match=r"numbers\.tif: .*; save the image with 8 or 16 bits per value"):
        read_image(path, GREY)


TURNED = [
    ("turned.png", {}),
    ("turned.webp", {"lossless": True}),
    ("turned.tif", {}),
    ("turned.tif", {"compression": "tiff_lzw"}),
]


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize(("name", "options"), TURNED)
def test_a_photo_is_turned_as_its_exif_data_says(tmp_path, turn, name, options):
    exif = Image.Exif()
    exif[0x0112] = turn
    path = write(tmp_path / name, RAMP, exif=exif, **options)
    upright = {
        1: RAMP,
        2: RAMP[:, ::-1],
        3: RAMP[::-1, ::-1],
        4: RAMP[::-1],
        5: RAMP.T,
        6: np.rot90(RAMP, -1),
        7: RAMP[::-1, ::-1].T,
        8: np.rot90(RAMP),
    }[turn]
    np.testing.assert_array_equal(read_image(path, GREY)[..., 0], upright)
    with path.open("rb") as file:
        header = read_header(file, "")
    assert (header.height, header.width) == upright.shape


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((6, 8), value, np.uint8)) for value in (30, 200)]
    path = tmp_path / "moving.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with Image.open(path) as file:
        assert file.n_frames == 2
    assert (read_image(path, GREY) == 30).all()


@pytest.mark.parametrize(
    ("fit", "expected"),
    [
        ("squash", RAMP),
        ("crop", RAMP[:, 1:7]),
        ("pad", np.pad(RAMP, [(1, 1), (0, 0)])),
        (
            "pad-border",
            np.pad(RAMP, [(1, 1), (0, 0)], constant_values=np.sort(RAMP_BORDER)[11]),
        ),
    ],
)
def test_an_image_is_made_square_by_the_fit_of_its_network(tmp_path, fit, expected):
    path = write(tmp_path / "a.png", RAMP)
    np.testing.assert_array_equal(read_image(path, Preprocess(8, fit=fit))[..., 0], expected)


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3])).flatmap(
        lambda shape: arrays(np.uint8, shape)
    )
)
def test_the_color_of_a_border_is_the_lower_median_of_its_pixels(images):
    _, height, width, channels = images.shape
    found = border_color(images)
    for image, color in zip(images, found, strict=True):
        edge = [
            image[row, column]
            for row in range(height)
            for column in range(width)
            if row in (0, height - 1) or column in (0, width - 1)
        ]
        assert color.tolist() == np.sort(edge, 0)[(len(edge) - 1) // 2].tolist()
        assert color.shape == (channels,)


@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 3])).flatmap(
        lambda shape: arrays(np.uint8, shape)
    )
)
def test_a_file_gets_the_border_that_the_back_ends_add(tmp_path_factory, pixels):
    path = write(tmp_path_factory.mktemp("border") / "a.png", pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    preprocess = Preprocess.of_channels(8, pixels.shape[2], fit="pad-border")
    np.testing.assert_array_equal(read_image(path, preprocess)[None], squared(pixels[None], preprocess))


def test_an_image_is_resized_to_the_size_of_the_training_images(tmp_path):
    path = write(tmp_path / "a.png", np.indices((60, 80)).sum(0).astype(np.uint8) % 2 * 255)
    found = read_image(path, Preprocess(8, source_size=(6, 10)))
    assert found.shape == (6, 10, 1)
    assert np.abs(found.astype(int) - 128).max() <= 16  # low-passed: a fine pattern becomes grey, no false stripes
    path = write(tmp_path / "small.png", RAMP[:2, :2])
    assert read_image(path, Preprocess(8, source_size=(28, 28))).shape == (28, 28, 1)


def png(width, height):
    """A PNG file that says it has that many pixels, and is a few bytes long."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 20_000, 60_000])
def test_a_bomb_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side, side))
    with pytest.raises(DataError, match=r"bomb\.png: refused before decoding: .*pixels"):
        read_image(path, GREY)


def sample(format):
    content = io.BytesIO()
    Image.fromarray(coloured(40, 30)).save(content, format)
    return content.getvalue()


FORMATS = {format: sample(format) for format in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")}


@pytest.mark.parametrize("format", FORMATS)
def test_every_usual_format_is_read(tmp_path, format):
    path = tmp_path / "image"
    path.write_bytes(FORMATS[format])
    found = read_image(path, COLOUR).astype(int)
    assert found.shape == (40, 30, 3)
    if format in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(found, coloured(40, 30))


@pytest.mark.parametrize("format", FORMATS)
def test_half_a_file_is_refused(tmp_path, format):
    path = tmp_path / "half"
    path.write_bytes(FORMATS[format][: len(FORMATS[format]) // 2])
    with pytest.raises(DataError, match=r"half: (cannot be decoded|not an image)"):
        read_image(path, GREY)


@given(st.sampled_from(list(FORMATS)), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=12))
def test_a_damaged_file_is_an_image_or_a_clear_error(tmp_path_factory, format, changes):
    content = bytearray(FORMATS[format])
    for place, value in changes:
        content[place % len(content)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(content)
    try:
        found = read_image(path, Preprocess(8, source_size=(4, 4)))
    except DataError as error:
        assert str(path) in str(error)  # noqa: PT017
    else:
        assert found.shape == (4, 4, 1)


@pytest.mark.parametrize("error", [RuntimeError("no colour"), TypeError("float"), EOFError(), struct.error("short")])
def test_whatever_a_decoder_raises_is_a_damaged_file(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    path = write(tmp_path / "a.png", RAMP)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
    with pytest.raises(DataError, match=rf"a\.png: cannot be decoded: {error}"):
        read_image(path, GREY)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"<svg/>"])
def test_a_file_that_is_not_an_image_is_refused(tmp_path, content):
    path = tmp_path / "text.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"text\.png: (not an image in a supported format|cannot be decoded)"):
        read_image(path, GREY)


def test_missing_files_and_directories_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: there is no such file"):
        read_image(tmp_path / "none.png", GREY)
    with pytest.raises(DataError, match=r"cannot be read: .*[Dd]irectory"):
        read_image(tmp_path, GREY)


def test_the_background_is_the_mean_of_the_outermost_pixels():
    images = np.zeros((2, 4, 5, 1), np.uint8)
    images[0, 1:-1, 1:-1] = 255
    assert background(images) == 0
    images[0, 0] = 255
    assert background(images) == pytest.approx(5 / 28)  # 14 outermost pixels an image
    assert background(np.full((1, 1, 1, 3), 51, np.uint8)) == pytest.approx(0.2)


def test_which_images_look_inverted():
    white, black = np.full((6, 6, 1), 255, np.uint8), np.zeros((6, 6, 1), np.uint8)
    assert looks_inverted(white, 0.05)
    assert looks_inverted(black, 0.95)
    assert not looks_inverted(white, 0.95)
    assert not looks_inverted(np.full((6, 6, 1), 120, np.uint8), 0.05)


def test_a_preprocess_is_derived_from_its_data_set():
    def dataset(channels):
        return ImageDataset(np.zeros((1, 5, 7, channels), np.uint8), np.zeros(1, np.int64), ("a",), "mine")

    found = fitting_preprocess(dataset(3), 32, fit="crop", mean=(0.1, 0.2, 0.3))
    assert found == Preprocess(32, "RGB", "crop", True, (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), (5, 7))
    assert fitting_preprocess(dataset(1), 32) == Preprocess(32, source_size=(5, 7))
    with pytest.raises(DataError, match=r"mine: expected images of 1 \(gray\) or 3 \(RGB\) channels, received 2"):
        fitting_preprocess(dataset(2), 32)


@pytest.mark.parametrize(("side", "exact"), [(200, True), (440, True), (1500, False)])
def test_a_part_of_the_size_of_a_jpeg_picture_is_nearly_the_whole(tmp_path, side, exact):
    """Other programs, such as browsers, decode the whole picture."""
    draw = np.random.default_rng(side)
    coarse = Image.fromarray(draw.integers(0, 256, (side // 5, side // 5, 3), dtype=np.uint8))
    image = coarse.resize((side, side), Image.Resampling.BICUBIC)
    image.save(tmp_path / "a.jpg", quality=90)
    with Image.open(tmp_path / "a.jpg") as file:
        whole = np.asarray(file.convert("RGB").resize((28, 28), Image.Resampling.BILINEAR)).astype(int)
    preprocess = Preprocess(28, "RGB", source_size=(28, 28), mean=(0.0,) * 3, std=(1.0,) * 3)
    found = read_image(tmp_path / "a.jpg", preprocess)
    difference = np.abs(found - whole)
    assert difference.max() == 0 if exact else np.mean(difference <= 1) > 0.99
