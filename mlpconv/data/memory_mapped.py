"""Images in a memory-mapped file, for data sets that are larger than the memory.

The operating system keeps the parts of a mapped file that were read in memory ("resident pages") for as long as it
likes; here they are released regularly, so that a process takes little memory however many images it reads.
"""

import mmap
import os
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from mlpconv.data.cache_directory import cache_directory

MAX_BYTES_BEFORE_RELEASE = 256 << 20
"""Code that reads all images of a mapped file calls `release` after this many bytes."""
MAX_BYTES_IN_MEMORY = 256 << 20
"""`take_images` copies mapped images up to this size into memory, more of them into a mapped file."""


def open_images(path: Path, shape: tuple[int, int, int, int]) -> np.ndarray:
    """Map a file of raw pixels into memory.

    Args:
        path: The file, uint8 values in C order.
        shape: (N, H, W, C).

    Returns:
        The images, uint8 (N, H, W, C), read-only.

    Raises:
        OSError: The file is missing or too short.
    """
    with path.open("rb") as file:
        return _map(file, shape)


def _map(file: IO[bytes], shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape))
    if os.fstat(file.fileno()).st_size < size:
        raise OSError(f"{file.name}: expected {size:,} bytes, received fewer")
    # Shared and read-only, because some systems refuse a private mapping that is larger than the memory.
    view = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    if hasattr(mmap, "MADV_RANDOM"):
        view.madvise(mmap.MADV_RANDOM)  # images are read in random order: reading ahead would be wasted
    return np.frombuffer(view, np.uint8).reshape(shape)


def map_of(images: np.ndarray) -> mmap.mmap | None:
    """The memory map that contains an array, or None for an ordinary array."""
    owner: object = images
    while True:
        if isinstance(owner, memoryview):
            owner = owner.obj
        elif isinstance(owner, np.ndarray):
            owner = owner.base
        else:
            return owner if isinstance(owner, mmap.mmap) else None


def release(images: np.ndarray) -> None:
    """Release the resident pages of mapped images; the system may keep them in its file cache.

    Does nothing for images in memory.
    """
    view = map_of(images)
    if view is not None and hasattr(mmap, "MADV_DONTNEED"):
        view.madvise(mmap.MADV_DONTNEED)


def take_images(images: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """``images[indices]``, copied.

    If `images` are mapped and the copy is larger than `MAX_BYTES_IN_MEMORY`, it is a mapped temporary file as well.

    Args:
        images: uint8 (N, H, W, C).
        indices: Integers, or a boolean mask (N,).
    """
    view = map_of(images)
    count = int(indices.sum()) if indices.dtype == bool else len(indices)
    row = int(np.prod(images.shape[1:]))
    if view is None or count * row <= MAX_BYTES_IN_MEMORY:
        return images[indices]
    positions = np.flatnonzero(indices) if indices.dtype == bool else indices
    step = max(1, MAX_BYTES_BEFORE_RELEASE // row)
    # In the cache, because the system's temporary directory is often in memory.
    directory = cache_directory() / "folders"
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=directory) as file:
        for start in range(0, count, step):
            file.write(images[positions[start : start + step]].data)
            release(images)
        file.flush()
        return _map(file, (count, *images.shape[1:]))


class Prefetcher:
    """Makes the system read mapped images shortly before they are needed, and releases the earlier ones.

    Does nothing for images in memory.
    """

    def __init__(self, images: np.ndarray) -> None:
        self._images, self._view = images, map_of(images)
        self._row = int(np.prod(images.shape[1:]))
        self._start = 0
        if self._view is not None:
            base = np.frombuffer(self._view, np.uint8)
            self._start = images.__array_interface__["data"][0] - base.__array_interface__["data"][0]

    def prefetch(self, indices: np.ndarray) -> None:
        """Start reading the images at ``indices``, which are needed soon; does not wait."""
        if self._view is None:
            return
        # Every time: along with one page the system maps the neighboring ones that it has in memory, up to 2 MiB.
        release(self._images)
        if hasattr(mmap, "MADV_WILLNEED"):
            for index in indices.tolist():
                start = self._start + index * self._row
                page = start - start % mmap.PAGESIZE
                self._view.madvise(mmap.MADV_WILLNEED, page, start + self._row - page)
