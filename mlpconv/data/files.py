"""The files of a known data set: what they are, where they lie, and whether they are as published."""

import hashlib
import logging
from pathlib import Path
from typing import NamedTuple

import msgspec

from mlpconv.data.idx import read_contents
from mlpconv.errors import DataError

log = logging.getLogger("mlpconv.data")


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One IDX file: its role ("train_images", "train_labels", "test_images", "test_labels"), its name without `.gz`,
    and the size and SHA-256 of its unzipped contents."""

    role: str
    name: str
    size: int
    sha256: str


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A known data set. `files` is empty for one that comes with the Python package of `extra`."""

    name: str
    title: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    """(H, W, C)."""
    counts: tuple[int, int]
    """Images for training and for testing."""
    licence: str
    citation: str
    files: tuple[SourceFile, ...] = ()
    urls: tuple[str, ...] = ()
    """Addresses of directories that hold the files as `.gz`: the official one, then mirrors."""
    debian_package: str = ""
    debian_directory: str = ""
    extra: str = ""


class Location(NamedTuple):
    """Where a data set's verified files are, and where they came from (in words)."""

    path: Path
    origin: str


def locate(file: SourceFile, directory: Path) -> Path | None:
    """The path of a file in a directory, gzipped or not; None where there is neither."""
    try:
        return next((path for path in (directory / f"{file.name}.gz", directory / file.name) if path.is_file()), None)
    except OSError as error:
        raise DataError(f"{directory}: cannot be read ({error.strerror}); check its rights") from error


def read_verified(file: SourceFile, path: Path) -> bytearray:
    """The unzipped contents of a file. Raises DataError unless they are, by SHA-256, the published ones."""
    contents = read_contents(path, limit=file.size)
    digest = hashlib.sha256(contents).hexdigest()
    if digest != file.sha256:
        raise DataError(
            f"{path}: its contents are not those of {file.name}: expected SHA-256 {file.sha256}, found {digest}; "
            "fetch the file again"
        )
    return contents


def read_files(source: Source, directory: Path) -> dict[str, bytearray]:
    """The verified contents of the files, by role. Raises DataError where one is missing or not as published."""
    contents = {}
    for file in source.files:
        path = locate(file, directory)
        if path is None:
            raise DataError(f"{directory}: {file.name}.gz is not there; is something clearing this directory?")
        contents[file.role] = read_verified(file, path)
    return contents


def missing_files(source: Source, directory: Path) -> str:
    """The names of the files that a directory lacks, as people read them; empty where it has them all."""
    return ", ".join(f"{file.name}.gz" for file in source.files if not locate(file, directory))


def file_names(source: Source) -> str:
    """The names of a data set's files, as people read them."""
    return ", ".join(f"{file.name}.gz" for file in source.files)
