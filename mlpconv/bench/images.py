"""The images on which contenders train, and the cost of loading them."""

import time
from typing import Any

import numpy as np

from mlpconv import hardware
from mlpconv.bench.contest import DataName, Job
from mlpconv.data import ImageDataset, Splits, load_dataset
from mlpconv.errors import DataError

COUNT = 60_000
"""Training images, of Fashion-MNIST and of the generated ones."""


def splits(name: DataName) -> Splits:
    """Fashion-MNIST from this machine, or noise of its shape: uint8 (N, 28, 28, 1)."""
    if name == "fashion-mnist":
        return load_dataset(name, download=False)
    draw = np.random.default_rng(0)

    def noise(count: int) -> ImageDataset:
        images = draw.integers(0, 256, (count, 28, 28, 1), np.uint8)
        return ImageDataset(images, draw.integers(0, 10, count), tuple("0123456789"), "generated")

    return Splits(noise(COUNT), noise(10_000))


def measure(job: Job) -> dict[str, Any]:
    """Load and verify Fashion-MNIST from the cache or the installed package; "generated" if it is in neither."""
    before = hardware.resident_bytes()
    started = time.perf_counter()
    try:
        splits("fashion-mnist")
    except DataError:
        return {"data": "generated", "load_seconds": None, "load_peak_bytes": None}
    seconds = time.perf_counter() - started
    after = hardware.peak_resident_bytes()
    growth = after - before if before is not None and after is not None else None
    return {"data": "fashion-mnist", "load_seconds": seconds, "load_peak_bytes": growth}
