"""Open picture files: which formats are accepted, and within which limits.

Pillow also opens files that are not pictures: it passes PostScript to Ghostscript, an interpreter that runs it as a
program. Only formats that Pillow's own decoders and their libraries turn into pixels are opened here.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from mlpconv.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "GIF",
    "BMP",
    "DIB",
    "TIFF",
    "AVIF",
    "JPEG2000",
    "PPM",
    "ICO",
    "PCX",
    "SGI",
    "QOI",
    "TGA",
)
"""The accepted formats, by Pillow's names. TGA is last, because its files do not start with a signature."""
_SUPPORTED = "PNG, JPEG, WebP, GIF, BMP, TIFF …"
_OTHER_KINDS = (
    (b"%!", "PostScript, which is a program and is not run"),
    (b"\xc5\xd0\xd3\xc6", "PostScript, which is a program and is not run"),
    (b"%PDF", "a PDF document"),
    (b"<svg", "an SVG drawing"),
    (b"<?xml", "an XML document or SVG drawing"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile"),
    (b"8BPS", "a Photoshop document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"SIMPLE  =", "a FITS file"),
)
"""Other kinds of files that are taken for pictures, by their first bytes."""
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"}
_BEGINNING_BYTES = 256
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_XMP = b"XML:com.adobe.xmp\0\0"
_MAX_XMP_BYTES = 1 << 20


@contextmanager
def open_picture(file: BinaryIO, where: str, max_pixels: int) -> "Iterator[Image.Image]":
    """Open a picture without decoding its pixels.

    Args:
        file: The open file.
        where: The name of the file, for errors.
        max_pixels: The most pixels that a picture may have.

    Raises:
        DataError: The file is not a picture in one of the `FORMATS`, or it has too many pixels. Any exception in the
            block, where the pixels are decoded, becomes a DataError, too.
    """
    from PIL import Image, UnidentifiedImageError

    beginning = file.read(_BEGINNING_BYTES)
    file.seek(0)
    formats = _heif_formats(where) if _is_heic(beginning) else _formats()
    pillow_limit = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unusual metadata of an image that is readable
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.MAX_IMAGE_PIXELS = max_pixels
            content = _without_texts(file) if beginning.startswith(_PNG_SIGNATURE) else file
            with Image.open(content, formats=formats) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        pixels = re.search(r"\((\d+) pixels\)", str(error))
        raise DataError(f"{where}: {too_large(int(pixels[1]) if pixels else None, max_pixels)}") from None
    except UnidentifiedImageError:
        if _is_heic(beginning):
            raise DataError(f"{where}: cannot be decoded: a damaged HEIC picture") from None
        raise DataError(f"{where}: not an image in a supported format{_kind(beginning)}") from None
    except DataError:
        raise
    except MemoryError:
        raise DataError(
            f"{where}: cannot be decoded: it needs more memory than an image of {max_pixels:,} pixels may take"
        ) from None
    except Exception as error:  # for a damaged file, decoders raise TypeError, RuntimeError and many others
        raise DataError(f"{where}: cannot be decoded: {error or type(error).__name__}") from None
    finally:
        Image.MAX_IMAGE_PIXELS = pillow_limit


def too_large(pixels: int | None, max_pixels: int) -> str:
    """Why a picture with so many pixels, None if unknown, is refused."""
    received = "too many pixels" if pixels is None else f"{pixels:,} pixels"
    option = "a larger --max-pixels" if pixels is None else f"--max-pixels {pixels}"
    return (
        f"refused before decoding: {received}, more than the limit of {max_pixels:,}; make it smaller, or accept "
        f"pictures of this size with {option}"
    )


@lru_cache
def _formats() -> tuple[str, ...]:
    """The formats that the installed Pillow has."""
    from PIL import Image

    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _is_heic(beginning: bytes) -> bool:
    """Whether a file is HEIC, by the brands in its first box."""
    if beginning[4:8] != b"ftyp":
        return False
    box = beginning[8 : int.from_bytes(beginning[:4], "big")]
    return not _HEIC_BRANDS.isdisjoint(box[start : start + 4] for start in range(0, len(box), 4))


def _heif_formats(where: str) -> tuple[str, ...]:
    try:
        from pillow_heif import register_heif_opener  # pyright: ignore[reportMissingImports]  # optional
    except ImportError:
        raise DataError(
            f"{where}: a HEIC picture, which needs another package: pip install pillow-heif; or save it as JPEG"
        ) from None
    register_heif_opener()
    return ("HEIF",)


def _kind(beginning: bytes) -> str:
    if beginning[128:132] == b"DICM":
        return ": it is DICOM; save it as PNG"
    start = beginning.removeprefix(b"\xef\xbb\xbf").lstrip()
    for signature, kind in _OTHER_KINDS:
        if start.startswith(signature):
            return f": it is {kind}; save it as PNG or JPEG"
    return f" ({_SUPPORTED})"


def _without_texts(file: BinaryIO) -> BinaryIO:
    """A PNG file without its texts and color profile, which are not used.

    They may be of any size once decompressed, so Pillow refuses pictures in which they are large. The XMP text is kept,
    because it may hold the orientation.
    """
    kept: list[tuple[int, int]] = []
    position = kept_until = len(_PNG_SIGNATURE)
    kept_from = 0
    file.seek(position)
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        end = position + 12 + size
        dropped = kind in _PNG_TEXTS
        if kind == b"iTXt" and size <= _MAX_XMP_BYTES:
            dropped = file.read(len(_XMP)) != _XMP
        if dropped:
            kept.append((kept_from, kept_until))
            kept_from = end
        position = kept_until = end
        if kind == b"IEND":
            break
        file.seek(position)
    if not kept:
        file.seek(0)
        return file
    content = io.BytesIO()
    for start, stop in [*kept, (kept_from, max(kept_from, kept_until))]:
        file.seek(start)
        content.write(file.read(stop - start))
    content.seek(0)
    return content
