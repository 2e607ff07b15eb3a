"""Files that are written completely or not at all, and what to do about those that cannot be written."""

import csv
import errno
import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PARTIAL_SUFFIX = ".part"

TENSOR_TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "?",
}
"""NumPy's data types by their names in a safetensors file."""


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
        OSError: The file cannot be written; its ``filename`` is ``path``.
    """
    with named_errors(path):
        yield from _atomic_file(path)


def _atomic_file(path: Path) -> Iterator[BinaryIO]:
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
        with suppress(OSError):  # the first error says what is wrong
            temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def csv_line(cells: Sequence[str]) -> str:
    r"""A line of CSV that ends in a line feed. Cells with a carriage return are quoted, too, as readers require."""
    text = io.StringIO(newline="")
    csv.writer(text).writerow(cells)  # quotes the characters of its line end, which is \r\n
    return text.getvalue().removesuffix("\r\n") + "\n"


def write_atomic(path: Path, content: bytes | bytearray | memoryview | str) -> None:
    """Write a file with `atomic_file`; text is encoded as UTF-8."""
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space, or ask for a larger quota",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EROFS: "mount the file system for writing",
    errno.EACCES: "check the permissions of the file and its directory",
    errno.EPERM: "check the permissions of the file and its directory",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network drive",
    errno.ENOTCONN: "check the network drive",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "close other programs: the system has too many open files",
}
"""What to do about errors that the machine causes, and not a program."""


@contextmanager
def named_errors(path: Path) -> Iterator[None]:
    """Within the block, an OSError that names no file, as of writing to an open one, or its temporary file, names
    ``path``."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and (error.filename is None or is_partial_file(Path(os.fsdecode(error.filename)))):
            error.filename, error.filename2 = str(path), None
        raise


def unwritable(place: object, error: OSError, *, otherwise: str = "choose another path") -> str:
    """The message for a file or directory that cannot be written.

    Args:
        place: The file or directory, with the option that names it if there is one.
        error: What the system reports.
        otherwise: What to do besides the remedy for this error.
    """
    remedies = [remedy for remedy in (REMEDIES.get(error.errno or 0, ""), otherwise) if remedy]
    return f"{place}: cannot be written: {error.strerror or error}; {', or '.join(remedies)}"


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
