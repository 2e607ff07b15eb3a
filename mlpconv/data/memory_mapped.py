"""Images in a file that is mapped into memory: more of them than fit, few of them resident."""

import mmap
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

import numpy as np

RELEASE_BYTES = 256 << 20
"""So much may be read from a map before its pages are let go."""
COPY_BYTES = 256 << 20
"""A choice of mapped images up to this size is copied into memory, a larger one into a file."""


def open_images(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """The uint8 (N, H, W, C) of a raw file, read-only and mapped. Raises OSError where it is missing or too short."""
    with path.open("rb") as file:
        return _map(file, shape)


def _map(file: BinaryIO, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    if os.fstat(file.fileno()).st_size < size:
        raise OSError(f"{file.name}: shorter than {size:,} bytes")
    # Shared and read-only: a private map of more than the memory is refused by some systems.
    view = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        view.madvise(mmap.MADV_RANDOM)  # images are taken in random order: reading on is a waste
    return np.frombuffer(view, np.uint8).reshape(shape)


def map_of(images: np.ndarray) -> mmap.mmap | None:
    """The map behind an array; None where it lies in memory."""
    owner: object = images
    while True:
        if isinstance(owner, memoryview):
            owner = owner.obj
        elif isinstance(owner, np.ndarray):
            owner = owner.base
        else:
            return owner if isinstance(owner, mmap.mmap) else None


def release(images: np.ndarray) -> None:
    """Let go of the pages of mapped images; the system keeps what it has room for. Nothing for those in memory."""
    view = map_of(images)
    if view is not None and hasattr(mmap, "MADV_DONTNEED"):
        view.madvise(mmap.MADV_DONTNEED)


def choose(images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """``images[indices]``; where that is much and comes from a map, it goes into a nameless file that is mapped too."""
    view = map_of(images)
    count = int(indices.sum()) if indices.dtype == bool else len(indices)
    row = int(np.prod(images.shape[1:]))
    if view is None or count * row <= COPY_BYTES:
        return images[indices]
    positions = np.flatnonzero(indices) if indices.dtype == bool else indices
    step = max(1, RELEASE_BYTES // row)
    # On the disk: a temporary directory is often in memory.
    with tempfile.TemporaryFile(dir=_spacious()) as file:
        for start in range(0, count, step):
            file.write(images[positions[start : start + step]].data)
            release(images)
        file.flush()
        return _map(file, (count, *images.shape[1:]))  # pyright: ignore[reportArgumentType]


def _spacious() -> Path:
    from mlpconv.data.known.locate import cache_directory

    place = cache_directory() / "folders"
    place.mkdir(parents=True, exist_ok=True)
    return place


class Prefetcher:
    """Has the system read mapped images before they are needed, and lets go of those before, so that few are resident.

    Nothing happens for images in memory.
    """

    def __init__(self, images: np.ndarray) -> None:
        self._images, self._view = images, map_of(images)
        self._row = int(np.prod(images.shape[1:]))
        self._start = 0
        if self._view is not None:
            base = np.frombuffer(self._view, np.uint8)
            self._start = images.__array_interface__["data"][0] - base.__array_interface__["data"][0]

    def prefetch(self, indices: np.ndarray) -> None:
        """The images at ``indices`` are needed soon."""
        if self._view is None:
            return
        # Each time: with one page the system maps those around it that it has in memory, up to 2 MiB.
        release(self._images)
        if hasattr(mmap, "MADV_WILLNEED"):
            for index in indices.tolist():
                begin = self._start + index * self._row
                page = begin - begin % mmap.PAGESIZE
                self._view.madvise(mmap.MADV_WILLNEED, page, begin + self._row - page)
