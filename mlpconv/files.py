"""Files that are written completely or not at all."""

import csv
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

_PARTIAL_SUFFIX = ".part"


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` when the block ends.

    At any time, also after a crash or a power failure, a reader of ``path`` sees the old content or all of the new one.
    If the block raises an exception, ``path`` stays as it was. The temporary file is in the same directory; a killed
    process leaves it there (see `remove_partial_files`).

    Args:
        path: The file to create or replace. Its directory must exist.

    Yields:
        The temporary file, open for writing bytes; its path is ``file.name``.

    Raises:
        OSError: The file cannot be written.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_PARTIAL_SUFFIX)
    temporary = Path(name)
    try:
        os.close(descriptor)
        with temporary.open("wb") as file:  # unlike os.fdopen, gives the file its name
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except BaseException:  # including KeyboardInterrupt
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def csv_line(cells: Sequence[str]) -> str:
    r"""A line of CSV that ends in a line feed. Cells with a carriage return are quoted, too, as readers require."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)  # quotes the characters of its line end, which is \r\n
    return text.getvalue().removesuffix("\r\n") + "\n"


def write_atomic(path: Path, content: bytes | bytearray | str) -> None:
    """Write a file with `atomic_file`; text is encoded as UTF-8."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def sync_directory(path: Path) -> None:
    """Force the names in a directory to disk."""
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def remove_partial_files(directory: Path) -> None:
    """Remove the temporary files of processes that were killed inside `atomic_file`."""
    for path in directory.glob(f".*{_PARTIAL_SUFFIX}"):
        path.unlink(missing_ok=True)


def is_partial_file(path: Path) -> bool:
    """Whether `remove_partial_files` would remove this file."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL_SUFFIX)


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
