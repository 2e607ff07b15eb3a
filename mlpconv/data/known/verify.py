"""The files of a data set in a directory: which are there, and whether their contents are the published ones."""

import hashlib
from pathlib import Path

from mlpconv.data.known.idx import GZIP_MAGIC, read_contents
from mlpconv.data.known.source import Archive, Source, SourceFile
from mlpconv.errors import DataError


def candidate_directories(source: Source, directory: Path) -> tuple[Path, ...]:
    """Where a data set may be inside a directory that a user gives.

    In a subdirectory of the data set's name, in the one that unpacking its archive creates, or directly in it.
    """
    unpacked = (directory / source.archive.prefix,) if source.archive else ()
    return (directory / source.name, *unpacked, directory)


def find_file(file: SourceFile, directory: Path) -> Path | None:
    """The path of a file in a directory, gzipped or not, or None.

    Raises:
        DataError: The directory cannot be read.
    """
    names = (file.published_name, file.name) if file.zipped else (file.name,)
    try:
        return next((path for name in names if (path := directory / name).is_file()), None)
    except OSError as error:
        raise DataError(f"{directory}: cannot be read: {error.strerror}; check its permissions") from error


def missing_files(source: Source, directory: Path) -> str:
    """The names of the files that a directory lacks, for messages; empty if it has all of them."""
    return ", ".join(file.published_name for file in source.files if not find_file(file, directory))


def read_files(source: Source, directory: Path) -> dict[str, bytearray]:
    """The verified contents of all files of a data set, by role.

    Raises:
        DataError: A file is missing or differs from the published one.
    """
    contents = {}
    for file in source.files:
        path = find_file(file, directory)
        if path is None:
            raise DataError(
                f"{directory}: {file.published_name} has disappeared; check whether another program cleans this "
                "directory"
            )
        contents[file.role] = read_verified(file, path)
    return contents


def read_verified(file: SourceFile, path: Path) -> bytearray:
    """The uncompressed contents of a file, compared with its published checksum (see `SourceFile`).

    Raises:
        DataError: The file cannot be read, or differs from the published one.
    """
    contents = read_contents(path, limit=file.size) if file.zipped else _read_uncompressed(file, path)
    if file.sha256:
        _compare(file, path, "SHA-256", file.sha256, hashlib.sha256(contents).hexdigest())
    elif file.md5 and (not file.zipped or _is_gzipped(path)):
        _compare(file, path, "MD5", file.md5, _md5(path))
    return contents


def verify_archive(archive: Archive, path: Path) -> None:
    """Check the MD5 of an archive.

    Raises:
        DataError: The archive differs from the published one.
    """
    digest = _md5(path)
    if digest != archive.md5:
        raise DataError(
            f"{path}: differs from the published {archive.name}: expected MD5 {archive.md5}, received {digest}; "
            "download the file again"
        )


def _compare(file: SourceFile, path: Path, algorithm: str, expected: str, received: str) -> None:
    if received != expected:
        raise DataError(
            f"{path}: differs from the published {file.name}: expected {algorithm} {expected}, received {received}; "
            "download the file again"
        )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _is_gzipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def _read_uncompressed(file: SourceFile, path: Path) -> bytearray:
    try:
        size = path.stat().st_size
        if size != file.size:
            raise DataError(f"{path}: expected {file.size:,} bytes, received {size:,}; download the file again")
        return bytearray(path.read_bytes())
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from error
