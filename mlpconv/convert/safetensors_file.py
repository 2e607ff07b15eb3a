"""Read safetensors files, with the data types that NumPy does not have."""

import json
from pathlib import Path

import numpy as np
import safetensors

from mlpconv.convert.state_dict import Array
from mlpconv.errors import WeightsError
from mlpconv.files import TENSOR_TYPES

_MAX_HEADER_BYTES = 8 << 20
"""The largest header that is read; as Python's objects, it takes twenty times as much memory."""
_DTYPES = TENSOR_TYPES | {"BF16": "<u2", "F8_E4M3": "u1", "F8_E5M2": "u1"}
"""NumPy's data types for the names in a file; bfloat16 and float8 are read as integers of their size."""


def read_safetensors_file(path: Path) -> dict[str, Array]:
    """Read the arrays of a file, in its order; bfloat16 and float8 are converted to float32.

    Raises:
        WeightsError: The file is damaged, or has a data type that is not supported.
    """
    try:
        content = np.memmap(path, np.uint8, "r")
        start = 8 + int.from_bytes(content[:8].tobytes(), "little")
        if start - 8 > _MAX_HEADER_BYTES:
            raise ValueError(f"its header has {start - 8:,} bytes, more than {_MAX_HEADER_BYTES:,}, the limit for it")
        with safetensors.safe_open(path, framework="numpy"):  # checks names, shapes and offsets
            pass
        header = json.loads(content[8:start].tobytes())
        header.pop("__metadata__", None)
        return {name: _array(content[start:], **entry) for name, entry in header.items()}
    except (safetensors.SafetensorError, OSError, TypeError, ValueError, KeyError, MemoryError) as error:
        raise WeightsError(f"{path}: damaged, or not a safetensors file of float arrays: {error}") from None


def _array(content: Array, dtype: str, shape: list[int], data_offsets: list[int]) -> Array:
    values = np.array(content[slice(*data_offsets)]).view(_DTYPES[dtype]).reshape(shape)
    match dtype:
        case "BF16":  # the upper half of a float32
            return (values.astype(np.uint32) << 16).view(np.float32)
        case "F8_E5M2":  # the upper half of a float16
            return (values.astype(np.uint16) << 8).view(np.float16).astype(np.float32)
        case "F8_E4M3":
            return _E4M3[values]
        case _:
            return values


def _e4m3() -> Array:
    """The values of all 256 bytes as float8 e4m3: a sign, 4 bits of exponent with bias 7, 3 bits of mantissa."""
    byte = np.arange(256)
    exponent, mantissa = byte >> 3 & 15, byte & 7
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    size[byte & 0x7F == 0x7F] = np.nan  # there is no infinity
    return np.where(byte < 128, size, -size).astype(np.float32)


_E4M3 = _e4m3()
