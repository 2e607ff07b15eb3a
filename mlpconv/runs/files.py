"""Files that are there whole or not at all."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from mlpconv.errors import RunError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write a file under another name, force it to disk, then rename: a reader sees the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays with their names and texts beside them, as one safetensors file, atomically."""
    whole = {name: np.ascontiguousarray(value).reshape(value.shape) for name, value in tensors.items()}
    write_atomic(path, _ordered(safetensors.numpy.save(whole, dict(metadata))))


def _ordered(content: bytes) -> bytes:
    """The same safetensors file with its texts in order: the library writes them in any, and a run that is repeated
    should give the same file."""
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    texts = header.pop("__metadata__", {})
    text = json.dumps({"__metadata__": dict(sorted(texts.items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[start:]


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and texts of a safetensors file. Raises RunError where it is missing, damaged or something else."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names: Any = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except FileNotFoundError:
        raise RunError(f"{path}: there is no such file") from None
    except (safetensors.SafetensorError, OSError, TypeError, ValueError, KeyError) as error:
        raise RunError(f"{path}: damaged, or not a safetensors file: {error}") from None
