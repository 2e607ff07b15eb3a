"""Gluon's ``.params`` file, read and written as data, without MXNet: a list of arrays and a list of their names.

All numbers are little-endian: uint64 0x112 and a reserved one; the count of arrays, and each as a magic uint32, the
kind of storage (0: dense), the shape (uint32 dimensions, int64 each), the device (2 int32), the type (int32) and the
values; then the count of names, and each as its length and its bytes.
"""

import struct
from pathlib import Path
from typing import Any

import numpy as np

from mlpconv.arch.layers import BatchNorm2d
from mlpconv.arch.network import Network
from mlpconv.backends.base import Weights
from mlpconv.backends.weights import GLUON_NAMES
from mlpconv.errors import WeightsError

_FILE, _ARRAY, _NUMPY_ARRAY = 0x112, 0xF993FAC9, 0xF993FACA
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8"}


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.content, self.place = content, 0

    def take(self, form: str) -> Any:
        values = struct.unpack_from(f"<{form}", self.content, self.place)
        self.place += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    def bytes(self, count: int) -> bytes:
        part = self.content[self.place : self.place + count]
        if len(part) < count:
            raise ValueError("it ends early")
        self.place += count
        return part

    def array(self) -> np.ndarray:
        magic, storage = self.take("Ii")
        if magic not in (_ARRAY, _NUMPY_ARRAY) or storage != 0:
            raise ValueError("an array that is not dense, or of an MXNet before 1.0")
        dimensions = self.take("i")
        shape = [self.take("q") for _ in range(dimensions)]
        _, _, kind = self.take("iii")
        if kind not in _TYPES or any(side < 0 for side in shape):
            raise ValueError(f"an array of the type {kind} and shape {shape}")
        dtype = np.dtype(_TYPES[kind])
        count = int(np.prod(shape, dtype=object))
        return np.frombuffer(self.bytes(count * dtype.itemsize), dtype).reshape(shape)


def read_gluon_file(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file that ``save_parameters`` wrote, by name; a normalisation's gamma and beta are called weight
    and bias. Raises WeightsError for another or damaged file."""
    try:
        reader = _Reader(path.read_bytes())
        if reader.take("QQ")[0] != _FILE:
            raise ValueError("it does not begin as such a file does")
        arrays = [reader.array() for _ in range(reader.take("Q"))]
        names = [reader.bytes(reader.take("Q")).decode() for _ in range(reader.take("Q"))]
        values = dict(zip(names, arrays, strict=True))
    except (OSError, ValueError, struct.error, MemoryError) as error:
        raise WeightsError(
            f"{path}: damaged, or not a file of Gluon parameters ({error}); save it again, in the program that made "
            'it: net.save_parameters("weights.params")'
        ) from None
    ours = {f".{theirs}": f".{part}" for part, theirs in GLUON_NAMES.items()}
    return {_renamed(name.removeprefix("arg:").removeprefix("aux:"), ours): value for name, value in values.items()}


def write_gluon_file(path: Path, network: Network, weights: Weights) -> None:
    """Canonical weights as a file that ``load_parameters`` of the network's Gluon block takes."""
    norms = {name for name, layer in network.walk() if isinstance(layer, BatchNorm2d)}
    theirs = {f".{part}": f".{name}" for part, name in GLUON_NAMES.items()}
    parts = [struct.pack("<QQQ", _FILE, 0, len(weights))]
    for value in weights.values():
        sides = struct.pack(f"<{value.ndim}q", *value.shape)
        parts += [struct.pack("<IiI", _ARRAY, 0, value.ndim), sides, struct.pack("<iii", 1, 0, 0)]
        parts.append(np.ascontiguousarray(value, "<f4").tobytes())
    parts.append(struct.pack("<Q", len(weights)))
    for name in weights:
        told = (_renamed(name, theirs) if name.rpartition(".")[0] in norms else name).encode()
        parts += [struct.pack("<Q", len(told)), told]
    path.write_bytes(b"".join(parts))


def _renamed(name: str, endings: dict[str, str]) -> str:
    for old, new in endings.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name
