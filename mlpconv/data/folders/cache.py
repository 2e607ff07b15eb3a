"""Decoded images, kept: the same files at the same size are decoded once, whoever asks.

Below the cache, folders/KEY holds ``images.u8``, raw uint8 (N, H, W, C), and ``about.json``. The key is the SHA-256 of
what the files hold, in order, and of how they are converted. Under its name it is whole; while it is made it is called
KEY.part, and what was decoded before an interruption is taken over.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from mlpconv.arch.network import Preprocess
from mlpconv.data.cache_directory import cache_directory, cache_lock
from mlpconv.data.folders.scan import Progress
from mlpconv.data.folders.workers import CHUNK, Decode, run
from mlpconv.data.memory_mapped import open_images
from mlpconv.errors import DataError
from mlpconv.formatting import format_bytes as bytes_as_said

IMAGES = "images.u8"
LIMIT_VARIABLE = "MLPCONV_CACHE_GB"
_LIMIT_GB = 50.0
_RULES = 1
"""The number of the conversion's rules: other rules, other keys."""
_SYNC_SECONDS = 2.0


def folders_directory(cache: str | os.PathLike[str] | None = None) -> Path:
    """Where decoded images are kept."""
    return cache_directory(cache) / "folders"


@dataclass
class Decoded:
    """images: uint8 (N, H, W, C), mapped. kept: which of the files they are of, int64 (N,). errors: of the others, why
    not, by index. place: the directory."""

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
    """The pixels of image files by the rules of ``read_image``, from the cache or decoded into it by all processors.

    root: what ``files`` are relative to. digests: uint8 (N, 32), SHA-256 of each. preprocess: with a source size.
    Raises DataError where the disk has no room or the cache cannot be written.
    """
    assert preprocess.source_size is not None
    shape = (*preprocess.source_size, preprocess.channels)
    rules = json.dumps([_RULES, preprocess.mode, preprocess.fit, shape])
    key = hashlib.sha256(rules.encode() + digests.tobytes()).hexdigest()[:32]
    home = folders_directory(cache)
    place = home / key
    try:
        found = _open(place, len(files), shape)
        if found is None:
            home.mkdir(parents=True, exist_ok=True)
            with cache_lock(home / f"{key}.lock", "decoding the same images"):
                found = _open(place, len(files), shape)
                if found is None:
                    _check_room(home, len(files) * int(np.prod(shape)))
                    _fill(place, Path(root), files, digests, preprocess, shape, progress)
                    found = _open(place, len(files), shape)
                    assert found is not None
                    _bound(home, place)
        os.utime(place)
    except OSError as error:
        raise DataError(
            f"{home}: the cache cannot be written: {error.strerror or error}; make room, or set MLPCONV_CACHE to "
            "another directory; what is decoded is kept"
        ) from error
    return found


def _open(place: Path, count: int, shape: tuple[int, ...]) -> Decoded | None:
    try:
        about = json.loads((place / "about.json").read_bytes())
        errors = {int(index): reason for index, reason in about["errors"].items()}
        kept = np.setdiff1d(np.arange(count), list(errors))
        height, width, channels = shape
        if not len(kept):
            return Decoded(np.empty((0, *shape), np.uint8), kept, errors, place)
        return Decoded(open_images(place / IMAGES, (len(kept), height, width, channels)), kept, errors, place)
    except (OSError, ValueError, KeyError, AttributeError):
        return None


def _check_room(home: Path, needed: int) -> None:
    free = shutil.disk_usage(home).free
    if free < needed + (64 << 20):
        raise DataError(
            f"{home}: the decoded images take {bytes_as_said(needed)}, free are {bytes_as_said(free)}; make room "
            "(mlpconv data clean), choose a smaller --image-size, or set MLPCONV_CACHE to another directory"
        )


def _fill(
    place: Path,
    root: Path,
    files: Sequence[str],
    digests: np.ndarray,
    preprocess: Preprocess,
    shape: tuple[int, ...],
    progress: Progress | None,
) -> None:
    part = place.with_name(f"{place.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    raw, journal = part / IMAGES, part / "journal.jsonl"
    raw.touch()
    os.truncate(raw, len(files) * int(np.prod(shape)))
    errors = _journal(journal)
    jobs = [
        Decode(
            number,
            str(root),
            [os.fsencode(name) for name in files[start : start + CHUNK]],
            [row.tobytes() for row in digests[start : start + CHUNK]],
            preprocess,
            str(raw),
            start,
        )
        for number, start in enumerate(range(0, len(files), CHUNK))
        if number not in errors
    ]
    count = sum(len(job.files) for job in jobs)
    done = len(files) - count
    lines: list[str] = []
    synced = time.monotonic()
    with journal.open("a", encoding="utf-8") as log, raw.open("rb") as pixels:

        def note() -> None:
            os.fsync(pixels.fileno())  # a line says that the pixels are on the disk
            log.write("".join(lines))
            log.flush()
            os.fsync(log.fileno())
            lines.clear()

        try:
            for job, answer in run(jobs, count):
                errors[job.number] = answer.errors
                lines.append(json.dumps([job.number, answer.errors]) + "\n")
                done += len(answer.errors)
                if progress:
                    progress("decoding", done, len(files))
                if time.monotonic() - synced > _SYNC_SECONDS:
                    note()
                    synced = time.monotonic()
        finally:
            note()
    reasons = {
        number * CHUNK + index: reason
        for number, found in errors.items()
        for index, reason in enumerate(found)
        if reason
    }
    if reasons:
        _close_ranks(raw, len(files), int(np.prod(shape)), reasons)
    (part / "about.json").write_text(json.dumps({"format": 1, "errors": reasons}))
    journal.unlink()
    if place.exists():  # a damaged one
        shutil.rmtree(place)
    part.rename(place)


def _journal(path: Path) -> dict[int, list[str]]:
    """The errors of each job that was done before an interruption."""
    found = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            number, errors = msgspec.json.decode(line, type=tuple[int, list[str]])
            found[number] = errors
    except (OSError, msgspec.DecodeError):
        return found  # the line that was being written
    return found


def _close_ranks(raw: Path, count: int, row: int, reasons: dict[int, str]) -> None:
    """Leave the rows out that hold no image."""
    good = np.setdiff1d(np.arange(count), list(reasons))
    shorter = raw.with_name("images.new")
    step = max(1, (64 << 20) // row)
    with raw.open("rb") as source, shorter.open("wb") as out:
        for run_ in np.split(good, np.flatnonzero(np.diff(good) > 1) + 1) if len(good) else []:
            for start in range(int(run_[0]), int(run_[-1]) + 1, step):
                source.seek(start * row)
                out.write(source.read((min(start + step, int(run_[-1]) + 1) - start) * row))
        out.flush()
        os.fsync(out.fileno())
    shorter.replace(raw)


class Entry(msgspec.Struct, frozen=True):
    """Decoded images in the cache. bytes: on the disk. used: when last, in seconds since 1970."""

    path: Path
    bytes: int
    used: float


def entries(cache: str | os.PathLike[str] | None = None) -> list[Entry]:
    """What decoded images are kept, the longest unused first."""
    found = []
    home = folders_directory(cache)
    for path in home.iterdir() if home.is_dir() else ():
        if path.is_dir() and path.name != "scans":
            held = sum(file.stat().st_blocks * 512 for file in path.iterdir())
            found.append(Entry(path, held, path.stat().st_mtime))
    return sorted(found, key=lambda entry: entry.used)


def clean(cache: str | os.PathLike[str] | None = None) -> list[Entry]:
    """Remove all decoded images and what is remembered of folders; what was removed. Raises DataError where that cannot
    be done. A run that reads them goes on: the system keeps a file while it is open."""
    removed = entries(cache)
    try:
        for entry in removed:
            shutil.rmtree(entry.path)
        shutil.rmtree(folders_directory(cache) / "scans", ignore_errors=True)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be removed: {error.strerror}") from None
    return removed


def limit() -> int:
    """How many bytes of decoded images are kept: MLPCONV_CACHE_GB, 50 by default."""
    text = os.environ.get(LIMIT_VARIABLE, "")
    try:
        return int(float(text or _LIMIT_GB) * 1e9)
    except ValueError:
        raise DataError(f"{LIMIT_VARIABLE}={text}: expected a number of gigabytes, such as 20") from None


def _bound(home: Path, newest: Path) -> None:
    """Remove what was longest unused until all fits the limit; the newest stays."""
    kept = entries(home.parent)
    total = sum(entry.bytes for entry in kept)
    for entry in kept:
        if total <= limit():
            break
        if entry.path != newest and not entry.path.name.endswith(".part"):
            shutil.rmtree(entry.path, ignore_errors=True)
            total -= entry.bytes
