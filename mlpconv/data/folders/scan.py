"""The headers and digests of many image files, remembered: a file that has not changed is not read again."""

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlpconv.data.folders.workers import CHUNK, Scan, Seen, run

Progress = Callable[[str, int, int], None]
"""Called as work goes on with what is done ("reading", "decoding"), the images so far, and their number."""

_FRESH_NS = 2_000_000_000
"""A file changed so shortly before it was read may have been changed again within one tick of the clock."""


@dataclass(eq=False)
class Facts:
    """Of each file, in step: digest, uint8 (N, 32), SHA-256 of its bytes; width and height in pixels as seen, int32;
    mode, Pillow's; error: why it cannot be used, or empty; then the other four say nothing."""

    digest: np.ndarray
    width: np.ndarray
    height: np.ndarray
    mode: np.ndarray
    error: np.ndarray

    @classmethod
    def blank(cls, count: int) -> "Facts":
        return cls(
            np.zeros((count, 32), np.uint8),
            np.zeros(count, np.int32),
            np.zeros(count, np.int32),
            np.zeros(count, "U8"),
            np.full(count, None, object),
        )

    def put(self, index: int, seen: Seen) -> None:
        if seen.digest:
            self.digest[index] = np.frombuffer(seen.digest, np.uint8)
        self.width[index], self.height[index], self.mode[index] = seen.width, seen.height, seen.mode
        self.error[index] = seen.error


def scan(root: Path, files: Sequence[str], cache: Path, progress: Progress | None = None) -> Facts:
    """Read what files say of themselves. root: what they are relative to. cache: where the answers are remembered.

    Interrupted, it keeps what it has.
    """
    facts = Facts.blank(len(files))
    stamps = np.array([_stamp(root, name) for name in files], np.int64).reshape(-1, 2)
    path = cache / "scans" / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.npz"
    todo = _recall(path, files, stamps, facts)
    began = time.time_ns()
    jobs = [
        Scan(number, str(root), [os.fsencode(files[index]) for index in todo[start : start + CHUNK]])
        for number, start in enumerate(range(0, len(todo), CHUNK))
    ]
    done = len(files) - len(todo)
    if not todo:
        return facts
    try:
        for job, answer in run(jobs, len(todo)):
            start = job.number * CHUNK
            for index, seen in zip(todo[start : start + CHUNK], answer.seen, strict=True):
                facts.put(index, seen)
            done += len(answer.seen)
            if progress:
                progress("reading", done, len(files))
    finally:
        stamps[stamps[:, 1] > began - _FRESH_NS] = -1
        _remember(path, files, stamps, facts)
    return facts


def _stamp(root: Path, name: str) -> tuple[int, int]:
    try:
        info = os.stat(os.path.join(root, name))
    except OSError:
        return -1, -1
    return info.st_size, info.st_mtime_ns


def _recall(path: Path, files: Sequence[str], stamps: np.ndarray, facts: Facts) -> list[int]:
    """Fill in what is known already; the indices of the others."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            names = stored["names"].tobytes().split(b"\0")
            old = {key: stored[key] for key in ("stamps", "digest", "width", "height", "mode")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return list(range(len(files)))
    known = {name: row for row, name in enumerate(names)}
    rows = np.array([known.get(os.fsencode(name), -1) for name in files])
    same = (rows >= 0) & (stamps[:, 1] >= 0)
    same[same] = (old["stamps"][rows[same]] == stamps[same]).all(1)
    for key in ("digest", "width", "height", "mode"):
        getattr(facts, key)[same] = old[key][rows[same]]
    facts.error[same] = ""
    return np.flatnonzero(~same).tolist()


def _remember(path: Path, files: Sequence[str], stamps: np.ndarray, facts: Facts) -> None:
    # What cannot be used is looked at again each time: somebody may have mended it.
    good = np.flatnonzero(facts.error == "")
    names = b"\0".join(os.fsencode(files[index]) for index in good.tolist())
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as out:
            np.savez(
                out,
                names=np.frombuffer(names, np.uint8),
                stamps=stamps[good],
                digest=facts.digest[good],
                width=facts.width[good],
                height=facts.height[good],
                mode=facts.mode[good],
            )
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)  # without it the next time takes longer, and that is all
