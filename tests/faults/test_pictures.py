"""Whatever a picture file holds, a folder and a prediction use it or name it: no crash, no hang, no huge allocation."""

import io
import re
import resource
import shutil
import struct
import time
import warnings
import zlib
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from mlpconv.data.folders import workers
from mlpconv.data.folders.folder import scan_folder
from mlpconv.data.folders.workers import read_images
from mlpconv.data.picture_files import FORMATS
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Classifier
from mlpconv.inference.predictions import ImageFile, Unreadable, predict_files
from support.command_processes import FIRST_SEED, INPUTS

BATCH = min(INPUTS, 500)
SECONDS = 20
"""The most time that a file may take."""
BYTES = 1 << 30
"""The most memory that a process may take."""
MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "I;16",
    "F",
)
TIFF_COMPRESSIONS = ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg", "group4", "zstd", "lzma")
PNG_COLORS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The channels of each color type."""
BEGINNINGS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n{} loop\n",
    b"%PDF-1.7\n",
    b"GIF89a",
    b"\xff\xd8\xff\xe0",
    b"RIFF0000WEBPVP8 ",
    b"II*\0",
)
PIECES = (
    b"\xff" * 4,
    b"\0" * 4,
    b"\x7f\xff\xff\xff",
    b"\xff\xff\xff\x7f",
    b"\0\0\x40\0",
    b"\xff\xda",
    b"IDAT",
    b"\x40\0\0\0",
)


def picture(draw):
    """A Pillow image of any mode and a small size, with random pixels."""
    height, width = (draw.choice((1, 2, 7, 16, 33, 200)) for _ in range(2))
    mode = draw.choice(MODES)
    generator = np.random.default_rng(draw.getrandbits(32))
    if mode in ("I", "I;16", "F"):
        highest = 1 << draw.choice((8, 10, 12, 14, 16, 17, 31))
        values = generator.integers(0 if mode == "I;16" else -draw.randint(0, 1), highest, (height, width))
        return Image.fromarray(values.astype({"I": np.int32, "I;16": np.uint16, "F": np.float32}[mode]))
    base = Image.fromarray(generator.integers(0, 256, (height, width, 4), np.uint8), "RGBA")
    for through in ((), ("RGB",), ("RGBA",), ("LA",)):
        try:
            image = base
            for step in (*through, mode):
                image = image.convert(step)
        except ValueError:
            continue
        return image
    return Image.frombytes(
        mode, (width, height), draw.randbytes(width * height * len(Image.new(mode, (1, 1)).getbands()))
    )


def saved(draw):
    """A picture in any format that its mode, or else RGB, can be saved in."""
    image, format = picture(draw), draw.choice([name for name in FORMATS if name in Image.SAVE])
    options = {"compression": draw.choice(TIFF_COMPRESSIONS)} if format == "TIFF" else {}
    if format in ("JPEG", "PNG", "WEBP", "TIFF") and draw.random() < 0.3:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = draw.randint(0, 9)
    if format == "JPEG":
        options["progressive"] = draw.random() < 0.5
    for attempt in (image, None, Image.new("RGB", (9, 7), "red")):
        content = io.BytesIO()
        try:
            (attempt or image.convert("RGB")).save(content, format, **options)
        except Exception:  # a mode, size or option that the format does not have
            options = {}
            continue
        return content.getvalue()
    raise AssertionError(f"{format} cannot be written")


def png(draw):
    """A PNG file of any color type and depth, with texts, a profile or transparency."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    color = draw.choice(list(PNG_COLORS))
    depth = draw.choice({0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(color, (8, 16)))
    height, width = draw.randint(1, 40), draw.randint(1, 40)
    row = -(-width * PNG_COLORS[color] * depth // 8)
    rows = b"".join(bytes([draw.randint(0, 4)]) + draw.randbytes(row) for _ in range(height))
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))]
    if color == 3:
        parts.append(chunk(b"PLTE", draw.randbytes(3 << depth)))
    large = zlib.compress(bytes(draw.choice((10, 3 << 20))))
    for kind, data in (
        (b"zTXt", b"Comment\0\0" + large),
        (b"iCCP", b"profile\0\0" + large),
        (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x tiff:Orientation='6'/>"),
        (b"tRNS", draw.randbytes(draw.choice((1, 2, 6)))),
    ):
        if draw.random() < 0.3:
            parts.append(chunk(kind, data))
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def damaged(content, draw):
    """``content`` after it was cut, or bytes of it were changed, lost or put in."""
    content = bytearray(content)
    for _ in range(draw.choice((0, 1, 1, 3))):
        # Most bytes of a file are pixels; the headers are at its ends.
        first = draw.randint(0, min(len(content), draw.choice((60, 600, len(content)))))
        piece = draw.choice(PIECES) if draw.random() < 0.5 else draw.randbytes(draw.randint(1, 8))
        match draw.randrange(5):
            case 0:
                del content[first:]
            case 1:
                content[first:first] = piece
            case 2:
                del content[first : first + len(piece)]
            case _:
                content[first : first + len(piece)] = piece
    return bytes(content)


def any_file(draw):
    match draw.randrange(8):
        case 0:
            return draw.choice(BEGINNINGS) + draw.randbytes(draw.randint(0, 300))
        case 1 | 2:
            return damaged(png(draw), draw)
        case _:
            return damaged(saved(draw), draw)


def test_any_file_in_a_folder_and_in_a_prediction(whole, tmp_path, faults):
    classifier = Classifier(whole)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for batch in range(FIRST_SEED, FIRST_SEED - (-INPUTS // BATCH)):
        draw = Random(batch)
        root = tmp_path / str(batch)
        for label in ("a", "b"):
            (root / label).mkdir(parents=True)
            for index in range(6):
                pixels = np.random.default_rng(index + 10 * (label == "b")).integers(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(root / label / f"good{index}.png")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for index in range(BATCH):
                (root / "ab"[index % 2] / f"{index}.{draw.choice(('jpg', 'png', 'tif', 'x'))}").write_bytes(
                    any_file(draw)
                )
        started = time.monotonic()
        folder = scan_folder(root, cache=tmp_path / "cache")
        loaded = folder.load(folder.preprocess(8, "squash"))
        said = {problem.path: problem.reason for problem in loaded.problems}
        pixels = np.concatenate([part.images for part in loaded.splits])
        assert len(said) + len(pixels) == BATCH + 12
        assert all(len(reason) > 10 and "\n" not in reason for reason in said.values()), said
        used = [root / folder.files[row] for row in loaded.rows]
        for file, image, found in zip(used, pixels, read_images(used, folder.preprocess(8, "squash")), strict=True):
            with faults:
                np.testing.assert_array_equal(found, image, str(file))
        unused = read_images([root / path for path in said], folder.preprocess(8, "squash"))
        for path, found in zip(said, unused, strict=True):
            with faults:
                # Of colors of 16 bits, the folder decides together.
                assert isinstance(found, DataError) or "16 bits per color" in said[path]
        files = [ImageFile(str(root / path), True) for path in [*said, *folder.files]]
        predictions = list(predict_files(classifier, files))
        assert len(predictions) == len(files)
        assert sum(not isinstance(prediction, Unreadable) for prediction in predictions) >= 12
        assert time.monotonic() - started < SECONDS + BATCH / 10
        del loaded, pixels
        shutil.rmtree(root)
        shutil.rmtree(tmp_path / "cache")
    # Of the workers only: the processes that other tests have started count among the children, too.
    for worker in workers._kept:
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10 < BYTES
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < BYTES
