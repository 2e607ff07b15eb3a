"""Read and write Gluon's ``.params`` files without MXNet.

A file is a list of arrays and a list of their names. All numbers are little-endian: uint64 0x112 and a reserved uint64;
the number of arrays (uint64), and for each a magic uint32, the storage type (int32, 0: dense), the shape (the number of
dimensions as uint32, each as int64), the device (2 int32), the data type (int32) and the values; then the number of
names (uint64), and for each its length (uint64) and its bytes.
"""

import re
import struct
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from mlpconv.arch.layers import BatchNorm2d
from mlpconv.arch.network import Network
from mlpconv.backends.base import Weights
from mlpconv.backends.weights import GLUON_NAMES
from mlpconv.convert.chapter import Names, collected_names, gluon_names
from mlpconv.convert.layers import ForeignLayer
from mlpconv.convert.recognize import SAVE
from mlpconv.errors import WeightsError
from mlpconv.files import write_atomic

_FILE, _ARRAY, _NUMPY_ARRAY = 0x112, 0xF993FAC9, 0xF993FACA
_NAME = re.compile(r"(?P<layer>.+)(?P<separator>[._])(?P<part>weight|bias|gamma|beta|running_mean|running_var)")
_MAX_DIMENSIONS = 32
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
        if dimensions > _MAX_DIMENSIONS:
            raise ValueError(f"an array of {dimensions:,} dimensions")
        shape = [self.unpack("q") for _ in range(dimensions)]
        _, _, data_type = self.unpack("iii")
        if data_type not in _TYPES or any(side < 0 for side in shape):
            raise ValueError(f"an array of data type {data_type} and shape {shape}")
        dtype = np.dtype(_TYPES[data_type])
        count = int(np.prod(shape, dtype=object))
        return np.frombuffer(self.bytes(count * dtype.itemsize), dtype).reshape(shape)


def read_gluon_file(path: Path) -> dict[str, np.ndarray] | list[ForeignLayer]:
    """Read the arrays of a file written by ``save_parameters``, by name; or the layers of one written by
    ``collect_params().save`` or ``export``, whose names (``conv0_weight``) count the layers of a program.

    The gamma and beta of a batch normalization are renamed to weight and bias.

    Raises:
        WeightsError: The file is damaged, not a file of Gluon parameters, or the order of its layers is uncertain.
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
    canonical = {theirs: part for part, theirs in GLUON_NAMES.items()}
    matches = {name: _NAME.fullmatch(name.removeprefix("arg:").removeprefix("aux:")) for name in values}
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, match in matches.items():
        if match is None:
            raise WeightsError(f"{path}: {name!r} is no part of a layer; remove it from the file")
        layers.setdefault(match["layer"], {})[canonical.get(match["part"], match["part"])] = values[name]
    if layers and all(match and match["separator"] == "_" for match in matches.values()):
        return _layers(layers, path)
    return {f"{layer}.{part}": value for layer, parts in layers.items() for part, value in parts.items()}


def _layers(layers: dict[str, dict[str, np.ndarray]], path: Path) -> list[ForeignLayer]:
    """The layers in the order of the file, if the numbers that Gluon gave to them when they were created agree."""
    last: dict[str, tuple[int, str]] = {}
    for name in layers:
        if match := re.fullmatch(r"(.*?)(\d+)", name):
            kind, number = match[1], int(match[2])
            if kind in last and number < last[kind][0]:
                raise WeightsError(
                    f"{path}: {name} comes after {last[kind][1]}, so the order of the layers is uncertain; save the "
                    f"file again in the program that made it: {SAVE['Gluon']}"
                )
            last[kind] = number, name
    return [ForeignLayer(name, parts, channels_first=True) for name, parts in layers.items()]


def write_gluon_file(path: Path, network: Network, weights: Weights, names: Names) -> None:
    """Write canonical weights to a file of Gluon parameters, in the order of the network.

    Args:
        path: The file.
        network: The network.
        weights: Its canonical weights, in its order.
        names: "mlpconv": for ``load_parameters`` of the network's own block; "chapter": for ``load_parameters`` of the
            chapter's block; "collect-params": for ``collect_params().load`` of the chapter's block.
    """
    match names:
        case "mlpconv":
            layer_names, separator = {name: name for name, _ in network.walk()}, "."
        case "chapter":
            layer_names, separator = gluon_names(network), "."
        case "collect-params":
            layer_names, separator = collected_names(network), "_"
        case _:
            assert_never(names)
    norms = {name for name, layer in network.walk() if isinstance(layer, BatchNorm2d)}
    parts = [struct.pack("<QQQ", _FILE, 0, len(weights))]
    for value in weights.values():
        sides = struct.pack(f"<{value.ndim}q", *value.shape)
        parts += [struct.pack("<IiI", _ARRAY, 0, value.ndim), sides, struct.pack("<iii", 1, 0, 0)]
        parts.append(np.ascontiguousarray(value, "<f4").tobytes())
    parts.append(struct.pack("<Q", len(weights)))
    for name in weights:
        layer, _, part = name.rpartition(".")
        part = GLUON_NAMES.get(part, part) if layer in norms else part
        encoded = f"{layer_names[layer]}{separator}{part}".encode()
        parts += [struct.pack("<Q", len(encoded)), encoded]
    write_atomic(path, b"".join(parts))
