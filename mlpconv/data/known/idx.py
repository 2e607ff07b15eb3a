"""Read the IDX format of the MNIST family, without trusting the file.

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
_MAX_NDIM = 32  # the limit of the oldest supported NumPy
_CHUNK_BYTES = 1 << 20

# Real images expand to 2 to 20 times their compressed size. A file that expands further is malicious, or blank.
_MAX_EXPANSION = 50
_MAX_EXPANDED_BYTES_OF_SMALL_FILES = 64 << 20


def read_idx(path: str | os.PathLike[str], *, expect_ndim: int | None = None) -> np.ndarray:
    """Read an IDX file, gzipped or not (recognized by its first bytes, not by its name).

    Args:
        path: The file.
        expect_ndim: The number of dimensions to accept (images have 3, labels 1); by default any.

    Returns:
        A writable array in native byte order, with the dtype and shape that the file specifies.

    Raises:
        DataError: The file is missing or unreadable, is not IDX, is truncated, has extra bytes or an empty dimension,
            or announces more values than it can contain. Such a file is refused before memory is allocated for it.
    """
    return parse_idx(read_contents(path), str(path), expect_ndim=expect_ndim)


def parse_idx(data: bytes | bytearray, where: str, *, expect_ndim: int | None = None) -> np.ndarray:
    """Read an array from the uncompressed contents of an IDX file.

    Args:
        data: The contents. Single-byte values in a bytearray are not copied: the array is a view of `data`.
        where: The name of the file, for errors.
        expect_ndim: As `read_idx`.

    Raises:
        DataError: As `read_idx`.
    """
    header, dtype, shape = _read_header(io.BytesIO(data).read, where)
    needed = len(header) + math.prod(shape) * dtype.itemsize
    _check_size(where, dtype, shape, needed, len(data))
    if expect_ndim is not None and len(shape) != expect_ndim:
        raise DataError(
            f"{where}: expected an array of {_dimensions(expect_ndim)}, received {_dimensions(len(shape))} "
            f"({_times(shape)}); check whether the files of images and labels are swapped"
        )
    values = np.frombuffer(data, dtype.newbyteorder(">"), offset=len(header)).reshape(shape)
    if dtype.itemsize == 1 and values.flags.writeable:
        return values
    return values.astype(dtype)


def read_contents(path: str | os.PathLike[str], *, limit: int | None = None) -> bytearray:
    """The uncompressed contents of an IDX file, gzipped or not, of exactly the size that its header specifies.

    Args:
        path: The file.
        limit: The maximum size of the contents in bytes; by default 50 times the size of the file, or 64 MiB if that is
            more.

    Raises:
        DataError: As `read_idx`.
    """
    path = Path(path)
    try:
        if not path.is_file():
            reason = "this is not a regular file" if path.exists() else "there is no such file"
            raise DataError(f"{path}: expected an IDX file, but {reason}; check the path")
        with path.open("rb") as file:
            stored = os.fstat(file.fileno()).st_size
            zipped = file.read(2) == GZIP_MAGIC
            file.seek(0)
            if zipped:
                return _read_zipped(file, stored, limit, str(path))
            return _read_stream(file, stored, limit, str(path))
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error


def _read_zipped(file: io.BufferedIOBase, stored: int, limit: int | None, where: str) -> bytearray:
    if limit is None:
        limit = max(_MAX_EXPANDED_BYTES_OF_SMALL_FILES, _MAX_EXPANSION * stored)
    try:
        with gzip.GzipFile(fileobj=file) as unzipped:
            return _read_stream(unzipped, None, limit, where)
    except EOFError as error:
        raise DataError(
            f"{where}: truncated: its {stored:,} bytes end in the middle of the gzip stream; download the file again"
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{where}: damaged gzip file of {stored:,} bytes: {error}; download the file again") from error


def _read_stream(stream: io.BufferedIOBase, stored: int | None, limit: int | None, where: str) -> bytearray:
    header, dtype, shape = _read_header(stream.read, where)
    needed = len(header) + math.prod(shape) * dtype.itemsize
    if stored is not None:
        _check_size(where, dtype, shape, needed, stored)
    if limit is not None and needed > limit:
        raise DataError(
            f"{where}: its header announces {needed:,} bytes ({_times(shape)} of {dtype}), more than the {limit:,} "
            "allowed for this file; download it again, or unzip it first if you trust it"
        )
    # In chunks, because the header may announce far more than the file contains.
    contents = bytearray(header)
    while part := stream.read(min(_CHUNK_BYTES, needed - len(contents))):
        contents += part
    # Reading past the end also makes gzip verify its checksum.
    extra = len(stream.read(1))
    _check_size(where, dtype, shape, needed, len(contents) + extra)
    return contents


def _read_header(read: Callable[[int], bytes], where: str) -> tuple[bytes, np.dtype, tuple[int, ...]]:
    magic = read(4)
    if len(magic) < 4:
        raise DataError(f"{where}: contains {len(magic)} bytes, too few for an IDX header; download the file again")
    if magic[:2] != b"\0\0":
        text = f", the text {magic.decode()!r}" if magic.isascii() and magic.decode().isprintable() else ""
        raise DataError(
            f"{where}: not an IDX file: expected 00 00 as the first bytes, received {magic.hex(' ')}{text}; "
            "download the file again"
        )
    if magic[2] not in _TYPES:
        raise DataError(f"{where}: expected an IDX type of {_known_types()}, received type {magic[2]:#04x}")
    if not 1 <= magic[3] <= _MAX_NDIM:
        raise DataError(f"{where}: expected 1 to {_MAX_NDIM} dimensions, received {magic[3]} in its IDX header")
    sizes = read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(
            f"{where}: truncated: ends inside its IDX header of {magic[3]} dimensions; download the file again"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DataError(f"{where}: contains no values: its IDX header specifies the shape {_times(shape)}")
    return magic + sizes, _TYPES[magic[2]], shape


def _check_size(where: str, dtype: np.dtype, shape: tuple[int, ...], needed: int, size: int) -> None:
    announced = f"its header announces {needed:,} bytes ({_times(shape)} of {dtype})"
    if size < needed:
        raise DataError(f"{where}: truncated: {announced}, the file contains {size:,}; download the file again")
    if size > needed:
        raise DataError(f"{where}: {announced}, but more bytes follow; download the file again")


def _known_types() -> str:
    return ", ".join(f"{dtype} ({code:#04x})" for code, dtype in _TYPES.items())


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(f"{size:,}" for size in shape)


def _dimensions(count: int) -> str:
    return f"{count} dimension" if count == 1 else f"{count} dimensions"
