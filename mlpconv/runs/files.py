"""Files that are there whole or not at all, and readers that trust no file."""

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from mlpconv.errors import RunError
from mlpconv.files import write_atomic

MOST_JSON = 64 << 20
"""Bytes that a JSON file may have."""

MOST_HEADER, MOST_TENSORS = 64 << 20, 16 << 30
"""Bytes that the header of a tensor file may have, and all of it."""

SEAL = "mlpconv.sha256"
"""The text of a tensor file that holds the SHA-256 of the whole file, in which zeros stand in its own place."""

_BLANK = b"0" * 64


def read_small(path: Path, most: int = MOST_JSON) -> bytes:
    """The contents of a regular file of at most ``most`` bytes. Raises OSError; RunError for anything else."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise RunError(f"{path}: larger than {most:,} bytes, which nothing that mlpconv writes is; not read")
        return file.read()


def open_regular(path: Path) -> Any:
    """A file opened for reading. Raises OSError; RunError for a pipe or a device, which could block."""
    # Without O_NONBLOCK, opening a pipe waits for whoever writes into it.
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise RunError(f"{path}: is no regular file")
    return file


def decode_json(content: bytes | str, kind: Any = Any) -> Any:
    """JSON as ``kind``, strictly: no NaN, no number without bound. Raises ValueError, RecipeError of its own types."""
    try:
        return msgspec.json.decode(content, type=kind)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays with their names and texts beside them, as one sealed safetensors file, atomically."""
    whole = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in tensors.items()}
    content = _ordered(safetensors.numpy.save(whole, {**metadata, SEAL: _BLANK.decode()}))
    place = _seal_place(content)
    assert place
    content[place : place + len(_BLANK)] = hashlib.sha256(content).hexdigest().encode()
    write_atomic(path, content)


def _ordered(content: bytes) -> bytearray:
    """The same safetensors file with its texts in order: the library writes them in any, and a run that is repeated
    should give the same file."""
    start = _data_start(content)
    header = json.loads(content[8:start])
    texts = header.pop("__metadata__", {})
    text = json.dumps({"__metadata__": dict(sorted(texts.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return bytearray().join((len(text).to_bytes(8, "little"), text, memoryview(content)[start:]))


def _data_start(content: bytes | bytearray) -> int:
    return 8 + int.from_bytes(content[:8], "little")


def _seal_place(content: bytes | bytearray) -> int:
    """Where the seal stands, 0 where there is none. In a text, the quotation marks would be escaped."""
    mark = f'"{SEAL}":"'.encode()
    found = content.find(mark, 8, _data_start(content))
    return found + len(mark) if found > 0 else 0


def read_tensors(path: Path, *, sealed: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and texts of a safetensors file. Names, types, shapes and places are verified before memory
    is taken for them, and so is the seal, where there is one.

    sealed: whether there must be. Raises RunError where the file is missing, damaged or something else.
    """
    try:
        content = _read_announced(path)
        tensors = safetensors.numpy.load(content)
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file") from None
    except KeyError as error:
        raise RunError(f"{path}: damaged, or not a safetensors file that NumPy can hold: type {error}") from None
    except MemoryError:
        raise RunError(f"{path}: more than fits into the memory of this machine") from None
    except (safetensors.SafetensorError, OSError, TypeError, ValueError) as error:
        raise RunError(f"{path}: damaged, or not a safetensors file: {error}") from None
    place = _seal_place(content)
    if (place or sealed) and not _is_whole(content, place):
        raise RunError(f"{path}: damaged: its contents are no longer those that were written (SHA-256)")
    header = json.loads(content[8 : _data_start(content)])
    texts = header.pop("__metadata__", None) or {}
    texts.pop(SEAL, None)
    # The library gives them in any order.
    return {name: tensors[name] for name in header}, texts


def _is_whole(content: bytes, place: int) -> bool:
    """Whether the seal at ``place`` is there and says what the rest does."""
    end = place + len(_BLANK)
    digest = hashlib.sha256(memoryview(content)[:place])
    digest.update(_BLANK)
    digest.update(memoryview(content)[end:])
    return bool(place) and digest.hexdigest().encode() == content[place:end]


def _read_announced(path: Path) -> bytes:
    """A safetensors file, of which the header is no longer than the file."""
    with open_regular(path) as file:
        held = os.fstat(file.fileno()).st_size
        head = file.read(8)
        announced = int.from_bytes(head, "little")
        if len(head) < 8 or announced > min(held - 8, MOST_HEADER):
            raise ValueError(f"its header announces {announced:,} bytes, the file holds {held:,}")
        if held > MOST_TENSORS:
            raise ValueError(f"it holds {held:,} bytes, more than any network here has")
        return head + file.read()
