"""Reading and writing the files of a run: tensors with a checksum, and readers that do not trust what they read."""

import hashlib
import json
import os
import reprlib
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from math import prod
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import safetensors.numpy

from mlpconv import hardware
from mlpconv.backends.weights import TensorInfo
from mlpconv.errors import RunError, shortened
from mlpconv.files import TENSOR_TYPES, write_atomic

Natural = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A count or a size in a file: it fits 64 bits."""

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
"""An accuracy, or another share."""

Finite = Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]
"""A loss, or another number whose sums are finite too."""

Positive = Annotated[float, msgspec.Meta(ge=0, le=1e15)]
"""Seconds, or images per second."""

MAX_NAME = 4096
"""Longest name of a class or a data set, in characters: that of a path."""

MAX_JSON_BYTES = 64 << 20
"""Largest JSON file that is read."""

MAX_HEADER_BYTES = 64 << 20
"""Largest header of a tensor file that is read."""

COPIES = 2
"""How many times tensors are in memory when they are used: as they were read, and in a model."""
SMALL = 1 << 20
"""The bytes of tensors up to which the free memory is not asked for."""

SEAL = "mlpconv.sha256"
"""The metadata key with the SHA-256 of the whole file, computed with zeros in place of the digest itself."""

_BLANK = b"0" * 64

_ONLY_ELSEWHERE = ("BF16", "F8_E4M3", "F8_E5M2")
"""Data types of safetensors that NumPy does not have."""


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


def open_regular(path: Path) -> BufferedReader:
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
    except msgspec.DecodeError as error:  # the message may contain a value of any length
        raise ValueError(shortened(str(error))) from None


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and texts as one safetensors file, atomically: see ``tensors_to_bytes``. Raises OSError."""
    write_atomic(path, tensors_to_bytes(tensors, metadata))


def tensors_to_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytearray:
    """The content of a safetensors file with arrays, in the given order, texts and a checksum."""
    contiguous = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in tensors.items()}
    content = _in_order(safetensors.numpy.save(contiguous, {**metadata, SEAL: _BLANK.decode()}), contiguous)
    start = _seal_start(content)
    assert start
    content[start : start + len(_BLANK)] = hashlib.sha256(content).hexdigest().encode()
    return content


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


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The entry of one tensor in the header of a safetensors file."""

    dtype: str
    shape: Annotated[tuple[Natural, ...], msgspec.Meta(max_length=32)]
    data_offsets: tuple[Natural, Natural]


class TensorFile:
    """An open safetensors file, of which only the header was read: see ``open_tensors``."""

    path: Path
    texts: dict[str, str]
    """The texts of its metadata."""
    tensors: dict[str, TensorInfo]
    """The tensors by name, in the order of the header."""

    def __init__(self, path: Path, file: BufferedReader, sealed: bool) -> None:
        """Read the header. Raises ValueError, KeyError or OSError."""
        self.path, self._file = path, file
        file_bytes = os.fstat(file.fileno()).st_size
        prefix = file.read(8)
        header_bytes = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or header_bytes > min(file_bytes - 8, MAX_HEADER_BYTES):
            raise ValueError(f"its header announces {header_bytes:,} bytes, but the file has {file_bytes:,}")
        self._head = prefix + file.read(header_bytes)
        header: dict[str, msgspec.Raw] = decode_json(self._head[8:], dict[str, msgspec.Raw])
        texts = decode_json(bytes(header.pop("__metadata__", b"{}")), dict[str, str] | None) or {}
        self.texts = {name: text for name, text in texts.items() if name != SEAL}
        entries = {name: _entry(name, raw) for name, raw in header.items()}
        self.tensors = {name: TensorInfo(_dtype(name, entry.dtype), entry.shape) for name, entry in entries.items()}
        self._order = sorted(entries, key=lambda name: entries[name].data_offsets)
        end = 0
        for name in self._order:
            if prod(filter(None, entries[name].shape)) >= 2**56:  # NumPy multiplies the sides of empty arrays too
                raise ValueError(f"{_short(name)}: impossible shape")
            first, last = entries[name].data_offsets
            if first != end or last - first != self.tensors[name].nbytes:
                raise ValueError(f"{_short(name)}: its shape, type and place in the file do not fit together")
            end = last
        if 8 + header_bytes + end != file_bytes:
            raise ValueError(f"its header announces {8 + header_bytes + end:,} bytes, but the file has {file_bytes:,}")
        self._start = _seal_start(self._head)
        if sealed and not self._start:
            raise _Changed
        free = hardware.available_memory() if end > SMALL else None
        if free is not None and COPIES * end > free:
            raise MemoryError(f"its {end:,} bytes need {COPIES * end:,} bytes of memory, and {free:,} are free")

    def read(self) -> dict[str, np.ndarray]:
        """Read all tensors, in the order of the header, and verify the checksum if there is one.

        Raises:
            RunError: The file is damaged.
        """
        with _refusing(self.path):
            start = self._start
            digest = hashlib.sha256(self._head[:start] + _BLANK + self._head[start + len(_BLANK) :])
            found = {}
            for name in self._order:
                info = self.tensors[name]
                found[name] = np.empty(info.shape, info.dtype)
                content = found[name].reshape(-1).view(np.uint8)
                if self._file.readinto(memoryview(content)) != len(content):
                    raise ValueError("it was shortened while it was read")
                if start:
                    digest.update(content)
            if start and digest.hexdigest().encode() != self._head[start : start + len(_BLANK)]:
                raise _Changed
            return {name: found[name] for name in self.tensors}


class _Changed(Exception):
    """The checksum is wrong, or missing where there has to be one."""


@contextmanager
def open_tensors(path: Path, *, sealed: bool = False) -> Iterator[TensorFile]:
    """Open a safetensors file and read its header, so that what it announces can be checked before memory is taken.

    Names, types, shapes and offsets are verified against the size of the file and the free memory.

    Args:
        path: The file.
        sealed: Whether the file must have a checksum.

    Raises:
        RunError: The file is missing, damaged, not a safetensors file, or too large for the memory.
    """
    with ExitStack() as stack:
        with _refusing(path):
            file = TensorFile(path, stack.enter_context(open_regular(path)), sealed)
        yield file


def read_tensors(path: Path, *, sealed: bool = False) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read the arrays and texts of a safetensors file. Arguments and errors are those of ``open_tensors``."""
    with open_tensors(path, sealed=sealed) as file:
        return file.read(), file.texts


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Errors in reading a tensor file become RunError."""
    try:
        yield
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file") from None
    except KeyError as error:
        raise RunError(f"{path}: damaged, or with a data type that NumPy does not have: {error}") from None
    except MemoryError as error:
        detail = f" ({error})" if str(error) else ""
        raise RunError(f"{path}: does not fit into the memory of this machine{detail}") from None
    except _Changed:
        raise RunError(f"{path}: damaged: its content has changed since it was written (SHA-256)") from None
    except (OSError, TypeError, ValueError) as error:
        raise RunError(f"{path}: damaged, or not a safetensors file: {error}") from None


def _entry(name: str, raw: msgspec.Raw) -> _Entry:
    try:
        return decode_json(bytes(raw), _Entry)
    except ValueError as error:
        raise ValueError(f"{_short(name)}: {error}") from None


def _dtype(name: str, code: str) -> np.dtype:
    if code in TENSOR_TYPES:
        return np.dtype(TENSOR_TYPES[code])
    if code in _ONLY_ELSEWHERE:
        raise KeyError(f"{_short(name)}: {code}")
    raise ValueError(f"{_short(name)}: unknown data type {_short(code)}")


def _short(text: str) -> str:
    return reprlib.repr(text)
