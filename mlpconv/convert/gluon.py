"""Read and write Gluon's ``.params`` files without MXNet.

A file is a list of arrays and a list of their names. All numbers are little-endian: uint64 0x112 and a reserved uint64;
the number of arrays (uint64), and for each a magic uint32, the storage type (int32, 0: dense), the shape (the number of
dimensions as uint32, each as int64), the device (2 int32), the data type (int32) and the values; then the number of
names (uint64), and for each its length (uint64) and its bytes.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from mlpconv.arch.layers import BatchNorm2d
from mlpconv.arch.network import Network
from mlpconv.backends.base import Weights
from mlpconv.backends.weights import GLUON_NAMES
from mlpconv.convert.recognize import SAVE
from mlpconv.errors import WeightsError

_FILE, _ARRAY, _NUMPY_ARRAY = 0x112, 0xF993FAC9, 0xF993FACA
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}


class _Reader:
    """Reads values from the bytes of a file, one after another."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def unpack(self, form: str) -> Any:
        values = struct.unpack_from(f"<{form}", self.content, self.position)
        self.position += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    def bytes(self, count: int) -> bytes:
        part = self.content[self.position : self.position + count]
        if len(part) < count:
            raise ValueError("truncated")
        self.position += count
        return part

    def array(self) -> np.ndarray:
        magic, storage = self.unpack("Ii")
        if magic not in (_ARRAY, _NUMPY_ARRAY) or storage != 0:
            raise ValueError("an array that is not dense, or written by MXNet before 1.0")
        dimensions = self.unpack("i")
        shape = [self.unpack("q") for _ in range(dimensions)]
        _, _, data_type = self.unpack("iii")
        if data_type not in _TYPES or any(side < 0 for side in shape):
            raise ValueError(f"an array of data type {data_type} and shape {shape}")
        dtype = np.dtype(_TYPES[data_type])
        count = int(np.prod(shape, dtype=object))
        return np.frombuffer(self.bytes(count * dtype.itemsize), dtype).reshape(shape)


def read_gluon_file(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a file written by ``save_parameters``, by name.

    The gamma and beta of a batch normalization are renamed to weight and bias.

    Raises:
        WeightsError: The file is damaged, or not a file of Gluon parameters.
    """
    try:
        reader = _Reader(path.read_bytes())
        if reader.unpack("QQ")[0] != _FILE:
            raise ValueError("wrong magic number")
        arrays = [reader.array() for _ in range(reader.unpack("Q"))]
        names = [reader.bytes(reader.unpack("Q")).decode() for _ in range(reader.unpack("Q"))]
        values = dict(zip(names, arrays, strict=True))
    except (OSError, ValueError, struct.error, MemoryError) as error:
        raise WeightsError(
            f"{path}: damaged, or not a file of Gluon parameters ({error}); save it again in the program that made it: "
            + SAVE["Gluon"]
        ) from None
    canonical = {f".{theirs}": f".{part}" for part, theirs in GLUON_NAMES.items()}
    return {
        _renamed(name.removeprefix("arg:").removeprefix("aux:"), canonical): value for name, value in values.items()
    }


def write_gluon_file(path: Path, network: Network, weights: Weights) -> None:
    """Write canonical weights to a file for ``load_parameters`` of the network's Gluon block."""
    norms = {name for name, layer in network.walk() if isinstance(layer, BatchNorm2d)}
    theirs = {f".{part}": f".{name}" for part, name in GLUON_NAMES.items()}
    parts = [struct.pack("<QQQ", _FILE, 0, len(weights))]
    for value in weights.values():
        sides = struct.pack(f"<{value.ndim}q", *value.shape)
        parts += [struct.pack("<IiI", _ARRAY, 0, value.ndim), sides, struct.pack("<iii", 1, 0, 0)]
        parts.append(np.ascontiguousarray(value, "<f4").tobytes())
    parts.append(struct.pack("<Q", len(weights)))
    for name in weights:
        encoded = (_renamed(name, theirs) if name.rpartition(".")[0] in norms else name).encode()
        parts += [struct.pack("<Q", len(encoded)), encoded]
    path.write_bytes(b"".join(parts))


def _renamed(name: str, endings: dict[str, str]) -> str:
    """A name with its ending replaced, if it is one of these."""
    for old, new in endings.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
