"""Reading and writing the files of a run: tensors with a checksum, and readers that do not trust what they read."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from mlpconv.errors import RunError
from mlpconv.files import write_atomic

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file that is read."""

MAX_HEADER_BYTES, MAX_TENSORS_BYTES = 64 << 20, 16 << 30
"""Largest header of a tensor file, and largest tensor file, that is read."""

SEAL = "mlpconv.sha256"
"""The metadata key with the SHA-256 of the whole file, computed with zeros in place of the digest itself."""

_BLANK = b"0" * 64


def read_small(path: Path, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Read a regular file of at most ``max_bytes`` bytes.

    Raises:
        OSError: The file cannot be read.
        RunError: The file is larger, or not a regular file.
    """
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise RunError(f"{path}: larger than {max_bytes:,} bytes, the limit for this file; not read")
        return file.read()


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: The file cannot be opened.
        RunError: The path is a pipe or a device, which could block.
    """
    # Without O_NONBLOCK, opening a pipe waits until another process writes to it.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise RunError(f"{path}: not a regular file")
    return file


def decode_json(content: bytes | str, type_: Any = Any) -> Any:
    """Decode strict JSON, without NaN or infinity, as ``type_``.

    Raises:
        ValueError: The content is not JSON or does not have this type.
        RecipeError: A recipe in the content is not valid.
    """
    try:
        return msgspec.json.decode(content, type=type_)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays, in the given order, and texts as one safetensors file, with a checksum, atomically.

    Raises OSError.
    """
    contiguous = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in tensors.items()}
    content = _in_order(safetensors.numpy.save(contiguous, {**metadata, SEAL: _BLANK.decode()}), contiguous)
    start = _seal_start(content)
    assert start
    content[start : start + len(_BLANK)] = hashlib.sha256(content).hexdigest().encode()
    write_atomic(path, content)


def _in_order(content: bytes, tensors: Mapping[str, np.ndarray]) -> bytearray:
    """The same safetensors file with its tensors in the given order and its metadata sorted.

    The library writes tensors in alphabetical order, and metadata in any order; a repeated run should give the same
    file. Larger data types come first, so that every tensor is aligned.
    """
    start = _data_start(content)
    header = json.loads(content[8:start])
    texts = header.pop("__metadata__", {})
    data, pieces, position = memoryview(content)[start:], [], 0
    entries = {}
    for name in sorted(tensors, key=lambda name: -tensors[name].dtype.itemsize):
        begin, end = header[name]["data_offsets"]
        entries[name] = {**header[name], "data_offsets": [position, position + end - begin]}
        pieces.append(data[begin:end])
        position += end - begin
    text = json.dumps({"__metadata__": dict(sorted(texts.items())), **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return bytearray().join((len(text).to_bytes(8, "little"), text, *pieces))


def _data_start(content: bytes | bytearray) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _seal_start(content: bytes | bytearray) -> int:
    """The offset of the checksum; 0 if there is none. Within a text, the quotation marks would be escaped."""
    key = f'"{SEAL}":"'.encode()
    offset = content.find(key, 8, _data_start(content))
    return offset + len(key) if offset > 0 else 0


def read_tensors(path: Path, *, sealed: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and texts of a safetensors file.

    Names, types, shapes and offsets are verified before memory is allocated for them. A checksum is verified too.

    Args:
        path: The file.
        sealed: Whether the file must have a checksum.

    Raises:
        RunError: The file is missing, damaged, or not a safetensors file.
    """
    try:
        content = _read_safetensors(path)
        tensors = safetensors.numpy.load(content)
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file") from None
    except KeyError as error:
        raise RunError(f"{path}: damaged, or with a data type that NumPy does not have: {error}") from None
    except MemoryError:
        raise RunError(f"{path}: does not fit into the memory of this machine") from None
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise RunError(f"{path}: damaged, or not a safetensors file: {error}") from None
    start = _seal_start(content)
    if (start or sealed) and not _is_intact(content, start):
        raise RunError(f"{path}: damaged: its content has changed since it was written (SHA-256)")
    header = json.loads(content[8 : _data_start(content)])
    texts = header.pop("__metadata__", None) or {}
    texts.pop(SEAL, None)
    # The library returns them in any order.
    return {name: tensors[name] for name in header}, texts


def _is_intact(content: bytes, start: int) -> bool:
    """Whether the checksum at ``start`` (0 for none) is that of the content."""
    end = start + len(_BLANK)
    digest = hashlib.sha256(memoryview(content)[:start])
    digest.update(_BLANK)
    digest.update(memoryview(content)[end:])
    return bool(start) and digest.hexdigest().encode() == content[start:end]


def _read_safetensors(path: Path) -> bytes:
    """Read a file if the size of its header and its own size are plausible. Raises OSError or ValueError."""
    with open_regular(path) as file:
        file_bytes = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        header_bytes = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or header_bytes > min(file_bytes - 8, MAX_HEADER_BYTES):
            raise ValueError(f"its header announces {header_bytes:,} bytes, but the file has {file_bytes:,}")
        if file_bytes > MAX_TENSORS_BYTES:
            raise ValueError(f"it has {file_bytes:,} bytes, more than the limit of {MAX_TENSORS_BYTES:,}")
        return prefix + file.read()
