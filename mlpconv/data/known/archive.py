"""Files out of a tar or zip archive, read one by one: nothing is unpacked to where the archive says."""

import contextlib
import hashlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from mlpconv.data.known.descriptors import Archive, SourceFile, published_name
from mlpconv.errors import DataError

_CHUNK = 1 << 18


def verify_archive(archive: Archive, path: Path) -> None:
    """Raise DataError unless an archive is the published one."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "md5").hexdigest()
    if digest != archive.md5:
        raise DataError(
            f"{path}: not {archive.name} as it is published: expected MD5 {archive.md5}, found {digest}; fetch it again"
        )


@contextlib.contextmanager
def opened(archive: Archive, path: Path) -> Iterator[Callable[[SourceFile], Generator[bytes, None, None]]]:
    """A function that gives a file's bytes out of an archive.

    Raises DataError for what is no archive or damaged, for one with links or with names that lead out of it, and where
    a file is not in it or is larger than its limit.
    """
    try:
        with contextlib.ExitStack() as stack:
            if zipfile.is_zipfile(path):
                packed = stack.enter_context(zipfile.ZipFile(path))
                members = {info.filename: info.file_size for info in packed.infolist()}
                _check(path, members)
                yield _reader(archive, path, members, lambda name: cast(BinaryIO, packed.open(name)))
            else:
                tar = stack.enter_context(tarfile.open(path, "r:*"))
                infos = {info.name: info for info in tar.getmembers()}
                _check(path, infos, [info.name for info in infos.values() if info.issym() or info.islnk()])
                members = {name: info.size for name, info in infos.items() if info.isfile()}
                yield _reader(archive, path, members, lambda name: cast(BinaryIO, tar.extractfile(infos[name])))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be read as an archive ({error}); fetch it again") from error


def _check(path: Path, names, links=()) -> None:
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts:
            raise DataError(f"{path}: refused: the name {name!r} in it leads out of the archive")
    if links:
        raise DataError(f"{path}: refused: {links[0]!r} in it is a link")


def _reader(archive: Archive, path: Path, members: dict[str, int], open_: Callable[[str], BinaryIO]):
    def read(file: SourceFile) -> Generator[bytes, None, None]:
        name = f"{archive.prefix}/{published_name(file)}"
        if name not in members:
            raise DataError(f"{path}: it has no {name}")
        limit = file.size + file.size // 100 + 65536
        if members[name] > limit:
            raise DataError(f"{path}: {name} in it has {members[name]:,} bytes, more than the {limit:,} allowed")
        with open_(name) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk

    return read
