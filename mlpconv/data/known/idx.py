"""The IDX format of the MNIST family: read without trusting the file, and written.

An IDX file is two zero bytes, a type code, the number of dimensions, each dimension as a big-endian uint32, then the
values, big-endian, in C order. It is often gzipped.
"""

import gzip
import io
import math
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mlpconv.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"

_TYPES = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(np.int16),
    0x0C: np.dtype(np.int32),
    0x0D: np.dtype(np.float32),
    0x0E: np.dtype(np.float64),
}
_MAX_NDIM = 32  # what every supported numpy can hold
_CHUNK = 1 << 20

# Real images unzip to 2 to 20 times their size. A gzipped header that promises more than these is a bomb, or is blank.
_MAX_EXPANSION = 50
_ALWAYS_ALLOWED = 64 << 20


def read_idx(path: str | os.PathLike[str], *, expect_ndim: int | None = None) -> np.ndarray:
    """Read an IDX file, gzipped or not (told by its first bytes, not by its name).

    Args:
        path: the file.
        expect_ndim: refuse an array with another number of dimensions (images have 3, labels 1).

    Returns:
        A writable array of native byte order in the file's own dtype and shape.

    Raises:
        DataError: missing or unreadable, not IDX, cut short, with bytes left over, with an empty dimension, or
            announcing more than it can hold; refused before memory is taken for it.
    """
    return parse_idx(read_contents(path), str(path), expect_ndim=expect_ndim)


def parse_idx(data: bytes | bytearray, place: str, *, expect_ndim: int | None = None) -> np.ndarray:
    """Read an array from the unzipped contents of an IDX file; `place` names it in errors.

    Single-byte values in a bytearray are not copied: the array is a view of `data`.

    Raises:
        DataError: as `read_idx`.
    """
    header, dtype, shape = _read_header(io.BytesIO(data).read, place)
    needed = len(header) + math.prod(shape) * dtype.itemsize
    _check_size(place, dtype, shape, needed, len(data))
    if expect_ndim is not None and len(shape) != expect_ndim:
        raise DataError(
            f"{place}: expected an array of {_dimensions(expect_ndim)}, found {_dimensions(len(shape))} "
            f"({_times(shape)}); are the files of images (3) and labels (1) swapped?"
        )
    values = np.frombuffer(data, dtype.newbyteorder(">"), offset=len(header)).reshape(shape)
    if dtype.itemsize == 1 and values.flags.writeable:
        return values
    return values.astype(dtype)


def read_contents(path: str | os.PathLike[str], *, limit: int | None = None) -> bytearray:
    """The whole contents of an IDX file, unzipped where it is gzipped, of exactly the size that its header gives.

    Args:
        path: the file.
        limit: the most bytes the contents may have; without one, 50 times the file (64 MiB for a small file).

    Raises:
        DataError: as `read_idx`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            found = "this is not a regular file" if path.exists() else "there is no such file"
            raise DataError(f"{path}: expected an IDX file, but {found}; check the path")
        with path.open("rb") as file:
            stored = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if zipped:
                return _read_zipped(file, stored, limit, str(path))
            return _read_stream(file, stored, limit, str(path))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path and its rights") from error


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array as IDX, gzipped when the name ends in `.gz`; equal arrays give equal files.

    Raises:
        DataError: a dtype that IDX does not have, an empty array, or one without dimensions.
    """
    code = next((code for code, dtype in _TYPES.items() if dtype == array.dtype.newbyteorder("=")), None)
    if code is None:
        raise DataError(f"{path}: IDX holds {_known_types()}, not {array.dtype}; convert the array with .astype")
    if not 1 <= array.ndim <= _MAX_NDIM or array.size == 0:
        raise DataError(f"{path}: IDX cannot hold an array of shape {array.shape}; give 1 or more values a dimension")
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    contents = header + array.astype(_TYPES[code].newbyteorder(">")).tobytes()
    if Path(path).suffix == ".gz":
        contents = gzip.compress(contents, mtime=0)
    Path(path).write_bytes(contents)


def _read_zipped(file: io.BufferedIOBase, stored: int, limit: int | None, place: str) -> bytearray:
    if limit is None:
        limit = max(_ALWAYS_ALLOWED, _MAX_EXPANSION * stored)
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            return _read_stream(unzipped, None, limit, place)
    except EOFError as error:
        raise DataError(
            f"{place}: cut short: its {stored:,} bytes end in the middle of the gzip stream; fetch the file again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{place}: damaged gzip file of {stored:,} bytes ({error}); fetch the file again") from error


def _read_stream(stream: io.BufferedIOBase, stored: int | None, limit: int | None, place: str) -> bytearray:
    header, dtype, shape = _read_header(stream.read, place)
    needed = len(header) + math.prod(shape) * dtype.itemsize
    if stored is not None:
        _check_size(place, dtype, shape, needed, stored)
    if limit is not None and needed > limit:
        raise DataError(
            f"{place}: its header announces {needed:,} bytes ({_times(shape)} of {dtype}), more than the {limit:,} "
            "allowed for this file; not read: fetch it again, or unzip it first if you trust it"
        )
    # As it comes: a header may promise what a small file does not hold.
    contents = bytearray(header)
    while part := stream.read(min(_CHUNK, needed - len(contents))):
        contents += part
    # Reading past the end is also what makes gzip compare its checksum.
    extra = len(stream.read(1))
    _check_size(place, dtype, shape, needed, len(contents) + extra)
    return contents


def _read_header(read: Callable[[int], bytes], place: str) -> tuple[bytes, np.dtype, tuple[int, ...]]:
    magic = read(4)
    if len(magic) < 4:
        raise DataError(f"{place}: holds {len(magic)} bytes, too few for an IDX header; fetch the file again")
    if magic[:2] != b"\0\0":
        text = f", the text {magic.decode()!r}" if magic.isascii() and magic.decode().isprintable() else ""
        raise DataError(
            f"{place}: not an IDX file: expected it to begin with the bytes 00 00, found {magic.hex(' ')}{text}; "
            "fetch the file again"
        )
    if magic[2] not in _TYPES:
        raise DataError(f"{place}: expected an IDX type of {_known_types()}, found type {magic[2]:#04x}")
    if not 1 <= magic[3] <= _MAX_NDIM:
        raise DataError(f"{place}: expected 1 to {_MAX_NDIM} dimensions, its IDX header says {magic[3]}")
    sizes = read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{place}: ends inside its IDX header, which says {magic[3]} dimensions; fetch the file again")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DataError(f"{place}: holds nothing: its IDX header gives the shape {_times(shape)}")
    return magic + sizes, _TYPES[magic[2]], shape


def _check_size(place: str, dtype: np.dtype, shape: tuple[int, ...], needed: int, held: int) -> None:
    announced = f"its header announces {needed:,} bytes ({_times(shape)} of {dtype})"
    if held < needed:
        raise DataError(f"{place}: cut short: {announced}, it holds {held:,}; fetch the file again")
    if held > needed:
        raise DataError(f"{place}: {announced}, but more bytes follow; this is not the file it says; fetch it again")


def _known_types() -> str:
    return ", ".join(f"{dtype} ({code:#04x})" for code, dtype in _TYPES.items())


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(f"{size:,}" for size in shape)


def _dimensions(count: int) -> str:
    return f"{count} dimension" if count == 1 else f"{count} dimensions"
