"""Bring a data set's files into the cache: verified, whole, and once, however many processes ask.

Downloads use requests directly. What pooch would add is naming and hashing of the files as sent; here the unzipped
contents are verified instead, since mirrors and Debian compress the same contents anew. And its downloader sets no
bound on size and leaves the connection open when a download is abandoned.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from mlpconv.data.known.archive import opened, verify_archive
from mlpconv.data.known.descriptors import Archive, Source, SourceFile, locate, log, published_name, read_verified
from mlpconv.data.known.idx import GZIP_MAGIC
from mlpconv.data.lock import locked
from mlpconv.errors import DataError

Progress = Callable[[str, int, int], None]
"""Called as a download goes on with the file's name, the bytes so far, and their number or 0 where it is not known."""

Reader = Callable[[SourceFile], Generator[bytes, None, None]]
"""Gives a file's bytes as they are stored at one place."""

_CONNECT_SECONDS = 10
_READ_SECONDS = 60
_FILE_SECONDS = 1800
_COMMAND_SECONDS = 600
_CHUNK = 1 << 18


class _PlaceFailed(Exception):
    """A place gives nothing (more): the next one is tried. The message is one line, without the place's name."""


class _FileFailed(Exception):
    """A place does not have one file as published, but may have the others. The message names the file."""


def drop_damaged(source: Source, directory: Path) -> None:
    """Remove from the cache what is not as published, naming each file in a warning."""
    with _locked(directory):
        _wanted(source, directory)


def fetch(
    source: Source,
    directory: Path,
    attempts: list[str],
    progress: Progress | None = None,
    near: Sequence[Path] = (),
    download: bool = True,
) -> str | None:
    """Get into `directory` what it lacks of a source's files, from the first place that gives them whole.

    A process that finds another one fetching waits for it, and takes what it brought.

    Args:
        source: the data set.
        directory: its directory in the cache; made where missing.
        attempts: receives a line for each place that failed.
        progress: told how far each download is.
        near: directories of this machine to copy from before anything is downloaded, the files or their archive.
        download: False copies only.

    Returns:
        Where the files came from; None where some could not be had.

    Raises:
        DataError: the directory cannot be written.
    """
    with _locked(directory):
        wanted = _wanted(source, directory)
        if not wanted:
            return "the cache, where another process has just put it"
        origins = []
        for place, opened in _places(source, directory, progress, near, download):
            before = len(wanted)
            failures = []
            try:
                with opened as read:
                    for file in tuple(wanted):
                        try:
                            _store(file, directory, read(file))
                            wanted.remove(file)
                        except _FileFailed as error:
                            failures.append(error)
            except _PlaceFailed as error:
                failures.append(error)
            for failure in failures:
                attempts.append(f"{place}: {failure}")
                log.info("%s: %s", source.name, attempts[-1])
            if len(wanted) < before:
                origins.append(place)
            if not wanted:
                return " and ".join(origins)
    return None


def _places(
    source: Source, own: Path, progress: Progress | None, near: Sequence[Path], download: bool
) -> Iterator[tuple[str, contextlib.AbstractContextManager[Reader]]]:
    archive = source.archive
    for directory in near:
        yield str(directory), contextlib.nullcontext(functools.partial(_copy, directory))
        if archive and (directory / archive.name).is_file():
            yield str(directory / archive.name), _unpacked(archive, directory / archive.name)
    if not download:
        return
    for url in source.urls:
        base = url.rstrip("/") + "/"
        yield base, contextlib.nullcontext(functools.partial(_download, base, progress))
    if archive:
        yield archive.url, _fetched(archive, own, progress)
    if source.debian_package:
        yield f"apt-get download {source.debian_package}", _package(source)


def _download(base: str, progress: Progress | None, file: SourceFile) -> Generator[bytes, None, None]:
    # Contents that do not compress grow a little.
    return _stream(base, published_name(file), file.size + file.size // 100 + 65536, progress)


def _stream(base: str, name: str, limit: int, progress: Progress | None) -> Generator[bytes, None, None]:
    import requests

    deadline = time.monotonic() + _FILE_SECONDS
    received = 0
    try:
        with requests.get(base + name, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS)) as response:
            if response.status_code != 200:
                raise _FileFailed(f"{name}: answered {response.status_code} {response.reason}")
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else 0
            for chunk in response.iter_content(_CHUNK):
                received += len(chunk)
                if received > limit:
                    raise _FileFailed(f"{name}: sends more than {limit:,} bytes; given up")
                if time.monotonic() > deadline:
                    raise _PlaceFailed(f"{name}: only {received:,} bytes in {_FILE_SECONDS} s; given up")
                if progress:
                    progress(name, received, total)
                yield chunk
    except OSError as error:  # as all errors of requests are
        raise _PlaceFailed(f"{name}: {_in_a_line(error)}") from error


@contextlib.contextmanager
def _fetched(archive: Archive, own: Path, progress: Progress | None) -> Iterator[Reader]:
    """An archive, downloaded for as long as its files are taken out of it."""
    part = own / f".{archive.name}.part"
    try:
        with part.open("wb") as out:
            try:
                for chunk in _stream(archive.url.removesuffix(archive.name), archive.name, archive.size, progress):
                    out.write(chunk)
            except _FileFailed as error:
                raise _PlaceFailed(str(error)) from error
        with _unpacked(archive, part) as read:
            yield read
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _unpacked(archive: Archive, path: Path) -> Iterator[Reader]:
    try:
        verify_archive(archive, path)
        with opened(archive, path) as read:
            yield read
    except DataError as error:
        raise _PlaceFailed(str(error).removeprefix(f"{path}: ")) from error


@contextlib.contextmanager
def _package(source: Source) -> Iterator[Reader]:
    """Debian's package of the data set, taken apart without installing it, so that it needs no rights."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _PlaceFailed("there is no apt-get here")
    try:
        temporary = tempfile.TemporaryDirectory(prefix="mlpconv-")
    except OSError as error:
        raise _PlaceFailed(f"no temporary directory can be made ({error.strerror})") from error
    with temporary as name:
        _run(name, "apt-get", "download", source.debian_package)
        packages = list(Path(name).glob("*.deb"))
        if not packages:
            raise _PlaceFailed("it brought no package")
        _run(name, "dpkg-deb", "-x", str(packages[0]), "contents")
        yield functools.partial(_copy, Path(name, "contents", source.debian_directory.lstrip("/")))


def _copy(directory: Path, file: SourceFile) -> Generator[bytes, None, None]:
    path = locate(file, directory)
    if path is None:
        raise _FileFailed(f"it has no {file.name}")
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise _FileFailed(f"{file.name} cannot be read ({error.strerror})") from error


def _run(directory: str, *command: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _PlaceFailed(f"{command[0]} took more than {_COMMAND_SECONDS} s") from error
    except OSError as error:
        raise _PlaceFailed(f"{command[0]} did not start ({error.strerror})") from error
    if done.returncode:
        lines = done.stdout.decode(errors="replace").split("\n")
        said = next((line for line in lines if line.startswith("E:")), "nothing of use")
        raise _PlaceFailed(f"{command[0]} ended with status {done.returncode} and said {said}")


def _wanted(source: Source, directory: Path) -> list[SourceFile]:
    """What the cache lacks. The lock must be held: nobody else is then writing the parts that are swept away."""
    for part in directory.glob(".*.part"):
        part.unlink()
    wanted = []
    for file in source.files:
        while path := locate(file, directory):
            try:
                read_verified(file, path)
                break
            except DataError as error:
                log.warning("%s; removed from the cache", error)
                path.unlink()
        else:
            wanted.append(file)
    return wanted


def _store(file: SourceFile, directory: Path, chunks: Generator[bytes, None, None]) -> None:
    """Write a file into the cache: under its name it is whole and verified, or it is not there."""
    part = directory / f".{file.name}.part"
    try:
        with part.open("wb") as out, contextlib.closing(chunks):
            for chunk in chunks:
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        try:
            read_verified(file, part)
        except DataError as error:
            reason = str(error).removeprefix(f"{part}: ").removesuffix("; fetch the file again")
            raise _FileFailed(f"{file.name}: {reason}") from error
        with part.open("rb") as written:
            # A server may have unzipped it on the way.
            zipped = file.zipped and written.read(2) == GZIP_MAGIC
        part.replace(directory / (f"{file.name}.gz" if zipped else file.name))
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with locked(directory / ".lock", "fetching into it"):
            yield
    except OSError as error:
        raise DataError(
            f"{directory}: the cache cannot be written ({error.strerror or error}); mend that, or set MLPCONV_CACHE to "
            "another directory"
        ) from error


def _in_a_line(error: BaseException) -> str:
    """The innermost reason of an error of requests, which wraps those of urllib3 that wrap those of the system."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in reversed(error.args) if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        error = inner
    return str(error).rpartition(": ")[2].split("\n")[0] or type(error).__name__
