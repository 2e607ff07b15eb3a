"""The files of a known data set: what they are, where they lie, and whether they are as published."""

import hashlib
import logging
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from mlpconv.data.known.idx import GZIP_MAGIC, read_contents
from mlpconv.errors import DataError

log = logging.getLogger("mlpconv.data")


class SourceFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a data set: its role ("train_images", "test_labels", "train_1" …), its name without `.gz`, and the
    size of its unzipped contents. Contents are verified by what is published: sha256 is of the unzipped contents, md5
    of the file as it is sent; where a file can be compared with neither, its size and counts must be right."""

    role: str
    name: str
    size: int
    sha256: str = ""
    md5: str = ""
    zipped: bool = True
    """Whether it is published as `.gz`; it is an IDX file then, and taken unzipped too."""


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """A tar or zip file that holds a data set's files in the folder `prefix`. size: the most bytes it has.
    md5: of the archive."""

    url: str
    size: int
    md5: str
    prefix: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


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
    format: Literal["idx", "emnist", "cifar", "svhn"] = "idx"
    files: tuple[SourceFile, ...] = ()
    urls: tuple[str, ...] = ()
    """Addresses of directories that hold the files, those that are zipped as `.gz`: the official one, then mirrors."""
    archive: Archive | None = None
    debian_package: str = ""
    debian_directory: str = ""
    extra: str = ""


class Location(NamedTuple):
    """Where a data set's verified files are, and where they came from (in words)."""

    path: Path
    origin: str


def locate(file: SourceFile, directory: Path) -> Path | None:
    """The path of a file in a directory, gzipped or not; None where there is neither."""
    names = (f"{file.name}.gz", file.name) if file.zipped else (file.name,)
    try:
        return next((path for name in names if (path := directory / name).is_file()), None)
    except OSError as error:
        raise DataError(f"{directory}: cannot be read ({error.strerror}); check its rights") from error


def read_verified(file: SourceFile, path: Path) -> bytearray:
    """The unzipped contents of a file. Raises DataError unless they are the published ones, as far as that is known."""
    contents = read_contents(path, limit=file.size) if file.zipped else _read_whole(file, path)
    if file.sha256:
        _compare(file, path, "SHA-256", file.sha256, hashlib.sha256(contents).hexdigest())
    elif file.md5 and (not file.zipped or _is_zipped(path)):
        with path.open("rb") as stored:
            _compare(file, path, "MD5", file.md5, hashlib.file_digest(stored, "md5").hexdigest())
    return contents


def _compare(file: SourceFile, path: Path, kind: str, expected: str, found: str) -> None:
    if found != expected:
        raise DataError(
            f"{path}: its contents are not those of {file.name}: expected {kind} {expected}, found {found}; "
            "fetch the file again"
        )


def _is_zipped(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def _read_whole(file: SourceFile, path: Path) -> bytearray:
    try:
        held = path.stat().st_size
        if held != file.size:
            raise DataError(f"{path}: expected {file.size:,} bytes, it has {held:,}; fetch the file again")
        return bytearray(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); check the path and its rights") from error


def published_name(file: SourceFile) -> str:
    """The name under which a file is sent."""
    return f"{file.name}.gz" if file.zipped else file.name


def read_files(source: Source, directory: Path) -> dict[str, bytearray]:
    """The verified contents of the files, by role. Raises DataError where one is missing or not as published."""
    contents = {}
    for file in source.files:
        path = locate(file, directory)
        if path is None:
            raise DataError(f"{directory}: {published_name(file)} is not there; is something clearing this directory?")
        contents[file.role] = read_verified(file, path)
    return contents


def missing_files(source: Source, directory: Path) -> str:
    """The names of the files that a directory lacks, as people read them; empty where it has them all."""
    return ", ".join(published_name(file) for file in source.files if not locate(file, directory))


def file_names(source: Source) -> str:
    """The names of a data set's files, as people read them."""
    return ", ".join(published_name(file) for file in source.files)


def folders_in(source: Source, directory: Path) -> tuple[Path, ...]:
    """Where in a directory a data set may lie: in one of its name, in the one that its archive makes, or in itself."""
    inside = (directory / source.archive.prefix,) if source.archive else ()
    return (directory / source.name, *inside, directory)
