"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

_PART = ".part"


def write_atomic(path: Path, content: bytes | bytearray | str) -> None:
    """Write a file under another name, force it to disk, then rename: a reader sees the old file or the new one."""
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PART)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:  # Ctrl-C too leaves no half file behind
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Force the names in a directory to disk."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_partial_files(directory: Path) -> None:
    """Remove what processes that were killed in the middle of ``write_atomic`` left behind."""
    for left in directory.glob(f".*{_PART}"):
        left.unlink(missing_ok=True)


def is_partial_file(path: Path) -> bool:
    """Whether ``sweep`` would remove it."""
    return path.name.startswith(".") and path.name.endswith(_PART)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
