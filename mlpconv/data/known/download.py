"""Get the files of a data set into a directory: verified, complete, and only once if several processes need them.

Downloads use requests directly rather than pooch. pooch names and hashes files as they are sent; here the uncompressed
contents are verified, because mirrors and Debian compress the same contents differently. Its downloader also sets no
limit on the size and leaves the connection open when a download is abandoned.
"""

import contextlib
import functools
import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

from mlpconv.data.cache_directory import cache_lock
from mlpconv.data.known.archive import FileReader, open_archive
from mlpconv.data.known.idx import GZIP_MAGIC
from mlpconv.data.known.source import Archive, Source, SourceFile
from mlpconv.data.known.verify import find_file, read_verified, verify_archive
from mlpconv.errors import DataError
from mlpconv.files import atomic_file, remove_partial_files

Progress = Callable[[str, int, int], None]
"""Called during a download with the name of the file, the bytes received, and the bytes in total or 0 if unknown."""

_CONNECT_TIMEOUT_SECONDS = 10
_READ_TIMEOUT_SECONDS = 60
_FILE_TIMEOUT_SECONDS = 1800
_COMMAND_TIMEOUT_SECONDS = 600
_CHUNK_BYTES = 1 << 18

_log = logging.getLogger("mlpconv.data")


class _OriginFailed(Exception):
    """An origin gives no (more) files: try the next one. The message is one line and does not name the origin."""


class _FileFailed(Exception):
    """An origin lacks one file, or has another version of it; it may have the others. The message names the file."""


def remove_damaged(source: Source, directory: Path) -> None:
    """Remove files that differ from the published ones from the cache, with a warning for each.

    Raises:
        DataError: The directory cannot be written.
    """
    with _locked(directory):
        _files_to_fetch(source, directory)


def fetch(
    source: Source,
    directory: Path,
    failures: list[str],
    progress: Progress | None = None,
    copy_from: Sequence[Path] = (),
    download: bool = True,
) -> str | None:
    """Get the files of a data set that ``directory`` lacks, from the first origin that has each of them.

    If another process is fetching into the directory, wait for it and use its files.

    Args:
        source: The data set.
        directory: Its directory in the cache; created if missing.
        failures: A line is appended for each origin that failed.
        progress: Called during downloads.
        copy_from: Directories on this machine to copy the files or their archive from before downloading anything.
        download: False to only copy.

    Returns:
        Where the files came from, or None if some are not available anywhere.

    Raises:
        DataError: The directory cannot be written.
    """
    with _locked(directory):
        missing = _files_to_fetch(source, directory)
        if not missing:
            return "the cache, where another process has just put it"
        origins = []
        for origin, opened in _origins(source, directory, progress, copy_from, download):
            missing_before = len(missing)
            errors = []
            try:
                with opened as read:
                    for file in tuple(missing):
                        try:
                            _store(file, directory, read(file))
                            missing.remove(file)
                        except _FileFailed as error:
                            errors.append(error)
            except _OriginFailed as error:
                errors.append(error)
            for error in errors:
                failures.append(f"{origin}: {error}")
                _log.info("%s: %s", source.name, failures[-1])
            if len(missing) < missing_before:
                origins.append(origin)
            if not missing:
                return " and ".join(origins)
    return None


def _origins(
    source: Source, directory: Path, progress: Progress | None, copy_from: Sequence[Path], download: bool
) -> Iterator[tuple[str, contextlib.AbstractContextManager[FileReader]]]:
    """Where the files may come from, in the order to try: a name for messages, and how to read files there."""
    archive = source.archive
    for local in copy_from:
        yield str(local), contextlib.nullcontext(functools.partial(_copy, local))
        if archive and (local / archive.name).is_file():
            yield str(local / archive.name), _opened_archive(archive, local / archive.name)
    if not download:
        return
    for url in source.urls:
        base = url.rstrip("/") + "/"
        yield base, contextlib.nullcontext(functools.partial(_download, base, progress))
    if archive:
        yield archive.url, _downloaded_archive(archive, directory, progress)
    if source.debian_package:
        yield f"apt-get download {source.debian_package}", _debian_package(source)


def _download(base: str, progress: Progress | None, file: SourceFile) -> Generator[bytes, None, None]:
    return _stream(base, file.published_name, file.max_published_size, progress)


def _stream(base: str, name: str, limit: int, progress: Progress | None) -> Generator[bytes, None, None]:
    import requests

    deadline = time.monotonic() + _FILE_TIMEOUT_SECONDS
    timeout = (_CONNECT_TIMEOUT_SECONDS, _READ_TIMEOUT_SECONDS)
    received = 0
    try:
        with requests.get(base + name, stream=True, timeout=timeout) as response:
            if response.status_code != 200:
                raise _FileFailed(f"{name}: the server answered {response.status_code} {response.reason}")
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else 0
            for chunk in response.iter_content(_CHUNK_BYTES):
                received += len(chunk)
                if received > limit:
                    raise _FileFailed(f"{name}: stopped: the server sends more than the expected {limit:,} bytes")
                if time.monotonic() > deadline:
                    raise _OriginFailed(f"{name}: stopped: only {received:,} bytes in {_FILE_TIMEOUT_SECONDS} s")
                if progress:
                    progress(name, received, total)
                yield chunk
    except OSError as error:  # the base class of all exceptions of requests
        raise _OriginFailed(f"{name}: {_innermost_reason(error)}") from error


@contextlib.contextmanager
def _downloaded_archive(archive: Archive, directory: Path, progress: Progress | None) -> Iterator[FileReader]:
    """Download an archive, and delete it when its files have been read."""
    partial = directory / f".{archive.name}.part"
    try:
        with partial.open("wb") as out:
            try:
                for chunk in _stream(archive.url.removesuffix(archive.name), archive.name, archive.size, progress):
                    out.write(chunk)
            except _FileFailed as error:
                raise _OriginFailed(str(error)) from error
        with _opened_archive(archive, partial) as read:
            yield read
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _opened_archive(archive: Archive, path: Path) -> Iterator[FileReader]:
    try:
        verify_archive(archive, path)
        with open_archive(archive, path) as read:
            yield read
    except DataError as error:
        raise _OriginFailed(str(error).removeprefix(f"{path}: ")) from error


@contextlib.contextmanager
def _debian_package(source: Source) -> Iterator[FileReader]:
    """Download and unpack the Debian package of the data set, without installing it, which would need root."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise _OriginFailed("this system has no apt-get")
    try:
        temporary = tempfile.TemporaryDirectory(prefix="mlpconv-")
    except OSError as error:
        raise _OriginFailed(f"cannot create a temporary directory: {error.strerror}") from error
    with temporary as name:
        _run(name, "apt-get", "download", source.debian_package)
        packages = list(Path(name).glob("*.deb"))
        if not packages:
            raise _OriginFailed("apt-get downloaded no package")
        _run(name, "dpkg-deb", "-x", str(packages[0]), "contents")
        yield functools.partial(_copy, Path(name, "contents", source.debian_directory.lstrip("/")))


def _copy(directory: Path, file: SourceFile) -> Generator[bytes, None, None]:
    path = find_file(file, directory)
    if path is None:
        raise _FileFailed(f"{file.name} is missing")
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise _FileFailed(f"{file.name} cannot be read: {error.strerror}") from error


def _run(directory: str, *command: str) -> None:
    try:
        process = subprocess.run(
            command,
            cwd=directory,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_COMMAND_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _OriginFailed(f"{command[0]} took more than {_COMMAND_TIMEOUT_SECONDS} s") from error
    except OSError as error:
        raise _OriginFailed(f"{command[0]} could not be started: {error.strerror}") from error
    if process.returncode:
        lines = process.stdout.decode(errors="replace").split("\n")
        message = next((line for line in lines if line.startswith("E:")), "no error message")
        raise _OriginFailed(f"{command[0]} failed with exit status {process.returncode}: {message}")


def _files_to_fetch(source: Source, directory: Path) -> list[SourceFile]:
    """The files that the cache lacks, after removing damaged ones. The lock must be held."""
    remove_partial_files(directory)
    missing = []
    for file in source.files:
        while path := find_file(file, directory):
            try:
                read_verified(file, path)
                break
            except DataError as error:
                _log.warning("%s; removed from the cache", error)
                path.unlink()
        else:
            missing.append(file)
    return missing


def _store(file: SourceFile, directory: Path, chunks: Generator[bytes, None, None]) -> None:
    """Write a file into the cache under its name only if it is complete and verified."""
    with contextlib.closing(chunks):
        first = next(chunks, b"")
        # A server may send it uncompressed.
        zipped = file.zipped and first.startswith(GZIP_MAGIC)
        with atomic_file(directory / (file.published_name if zipped else file.name)) as out:
            out.write(first)
            for chunk in chunks:
                out.write(chunk)
            out.flush()
            try:
                read_verified(file, Path(out.name))
            except DataError as error:
                reason = str(error).removeprefix(f"{out.name}: ").removesuffix("; download the file again")
                raise _FileFailed(f"{file.name}: {reason}") from error


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with cache_lock(directory / ".lock", "downloading to this directory"):
            yield
    except OSError as error:
        raise DataError(
            f"{directory}: the cache cannot be written: {error.strerror or error}; fix this, or set MLPCONV_CACHE to "
            "another directory"
        ) from error


def _innermost_reason(error: BaseException) -> str:
    """The cause of an error of requests, which wraps one of urllib3, which wraps one of the operating system."""
    while True:
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in reversed(error.args) if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        error = inner
    return str(error).rpartition(": ")[2].split("\n")[0] or type(error).__name__
