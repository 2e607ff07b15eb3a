"""Only pictures are opened, never programs; within limits, and whatever else their files hold."""

import io
import os
import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.image import read_image
from mlpconv.data.picture_files import FORMATS
from mlpconv.errors import DataError

GRAY, COLOR = Preprocess(8), Preprocess(8, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1))
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 24 24\n%%EndComments\n{} loop\n%%EOF\n"


def png(*chunks, after=()):
    """A PNG file with these (kind, content) chunks before, and others after, the pixels."""
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, "PNG")
    whole = content.getvalue()
    header, rest = whole[:33], whole[33:]
    pack = [
        b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in each
        )
        for each in (chunks, after)
    ]
    return header + pack[0] + rest[:-12] + pack[1] + rest[-12:]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (POSTSCRIPT, "PostScript"),
        (b"\n " + POSTSCRIPT, "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(POSTSCRIPT)) + bytes(20) + POSTSCRIPT, "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<4h", 0, 0, 24, 24) + bytes(30), "metafile"),
        (b"\xef\xbb\xbf<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"SIMPLE  =                    T" + b" " * 2850, "FITS"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (bytes(128) + b"DICM" + bytes(100), "DICOM"),
        (b"GRIB" + bytes(3) + b"\x01" + bytes(100), ""),
        (b"BUFR" + bytes(100), ""),
    ],
)
@pytest.mark.parametrize("name", ["photo.jpg", "photo.eps"])
def test_what_is_not_a_picture_is_refused_and_not_run(tmp_path, monkeypatch, content, kind, name):
    for program in ("gs", "gswin64c"):
        (tmp_path / program).write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"photo\.\w+: not an image in a supported format.*{kind}"):
        read_image(tmp_path / name, GRAY)
    assert not (tmp_path / "started").exists()


def savable():
    Image.init()
    return [name for name in FORMATS if name in Image.SAVE]


@pytest.mark.parametrize("format", savable())
def test_every_format_is_read(tmp_path, format):
    image = Image.fromarray(np.full((16, 16, 3), (250, 120, 10), np.uint8))
    image.save(tmp_path / "a", format, **({"sizes": [(16, 16)]} if format == "ICO" else {}))
    np.testing.assert_allclose(read_image(tmp_path / "a", COLOR), np.asarray(image), atol=12)


LARGE = b"a" * (80 << 20)
TEXTS = {
    "a long text": [(b"tEXt", b"Comment\0" + LARGE[: 8 << 20])],
    "a text that is large once decompressed": [(b"zTXt", b"Comment\0\0" + zlib.compress(LARGE))],
    "many texts": [(b"zTXt", b"Comment\0\0" + zlib.compress(LARGE[: 1 << 20]))] * 70,
    "an international text": [(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(LARGE))],
    "a color profile": [(b"iCCP", b"profile\0\0" + zlib.compress(LARGE))],
    "a damaged text": [(b"zTXt", b"Comment\0\0nothing that zlib knows")],
}


@pytest.mark.parametrize("chunks", TEXTS.values(), ids=TEXTS)
def test_a_png_with_large_texts_is_a_good_picture(tmp_path, chunks):
    for name, content in (("before.png", png(*chunks)), ("after.png", png(after=chunks))):
        (tmp_path / name).write_bytes(content)
        np.testing.assert_array_equal(read_image(tmp_path / name, COLOR), PIXELS)
    content = png(*chunks)
    for end in (60, len(content) - 30):  # within the texts, within the pixels
        (tmp_path / "cut.png").write_bytes(content[:end])
        with pytest.raises(DataError, match=r"cut\.png: (cannot be decoded|not an image)"):
            read_image(tmp_path / "cut.png", COLOR)


def test_the_orientation_in_an_xmp_text_counts(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
    info.add_text("Comment", "c", zip=True)
    Image.fromarray(PIXELS).save(tmp_path / "a.png", pnginfo=info)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", COLOR), np.rot90(PIXELS, -1))


def test_the_limit_of_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(path)
    before = Image.MAX_IMAGE_PIXELS
    for limit in (47, 23, 1):  # Pillow has different errors for a little and for far more
        with pytest.raises(DataError, match=rf"a\.png: .*48 pixels, more than the limit of {limit};.* --max-pixels 48"):
            read_image(path, Preprocess(8, max_pixels=limit))
    assert read_image(path, Preprocess(8, max_pixels=48)).shape == (6, 8, 1)
    assert before == Image.MAX_IMAGE_PIXELS
    Image.new("1", (30_000, 3_000)).save(path)
    with pytest.raises(DataError, match="--max-pixels 90000000"):
        read_image(path, Preprocess(8, source_size=(8, 8)))
    assert read_image(path, Preprocess(8, source_size=(8, 8), max_pixels=90_000_000)).shape == (8, 8, 1)


def heic(*brands):
    box = b"ftyp" + brands[0] + bytes(4) + b"".join(brands)
    return struct.pack(">I", 4 + len(box)) + box + bytes(200)


@pytest.mark.parametrize("brands", [(b"heic",), (b"mif1", b"heic"), (b"msf1", b"miaf", b"hevc")])
def test_heic_is_named_with_the_way_out(tmp_path, monkeypatch, brands):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.jpg").write_bytes(heic(*brands))
    with pytest.raises(DataError, match=r"photo\.jpg: a HEIC picture.*: pip install pillow-heif; or save it as JPEG"):
        read_image(tmp_path / "photo.jpg", COLOR)


def test_heic_is_read_with_its_package(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the package pillow-heif")
    image = Image.new("RGB", (64, 48), (250, 120, 10))
    heif.from_pillow(image).save(tmp_path / "photo.heic")
    np.testing.assert_allclose(read_image(tmp_path / "photo.heic", COLOR), np.asarray(image), atol=12)
    (tmp_path / "photo.heic").write_bytes(heic(b"heic"))
    with pytest.raises(DataError, match=r"photo\.heic: cannot be decoded: a damaged HEIC picture"):
        read_image(tmp_path / "photo.heic", COLOR)
