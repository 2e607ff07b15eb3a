"""Images in a mapped file: few of them are resident, in whatever number and order they are read."""

import re
from pathlib import Path

import numpy as np
import pytest

from mlpconv.data import memory_mapped
from mlpconv.data.memory_mapped import Prefetcher, open_images, take_images

SMAPS = Path("/proc/self/smaps")


@pytest.fixture
def images(tmp_path):
    """24 MiB of mapped images of 3 KiB; the whole file is in the system's cache, as after decoding."""
    pixels = np.random.default_rng(0).integers(0, 256, (8192, 32, 32, 3), np.uint8)
    (tmp_path / "images.u8").write_bytes(pixels.tobytes())
    return open_images(tmp_path / "images.u8", pixels.shape)


def resident(images):
    """Bytes of the mapped file that are in the memory of this process."""
    start = images.__array_interface__["data"][0]
    entry = SMAPS.read_text().split(f"\n{start:x}-")[1]
    return int(re.search(r"^Rss:\s+(\d+) kB", entry, re.MULTILINE)[1]) << 10


@pytest.mark.skipif(not SMAPS.exists(), reason="needs /proc/self/smaps")
def test_a_batch_is_released_when_the_next_is_requested(images):
    order = np.random.default_rng(1).permutation(len(images))
    prefetcher = Prefetcher(images[100:])
    for start in range(0, 256, 16):
        prefetcher.prefetch(order[start : start + 16] % (len(images) - 100))
        assert resident(images) == 0
        images.take(order[start : start + 16], axis=0)
        assert resident(images) > 0


def test_many_images_are_copied_into_a_mapped_file(images, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    indices = np.random.default_rng(2).permutation(len(images))[:500]
    monkeypatch.setattr(memory_mapped, "MAX_BYTES_IN_MEMORY", 500 * 3072)
    assert memory_mapped.map_of(take_images(images, indices)) is None
    monkeypatch.setattr(memory_mapped, "MAX_BYTES_IN_MEMORY", 500 * 3072 - 1)
    chosen = take_images(images, indices)
    assert memory_mapped.map_of(chosen) is not None
    np.testing.assert_array_equal(chosen, images[indices])
