"""Read the files of a data set out of a tar or zip archive, one by one, without unpacking the archive."""

import contextlib
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from mlpconv.data.known.source import Archive, SourceFile
from mlpconv.errors import DataError

_CHUNK_BYTES = 1 << 18

FileReader = Callable[[SourceFile], Generator[bytes, None, None]]
"""Yields the bytes of a file as they are stored in one place: a directory, a server, an archive."""


@contextlib.contextmanager
def open_archive(archive: Archive, path: Path) -> Iterator[FileReader]:
    """Open an archive and yield a function that reads a file out of it.

    Raises:
        DataError: The file is not an archive or is damaged; the archive contains links, or names that point outside it;
            a file is missing from it or is larger than expected.
    """
    try:
        with contextlib.ExitStack() as stack:
            if zipfile.is_zipfile(path):
                packed = stack.enter_context(zipfile.ZipFile(path))
                sizes = {info.filename: info.file_size for info in packed.infolist()}
                _check_members(path, sizes)
                yield _member_reader(archive, path, sizes, packed.open)
            else:
                tar = stack.enter_context(tarfile.open(path, "r:*"))
                infos = {info.name: info for info in tar.getmembers()}
                _check_members(
                    path, infos, links=[info.name for info in infos.values() if info.issym() or info.islnk()]
                )

                def open_member(name: str) -> IO[bytes]:
                    stream = tar.extractfile(infos[name])
                    assert stream is not None  # only regular files are opened
                    return stream

                sizes = {name: info.size for name, info in infos.items() if info.isfile()}
                yield _member_reader(archive, path, sizes, open_member)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise DataError(f"{path}: cannot be read as an archive: {error}; download the file again") from error


def _check_members(path: Path, names: Collection[str], links: Collection[str] = ()) -> None:
    for name in names:
        member = PurePosixPath(name.replace("\\", "/"))
        if member.is_absolute() or ".." in member.parts:
            raise DataError(f"{path}: refused: the name {name!r} in it points outside the archive")
    for name in links:
        raise DataError(f"{path}: refused: {name!r} in it is a link")


def _member_reader(
    archive: Archive, path: Path, sizes: dict[str, int], open_member: Callable[[str], IO[bytes]]
) -> FileReader:
    def read(file: SourceFile) -> Generator[bytes, None, None]:
        name = f"{archive.prefix}/{file.published_name}"
        if name not in sizes:
            raise DataError(f"{path}: does not contain {name}")
        limit = file.max_published_size
        if sizes[name] > limit:
            raise DataError(f"{path}: {name} in it has {sizes[name]:,} bytes, more than the {limit:,} allowed")
        with open_member(name) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk

    return read
