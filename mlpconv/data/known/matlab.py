"""Arrays of numbers out of a MATLAB 5 file, as the SVHN data set comes: read without trusting the file.

The format (MATLAB's "MAT-File Format", level 5): a header of 128 bytes, then elements of a type and a length, often
compressed by zlib; an array is an element that holds its flags, dimensions, name and values as elements in turn.
"""

import math
import struct
import zlib

import numpy as np

from mlpconv.errors import DataError

_COMPRESSED, _MATRIX = 15, 14
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def read_arrays(contents: bytes | bytearray, place: str, limit: int) -> dict[str, np.ndarray]:
    """The numeric arrays of a file by name, in MATLAB's order of dimensions. limit: the most bytes an array may have.

    Raises DataError for what is no such file, is cut short, or is larger than the limit.
    """
    if len(contents) < 128 or contents[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{place}: not a MATLAB 5 file; fetch the file again")
    order = "<" if contents[126:128] == b"IM" else ">"
    arrays: dict[str, np.ndarray] = {}
    data, start = memoryview(contents), 128
    try:
        while start < len(data):
            kind, size = struct.unpack_from(f"{order}2I", data, start)
            body = data[start + 8 : start + 8 + size]
            if len(body) < size:
                raise DataError(f"{place}: cut short; fetch the file again")
            start += 8 + size
            if kind == _COMPRESSED:
                unpacked = _unzip(body, limit + 4096, place)
                kind, size = struct.unpack_from(f"{order}2I", unpacked)
                body = memoryview(unpacked)[8 : 8 + size]
            if kind == _MATRIX:
                name, array = _matrix(body, order, place)
                arrays[name] = array
    except (struct.error, zlib.error, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{place}: damaged MATLAB file ({error}); fetch the file again") from error
    return arrays


def _unzip(body: memoryview, limit: int, place: str) -> bytes:
    unpack = zlib.decompressobj()
    whole = unpack.decompress(body, limit)
    if unpack.unconsumed_tail:
        raise DataError(f"{place}: holds more than the {limit:,} bytes allowed; fetch the file again")
    return whole


def _matrix(body: memoryview, order: str, place: str) -> tuple[str, np.ndarray]:
    parts, start = [], 0
    for _ in range(4):  # flags, dimensions, name, values
        kind, size = struct.unpack_from(f"{order}2I", body, start)
        if kind >> 16:  # a short element: its length and up to four bytes beside the type
            kind, size = kind & 0xFFFF, kind >> 16
            value, start = body[start + 4 : start + 4 + size], start + 8
        else:
            value, start = body[start + 8 : start + 8 + size], start + 8 + size + -size % 8
        parts.append((kind, value))
    shape = tuple(int(each) for each in np.frombuffer(parts[1][1], f"{order}i4"))
    name = bytes(parts[2][1]).decode("ascii")
    if parts[3][0] not in _TYPES:
        raise DataError(f"{place}: {name}: holds no plain numbers (type {parts[3][0]})")
    dtype = np.dtype(f"{order}{_TYPES[parts[3][0]]}")
    if min(shape, default=0) < 1 or math.prod(shape) * dtype.itemsize != len(parts[3][1]):
        raise DataError(
            f"{place}: {name}: its {len(parts[3][1]):,} bytes are not those of {shape} {dtype}; fetch it again"
        )
    return name, np.frombuffer(parts[3][1], dtype).reshape(shape, order="F")
