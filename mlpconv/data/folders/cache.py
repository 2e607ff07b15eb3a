"""The cache of decoded images: the same files at the same size are decoded only once.

An entry is the directory folders/KEY of the cache directory, with ``images.u8``, raw uint8 (N, H, W, C),
``digests.u8``, the SHA-256 of each image's file, and ``about.json``. The key is the SHA-256 of the contents of the
files, in order, and of the conversion rules. Another order, as of another split, is copied from an entry with the same
rules. An entry under its name is complete; during decoding it is named KEY.part. Unlike the temporary files of
`mlpconv.files.atomic_file`, KEY.part survives an interruption, and decoding continues from it.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import PIL

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.cache_directory import cache_directory, cache_lock
from mlpconv.data.folders.scan import Progress
from mlpconv.data.folders.worker_jobs import CANNOT_BE_READ, CHANGED, DecodeJob
from mlpconv.data.folders.workers import CRASHED, FILES_PER_JOB, run_jobs
from mlpconv.data.memory_mapped import open_images, release
from mlpconv.errors import DataError
from mlpconv.files import atomic_file, remove_partial_files
from mlpconv.formatting import format_bytes
from mlpconv.version import __version__

IMAGES, DIGESTS = "images.u8", "digests.u8"
LIMIT_VARIABLE = "MLPCONV_CACHE_GB"
_DEFAULT_LIMIT_GB = 50.0
_RULES_VERSION = 2
"""Version of the conversion rules, a part of the key: increase it when the rules change."""
_SYNC_INTERVAL_SECONDS = 2.0
_SPARE_BYTES = 64 << 20
"""Free disk space to leave after decoding."""
_COPY_BYTES = 64 << 20


def folders_directory(cache: str | os.PathLike[str] | None = None) -> Path:
    """The directory of the entries."""
    return cache_directory(cache) / "folders"


@dataclass
class Decoded:
    """Decoded images.

    Attributes:
        images: uint8 (N, H, W, C), mapped into memory.
        kept: int64 (N,), the index of the file of each image; files that cannot be decoded have no image.
        errors: Why a file cannot be decoded, by the index of the file.
        place: The directory of the cache entry.
    """

    images: np.ndarray
    kept: np.ndarray
    errors: dict[int, str]
    place: Path


def decode_files(
    root: Path,
    files: Sequence[str],
    digests: np.ndarray,
    preprocess: Preprocess,
    *,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Decoded:
    """The pixels of image files, from the cache, or decoded into it by the rules of `read_image` on all processors.

    Args:
        root: The directory that the files are relative to.
        files: Their paths.
        digests: uint8 (N, 32), the SHA-256 of each file.
        preprocess: The conversion; it must have a source size.
        cache: The cache directory (see `cache_directory`).
        progress: Called during decoding.

    Raises:
        DataError: The disk has too little free space, or the cache cannot be written.
    """
    assert preprocess.source_size is not None
    shape = (*preprocess.source_size, preprocess.channels)
    rules: list[Any] = [_RULES_VERSION, preprocess.mode, preprocess.fit, list(shape)]
    if preprocess.bits != 16:
        rules.append(preprocess.bits)
    key = hashlib.sha256(json.dumps(rules).encode() + digests.tobytes()).hexdigest()[:32]
    decoder = _decoder(preprocess)
    home = folders_directory(cache)
    entry = home / key
    try:
        decoded = _open(entry, len(files), shape, decoder)
        if decoded is None:
            home.mkdir(parents=True, exist_ok=True)
            with cache_lock(home / f"{key}.lock", "decoding the same images"):
                decoded = _open(entry, len(files), shape, decoder)
                if decoded is None:
                    _check_free_space(home, len(files) * int(np.prod(shape)))
                    _fill(entry, Path(root), files, digests, preprocess, rules, progress)
                    decoded = _open(entry, len(files), shape)
                    assert decoded is not None
                    _remove_oldest(home, keep=entry)
        os.utime(entry)
    except OSError as error:
        raise DataError(
            f"{home}: the cache cannot be written: {error.strerror or error}; free disk space, or set MLPCONV_CACHE to "
            "another directory; images decoded so far are kept"
        ) from error
    return decoded


def _decoder(preprocess: Preprocess) -> str:
    """What decides whether a file can be decoded, besides the file. Errors are remembered only while it is the same."""
    return f"mlpconv {__version__}, Pillow {PIL.__version__}, at most {preprocess.max_pixels} pixels"


def _remembered(errors: Iterable[str]) -> bool:
    """Whether errors of decoding are the fault of the files, and not of the machine at that moment."""
    return not any(error.startswith((CANNOT_BE_READ, CHANGED, CRASHED)) for error in errors)


def _open(entry: Path, count: int, shape: tuple[int, ...], decoder: str | None = None) -> Decoded | None:
    """A complete entry; None if it is missing or damaged, or if its errors may not occur again with ``decoder``."""
    try:
        about = json.loads((entry / "about.json").read_bytes())
        errors = {int(index): reason for index, reason in about["errors"].items()}
        if errors and decoder and not (about.get("decoder") == decoder and _remembered(errors.values())):
            return None
        kept = np.setdiff1d(np.arange(count), list(errors))
        height, width, channels = shape
        if not len(kept):
            return Decoded(np.empty((0, *shape), np.uint8), kept, errors, entry)
        return Decoded(open_images(entry / IMAGES, (len(kept), height, width, channels)), kept, errors, entry)
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _check_free_space(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if free < needed + _SPARE_BYTES:
        raise DataError(
            f"{home}: the decoded images need {format_bytes(needed)} of disk space, {format_bytes(free)} are free; "
            "clear space (mlpconv data clean), choose a smaller --image-size, or set MLPCONV_CACHE to another "
            "directory"
        )


def _fill(
    entry: Path,
    root: Path,
    files: Sequence[str],
    digests: np.ndarray,
    preprocess: Preprocess,
    rules: list[Any],
    progress: Progress | None,
) -> None:
    """Decode all files into a new entry, continuing where an interrupted process stopped."""
    shape = tuple(rules[3])
    part = entry.with_name(f"{entry.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    remove_partial_files(part)
    raw, journal = part / IMAGES, part / "journal.jsonl"
    raw.touch()
    os.truncate(raw, len(files) * int(np.prod(shape)))
    decoder = _decoder(preprocess)
    job_errors = _read_journal(journal, decoder)
    jobs = [
        DecodeJob(
            number,
            str(root.absolute()),
            [os.fsencode(name) for name in files[start : start + FILES_PER_JOB]],
            [row.tobytes() for row in digests[start : start + FILES_PER_JOB]],
            preprocess,
            str(raw.absolute()),
            start,
        )
        for number, start in enumerate(range(0, len(files), FILES_PER_JOB))
        if number not in job_errors
    ]
    elsewhere = _Elsewhere(entry.parent, rules, digests)
    done = len(files) - sum(len(job.files) for job in jobs)
    lines: list[str] = []
    synced = time.monotonic()
    with journal.open("a", encoding="utf-8") as log, raw.open("rb") as pixels:

        def write_journal() -> None:
            os.fsync(pixels.fileno())  # a line in the journal guarantees that the pixels are on disk
            log.write("".join(lines))
            log.flush()
            os.fsync(log.fileno())
            lines.clear()

        try:
            for job, errors in _copied_or_decoded(jobs, elsewhere):
                job_errors[job.number] = errors
                lines.append(json.dumps([job.number, errors, decoder]) + "\n")
                done += len(errors)
                if progress:
                    progress("decoding", done, len(files))
                if time.monotonic() - synced > _SYNC_INTERVAL_SECONDS:
                    write_journal()
                    synced = time.monotonic()
        finally:
            write_journal()
    errors = {
        number * FILES_PER_JOB + index: error
        for number, file_errors in job_errors.items()
        for index, error in enumerate(file_errors)
        if error
    }
    if errors:
        journal.unlink()  # first, because its image numbers do not apply to the shortened file
        _remove_missing_images(raw, len(files), int(np.prod(shape)), errors)
    digests[np.setdiff1d(np.arange(len(files)), list(errors))].tofile(part / DIGESTS)
    (part / "about.json").write_text(json.dumps({"format": 1, "errors": errors, "decoder": decoder, "rules": rules}))
    journal.unlink(missing_ok=True)
    if entry.exists():  # a damaged one
        _remove(entry)
    part.rename(entry)


class _Elsewhere:
    """Images that other entries hold in the same form.

    Args:
        home: The directory of the entries.
        rules: The conversion rules.
        digests: uint8 (N, 32), the SHA-256 of each file that is needed.
    """

    def __init__(self, home: Path, rules: list[Any], digests: np.ndarray) -> None:
        self._images: list[np.ndarray] = []
        self._source, self._row = np.full(len(digests), -1), np.zeros(len(digests), np.int64)
        for entry in home.iterdir():
            try:
                about = json.loads((entry / "about.json").read_bytes())
                if entry.suffix or about.get("rules") != rules:
                    continue
                known = np.fromfile(entry / DIGESTS, np.uint8).reshape(-1, digests.shape[1])
                images = open_images(entry / IMAGES, (len(known), *rules[3]))
            except (OSError, ValueError, AttributeError):  # damaged, or removed at this moment
                continue
            keys, wanted = (rows[:, :8].copy().view(np.uint64).ravel() for rows in (known, digests))
            order = np.argsort(keys)
            rows = order[np.searchsorted(keys, wanted, sorter=order).clip(max=len(known) - 1)]
            found = (known[rows] == digests).all(1)
            self._source[found], self._row[found] = len(self._images), rows[found]
            self._images.append(images)

    def has(self, job: DecodeJob) -> bool:
        """Whether all files of a job are here."""
        return bool((self._source[job.first : job.first + len(job.files)] >= 0).all())

    def copy(self, job: DecodeJob) -> None:
        """Copy the pixels of the files of a job to where it would decode them."""
        with Path(job.out).open("r+b", buffering=0) as raw:
            for index in range(job.first, job.first + len(job.files)):
                pixels = self._images[self._source[index]][self._row[index]]
                os.pwrite(raw.fileno(), pixels.data, index * pixels.size)
        for images in self._images:
            release(images)


def _copied_or_decoded(jobs: Sequence[DecodeJob], elsewhere: _Elsewhere) -> Iterator[tuple[DecodeJob, list[str]]]:
    """Do the jobs; yields each with the error of each file."""
    copied = [job for job in jobs if elsewhere.has(job)]
    for job in copied:
        elsewhere.copy(job)
        yield job, [""] * len(job.files)
    if rest := [job for job in jobs if not elsewhere.has(job)]:
        for job, results in run_jobs(rest, sum(len(job.files) for job in rest)):
            assert isinstance(job, DecodeJob)
            yield job, [result.error for result in results]


def _read_journal(path: Path, decoder: str) -> dict[int, list[str]]:
    """The errors of each job that was done before an interruption, by the number of the job.

    Jobs with errors that may not occur again with ``decoder`` are left out.
    """
    job_errors = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number, errors, decoded_by = msgspec.json.decode(line, type=tuple[int, list[str], str])
            if not any(errors) or (decoded_by == decoder and _remembered(errors)):
                job_errors[number] = errors
    except (OSError, msgspec.DecodeError):
        return job_errors  # without the line that was being written
    return job_errors


def _remove_missing_images(raw: Path, count: int, image_bytes: int, errors: dict[int, str]) -> None:
    """Remove the gaps that files with errors left in the file of pixels."""
    good = np.setdiff1d(np.arange(count), list(errors))
    step = max(1, _COPY_BYTES // image_bytes)
    with raw.open("rb") as source, atomic_file(raw) as out:
        for consecutive in np.split(good, np.flatnonzero(np.diff(good) > 1) + 1) if len(good) else []:
            stop = int(consecutive[-1]) + 1
            for start in range(int(consecutive[0]), stop, step):
                source.seek(start * image_bytes)
                out.write(source.read((min(start + step, stop) - start) * image_bytes))


class Entry(msgspec.Struct, frozen=True):
    """An entry of the cache."""

    path: Path
    bytes: int
    """Size on disk."""
    used: float
    """Time of the last use, in seconds since 1970."""


def entries(cache: str | os.PathLike[str] | None = None) -> list[Entry]:
    """All entries, the least recently used first."""
    listed = []
    home = folders_directory(cache)
    for path in home.iterdir() if home.is_dir() else ():
        if path.is_dir() and path.name != "scans":
            with suppress(FileNotFoundError):  # another process is removing it
                size = sum(file.stat().st_blocks * 512 for file in path.iterdir())
                listed.append(Entry(path, size, path.stat().st_mtime))
    return sorted(listed, key=lambda entry: entry.used)


def clean(cache: str | os.PathLike[str] | None = None) -> list[Entry]:
    """Remove all decoded images and results of scans.

    Runs that are reading the images continue undisturbed, because the system keeps a file while it is open.

    Returns:
        The removed entries.

    Raises:
        DataError: An entry cannot be removed.
    """
    removed = entries(cache)
    try:
        for entry in removed:
            with suppress(FileNotFoundError):  # another process is removing it
                _remove(entry.path)
        shutil.rmtree(folders_directory(cache) / "scans", ignore_errors=True)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be removed: {error.strerror}; check its permissions") from None
    return removed


def _remove(entry: Path) -> None:
    """Remove an entry, which loses its name in one step, before its first file is removed.

    Otherwise a killed process could leave the journal of an interrupted decoding without the images that it lists.
    What such a process leaves has a name that no image decodes to; `clean` removes it.
    """
    removed = entry.with_name(f"{entry.name.partition('.')[0]}.{os.getpid()}.removed")
    if entry != removed:
        shutil.rmtree(removed, ignore_errors=True)  # left by a killed process that had the same number
        entry.rename(removed)
    shutil.rmtree(removed)


def limit_bytes() -> int:
    """The maximum size of the cache of decoded images: MLPCONV_CACHE_GB (10⁹ bytes), 50 by default.

    Raises:
        DataError: MLPCONV_CACHE_GB is not a number.
    """
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        return int(float(text or _DEFAULT_LIMIT_GB) * 1e9)
    except ValueError:
        raise DataError(f"{LIMIT_VARIABLE}={text}: expected a number of gigabytes, such as 20") from None


def _remove_oldest(home: Path, *, keep: Path) -> None:
    """Remove the least recently used entries, but not ``keep``, until the rest fits the limit."""
    remaining = entries(home.parent)
    total = sum(entry.bytes for entry in remaining)
    for entry in remaining:
        if total <= limit_bytes():
            break
        if entry.path != keep and not entry.path.name.endswith(".part"):
            with suppress(OSError):
                _remove(entry.path)
            total -= entry.bytes
