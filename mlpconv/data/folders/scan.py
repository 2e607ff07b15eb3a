"""Read the headers and digests of many image files; unchanged files are not read again."""

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlpconv.arch.preprocess import MAX_PIXELS
from mlpconv.data.folders.copies import SIDE
from mlpconv.data.folders.worker_jobs import FileResult, ScanJob
from mlpconv.data.folders.workers import FILES_PER_JOB, run_jobs
from mlpconv.data.picture_files import too_large
from mlpconv.files import atomic_file

Progress = Callable[[str, int, int], None]
"""Called during work with what is being done ("reading", "decoding"), the images done, and the images in total."""

_MIN_AGE_NS = 2_000_000_000
"""A file modified this shortly before it was read may have been modified again with the same time stamp."""

_COLUMNS = ("digest", "width", "height", "mode", "largest", "content", "thumbnail")
"""The arrays of `ScannedFiles` that are cached."""


@dataclass(eq=False)
class ScannedFiles:
    """The results of a scan, in the order of the files.

    Attributes:
        digest: uint8 (N, 32), the SHA-256 of each file.
        width: int32 (N,), in pixels, after applying the EXIF orientation.
        height: int32 (N,), likewise.
        mode: str (N,), Pillow's mode.
        largest: int32 (N,), the largest value of an image of more than 8 bits per value; 0 for others.
        error: object (N,): why a file cannot be used, else "". The other arrays are undefined for files with an error.
        content: uint8 (N, 16), a digest of the size and of the pixels in small; zeros if they were not asked for.
        thumbnail: uint8 (N, SIDE × SIDE), the gray pixels in small; zeros likewise.
    """

    digest: np.ndarray
    width: np.ndarray
    height: np.ndarray
    mode: np.ndarray
    largest: np.ndarray
    error: np.ndarray
    content: np.ndarray
    thumbnail: np.ndarray

    @classmethod
    def blank(cls, count: int) -> "ScannedFiles":
        """Arrays to fill in for this many files."""
        return cls(
            np.zeros((count, 32), np.uint8),
            np.zeros(count, np.int32),
            np.zeros(count, np.int32),
            np.zeros(count, "U8"),
            np.zeros(count, np.int32),
            np.full(count, None, object),
            np.zeros((count, 16), np.uint8),
            np.zeros((count, SIDE * SIDE), np.uint8),
        )

    def put(self, index: int, file: FileResult) -> None:
        """Store the result for one file."""
        if file.digest:
            self.digest[index] = np.frombuffer(file.digest, np.uint8)
        self.width[index], self.height[index], self.mode[index] = file.width, file.height, file.mode
        self.largest[index] = file.largest
        self.error[index] = file.error
        if file.content:
            self.content[index] = np.frombuffer(file.content, np.uint8)
            self.thumbnail[index] = np.frombuffer(file.thumbnail, np.uint8)


def scan(
    root: Path,
    files: Sequence[str],
    cache: Path,
    progress: Progress | None = None,
    *,
    max_pixels: int = MAX_PIXELS,
    compare: bool = False,
) -> ScannedFiles:
    """Read the headers and digests of image files.

    Results are cached, also those of an interrupted scan.

    Args:
        root: The directory that the files are relative to.
        files: Their paths.
        cache: The directory for cached results.
        progress: Called as files are read.
        max_pixels: The most pixels that an image may have.
        compare: Whether to decode the images in small, too, to find copies.
    """
    scanned = ScannedFiles.blank(len(files))
    stamps = np.array([_stamp(root, name) for name in files], np.int64).reshape(-1, 2)
    path = cache / "scans" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.npz"
    remaining = _read_cached(path, files, stamps, scanned, compare)
    start_time = time.time_ns()
    names = [os.fsencode(name) for name in files]
    jobs = [
        ScanJob(
            number,
            os.path.abspath(root),
            [names[index] for index in remaining[start : start + FILES_PER_JOB]],
            max_pixels,
            compare,
        )
        for number, start in enumerate(range(0, len(remaining), FILES_PER_JOB))
    ]
    done = len(files) - len(remaining)
    try:
        for job, results in run_jobs(jobs, len(remaining)) if remaining else ():
            start = job.number * FILES_PER_JOB
            for index, file in zip(remaining[start : start + FILES_PER_JOB], results, strict=True):
                scanned.put(index, file)
            done += len(results)
            if progress:
                progress("reading", done, len(files))
    finally:
        if remaining:
            stamps[stamps[:, 1] > start_time - _MIN_AGE_NS] = -1
            _write_cached(path, files, stamps, scanned)
    pixels = scanned.width.astype(np.int64) * scanned.height
    for index in np.flatnonzero((scanned.error == "") & (pixels > max_pixels)):  # read with another limit
        scanned.error[index] = too_large(int(pixels[index]), max_pixels)
    return scanned


def _stamp(root: Path, name: str) -> tuple[int, int]:
    """Size and modification time, to recognize an unchanged file."""
    try:
        info = os.stat(os.path.join(root, name))
    except OSError:
        return -1, -1
    return info.st_size, info.st_mtime_ns


def _read_cached(
    path: Path, files: Sequence[str], stamps: np.ndarray, scanned: ScannedFiles, compare: bool
) -> list[int]:
    """Fill in the cached results of unchanged files, and return the indices of the others."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = stored["names"].tobytes().split(b"\0")
            cached = {key: stored[key] for key in ("stamps", *_COLUMNS)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return list(range(len(files)))
    row_of = {name: row for row, name in enumerate(names)}
    rows = np.array([row_of.get(os.fsencode(name), -1) for name in files])
    unchanged = (rows >= 0) & (stamps[:, 1] >= 0)
    unchanged[unchanged] = (cached["stamps"][rows[unchanged]] == stamps[unchanged]).all(1)
    if compare:  # those that were only listed before are read again
        unchanged[unchanged] = cached["content"][rows[unchanged]].any(1)
    for key in _COLUMNS:
        getattr(scanned, key)[unchanged] = cached[key][rows[unchanged]]
    scanned.error[unchanged] = ""
    return np.flatnonzero(~unchanged).tolist()


def _write_cached(path: Path, files: Sequence[str], stamps: np.ndarray, scanned: ScannedFiles) -> None:
    # Files with errors are read again each time, because they may have been fixed.
    good = np.flatnonzero(scanned.error == "")
    names = b"\0".join(os.fsencode(files[index]) for index in good.tolist())
    # Without the cache, the next scan only takes longer.
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as out:
            np.savez(
                out,
                names=np.frombuffer(names, np.uint8),
                stamps=stamps[good],
                **{key: getattr(scanned, key)[good] for key in _COLUMNS},
            )
