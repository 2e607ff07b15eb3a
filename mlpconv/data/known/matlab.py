"""Read the numeric arrays of a MATLAB 5 file, the format of the SVHN data set, without trusting the file.

SciPy has such a reader, but nothing else here needs SciPy.

The format (MathWorks, "MAT-File Format", level 5): a header of 128 bytes, then elements, each with a type and a length
and often compressed with zlib. An array is an element that contains its flags, dimensions, name and values as elements.
"""

import math
import struct
import zlib

import numpy as np

from mlpconv.errors import DataError

_COMPRESSED, _MATRIX = 15, 14
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}


def read_arrays(contents: bytes | bytearray, where: str, limit: int) -> dict[str, np.ndarray]:
    """The numeric arrays in a file, by name, in MATLAB's order of dimensions.

    Args:
        contents: The contents of the file.
        where: The name of the file, for errors.
        limit: The maximum size of an array in bytes.

    Raises:
        DataError: The file is not a MATLAB 5 file, is damaged or truncated, or contains an array larger than the limit.
    """
    if len(contents) < 128 or contents[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{where}: not a MATLAB 5 file; download the file again")
    order = "<" if contents[126:128] == b"IM" else ">"
    arrays: dict[str, np.ndarray] = {}
    data, start = memoryview(contents), 128
    try:
        while start < len(data):
            element_type, size = struct.unpack_from(f"{order}2I", data, start)
            body = data[start + 8 : start + 8 + size]
            if len(body) < size:
                raise DataError(f"{where}: truncated; download the file again")
            start += 8 + size
            if element_type == _COMPRESSED:
                unpacked = _unzip(body, limit + 4096, where)
                element_type, size = struct.unpack_from(f"{order}2I", unpacked)
                body = memoryview(unpacked)[8 : 8 + size]
            if element_type == _MATRIX:
                name, array = _matrix(body, order, where)
                arrays[name] = array
    except (struct.error, zlib.error, IndexError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: damaged MATLAB file: {error}; download the file again") from error
    return arrays


def _unzip(body: memoryview, limit: int, where: str) -> bytes:
    unpack = zlib.decompressobj()
    contents = unpack.decompress(body, limit)
    if unpack.unconsumed_tail:
        raise DataError(f"{where}: contains more than the {limit:,} bytes allowed; download the file again")
    return contents


def _matrix(body: memoryview, order: str, where: str) -> tuple[str, np.ndarray]:
    parts, start = [], 0
    for _ in range(4):  # flags, dimensions, name, values
        element_type, size = struct.unpack_from(f"{order}2I", body, start)
        if element_type >> 16:  # a short element: type, length and up to four bytes of data in one
            element_type, size = element_type & 0xFFFF, element_type >> 16
            value, start = body[start + 4 : start + 4 + size], start + 8
        else:
            value, start = body[start + 8 : start + 8 + size], start + 8 + size + -size % 8
        parts.append((element_type, value))
    shape = tuple(int(side) for side in np.frombuffer(parts[1][1], f"{order}i4"))
    name = bytes(parts[2][1]).decode("ascii")
    if parts[3][0] not in _TYPES:
        raise DataError(f"{where}: {name}: expected numbers, received elements of type {parts[3][0]}")
    dtype = np.dtype(f"{order}{_TYPES[parts[3][0]]}")
    if min(shape, default=0) < 1 or math.prod(shape) * dtype.itemsize != len(parts[3][1]):
        raise DataError(
            f"{where}: {name}: {len(parts[3][1]):,} bytes do not match the shape {shape} of {dtype}; download the file "
            "again"
        )
    return name, np.frombuffer(parts[3][1], dtype).reshape(shape, order="F")
