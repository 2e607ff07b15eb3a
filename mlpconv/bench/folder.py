"""`mlpconv bench folder`: a folder of images decoded into the cache, batches from there, and training from a map.

It measures how long the first reading of a folder takes, how much faster batches come from the cache than from
decoding each time, and whether a folder larger than the memory trains as fast as a small part of it, in a process whose
memory is limited to ``memory_gb``. The small part is in memory. Of all images none is when training starts: the system
drops the pages of the file, so that each image is read from the disk.
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mlpconv import hardware
from mlpconv.bench.programs import output_of
from mlpconv.data.folders.cache import IMAGES
from mlpconv.data.folders.folder import Folder, Loaded, scan_folder
from mlpconv.data.memory_mapped import Prefetcher, release
from mlpconv.errors import DataError
from mlpconv.reports.provenance import provenance

FORMAT = 1
BATCH = 128
SMALL = 10_000
"""The images of the small part."""
CLASSES = 10
MIN_DECODED_PER_SECOND = 60_000 / 25
"""Images of 32×32 a second, read and decoded into the cache by two processors."""
MIN_SPEEDUP, MIN_RATIO = 100, 0.9
"""The gates: batches from the cache relative to decoding, and training on all images relative to the small part."""


def measure(
    path: Path | None,
    *,
    generate: int | None,
    steps: int,
    rounds: int,
    memory_gb: float,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure a folder of images.

    ``path`` None is a temporary folder. ``generate`` is the number of JPEG images of 32×32 to create there first;
    images that exist already are kept, None creates none. Each round trains ``steps`` timed steps on the small part and
    then on all images.

    Returns:
        The result, as docs/json/bench-folder.schema.json describes it.

    Raises:
        BenchmarkFailed: The process that trains failed.
        DataError: The folder has other files.
    """
    with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as place:
        cache = Path(place) / "cache"
        folder = path or Path(place) / "images"
        if generate is not None:
            make_images(folder, generate, progress)
        first = _first(folder, cache, progress)
        runs: dict[str, list[dict[str, Any]]] = {"small": [], "all": []}
        for number in range(rounds):
            for name, most in (("small", SMALL), ("all", 0)):
                runs[name].append(_train(folder, cache, most, steps, memory_gb))
            speeds = {name: f"{each[-1]['images_per_second']:,.0f}" for name, each in runs.items()}
            progress(f"round {number + 1}: training {speeds['all']} images/s, on a few of them {speeds['small']}")
    ratios = [
        of_all["images_per_second"] / of_few["images_per_second"]
        for of_few, of_all in zip(runs["small"], runs["all"], strict=True)
    ]
    ratio, trained = median(ratios), {name: _summary(each) for name, each in runs.items()}
    gates = [
        ("images read and decoded a second", first["images"] / first["seconds"], MIN_DECODED_PER_SECOND, False),
        ("batches from the cache against decoding, times", first["speedup"], MIN_SPEEDUP, False),
        (f"training on all images against {SMALL:,} of them", ratio, MIN_RATIO, False),
        ("GB of memory in training at the peak", (trained["all"]["peak_bytes"] or 0) / 1e9, memory_gb, True),
    ]
    return {
        "format": FORMAT,
        "benchmark": "folder",
        "generated": generate or 0,
        **first,
        "training": trained | {"ratio": ratio, "ratios": ratios, "steps": steps, "rounds": rounds},
        "memory_gb": memory_gb,
        "gates": [
            {
                "name": name,
                "value": value,
                "bound": bound,
                "below": below,
                "passed": value <= bound if below else value >= bound,
            }
            for name, value, bound, below in gates
        ],
        **provenance(),
    }


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The median speed and the highest peak of several rounds."""
    peaks = [each["peak_bytes"] for each in runs]
    return {
        "images": runs[0]["images"],
        "images_per_second": median(each["images_per_second"] for each in runs),
        "peak_bytes": None if None in peaks else max(peaks),
    }


def make_images(root: Path, count: int, progress: Callable[[str], None]) -> None:
    """Write ``root/0`` to ``root/9`` with ``count`` JPEG images of 32×32 in all; those that exist are kept.

    Raises:
        DataError: The directory has other files.
    """
    from PIL import Image

    others = (
        sorted({each.name for each in root.iterdir()} - {str(label) for label in range(CLASSES)})
        if root.exists()
        else []
    )
    if others:
        raise DataError(f"{root}: holds {others[0]}, so no images are generated there; give an empty directory")
    made = 0
    for label in range(CLASSES):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        there = {path.name for path in (root / str(label)).iterdir()}
        for index in range(label, count, CLASSES):
            if (name := f"{index:07}.jpg") not in there:
                pixels = np.random.default_rng(index).integers(0, 256, (8, 8, 3), np.uint8)
                image = Image.fromarray(pixels).resize((32, 32), Image.Resampling.BILINEAR)
                image.save(root / str(label) / name, quality=85)
                made += 1
    progress(f"generated {made:,} images, {count - made:,} existed already")


def _first(path: Path, cache: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    started = time.perf_counter()
    folder = scan_folder(path, cache=cache)
    scanned = time.perf_counter()
    loaded = folder.load(_preprocess(folder))
    decoded = time.perf_counter()
    count = len(loaded.rows)
    progress(f"{count:,} images read in {scanned - started:.1f} s and decoded in {decoded - scanned:.1f} s")
    cached = _batches(loaded)
    decoding = count / (decoded - scanned)
    return {
        "images": count,
        "scan_seconds": scanned - started,
        "decode_seconds": decoded - scanned,
        "seconds": decoded - started,
        "decoded_per_second": decoding,
        "cached_per_second": cached,
        "speedup": cached / decoding,
    }


def _preprocess(folder: Folder):
    return folder.preprocess(32, "squash")


def _batches(loaded: Loaded, passes: int = 5) -> float:
    """Images a second read from the map in random batches, as a back end reads them: the median of several passes."""
    images = loaded.splits.train.images
    flat = images.reshape(len(images), -1)
    seconds = []
    for seed in range(passes):
        order = np.random.default_rng(seed).permutation(len(images))
        started = time.perf_counter()
        for start in range(0, len(order), BATCH):
            flat.take(order[start : start + BATCH], axis=0)
        seconds.append(time.perf_counter() - started)
    return len(images) / median(seconds)


def _train(path: Path, cache: Path, most: int, steps: int, memory_gb: float) -> dict[str, Any]:
    argument = json.dumps([str(path), str(cache), most, steps, memory_gb])
    return json.loads(output_of([sys.executable, "-m", "mlpconv.bench.folder", argument], f"training on {path}"))


def child(argument: str) -> dict[str, Any]:
    """Train nin_32 on random images of the folder, in the process that ``argument``, JSON, was given to."""
    from mlpconv.backends.registry import get_backend
    from mlpconv.backends.weights import initialize
    from mlpconv.data.image import fitting_preprocess
    from mlpconv.models import create_model
    from mlpconv.training.plan import plan_step, step_indices
    from mlpconv.training.recipe import change
    from mlpconv.training.recipes import get_recipe

    path, cache, most, steps, memory_gb = json.loads(argument)
    # The limit is for private memory; the system can drop the pages of a mapped file at any time.
    limit = int(memory_gb * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    folder = scan_folder(path, cache=cache)
    loaded = folder.load(_preprocess(folder))
    train = loaded.splits.train
    images, labels = train.images, train.labels
    if most:
        chosen = np.random.default_rng(0).permutation(len(images))[:most]
        images, labels = images[chosen], labels[chosen]
    recipe = change(get_recipe("folder"), {"model": "nin_32", "image_size": 32, "batch_size": BATCH, "balance": 0.0})
    network = create_model("nin_32", train.num_classes, train.image_shape[2])
    backend = get_backend("torch")
    device, precision = backend.choose(None, None)
    model = backend.build(
        network, fitting_preprocess(train, 32), optimizer=recipe.optimizer, precision=precision, device=device
    )
    model.load_weights(initialize(network, recipe.initializer, 0, framework_biases=backend.framework_biases))
    model.attach(images, labels)
    _forget(loaded)
    prefetcher, per_epoch = Prefetcher(images), -(-len(images) // BATCH)
    started, seen = 0.0, 0
    warmup = 3
    for number in range(steps + warmup):
        if number == warmup:
            model.read_metrics()
            started = time.perf_counter()
        epoch, step = divmod(number, per_epoch)
        plan = plan_step(recipe, len(images), (32, 32), 32, epoch % recipe.epochs, step)
        prefetcher.prefetch(step_indices(recipe, len(images), epoch % recipe.epochs, step + 1))
        model.train_step(plan)
        seen += len(plan.indices) if number >= warmup else 0
    model.read_metrics()
    seconds = time.perf_counter() - started
    for step in range(per_epoch):  # a whole epoch, as the peak of a few steps is lower
        indices = step_indices(recipe, len(images), 0, step)
        prefetcher.prefetch(indices)
        images.take(indices, axis=0)
    return {
        "images": len(images),
        "images_per_second": seen / seconds,
        "peak_bytes": hardware.peak_resident_bytes(),
    }


def _forget(loaded: Loaded) -> None:
    """Let the system drop the pages of the decoded images."""
    release(loaded.splits.train.images)
    with (loaded.place / IMAGES).open("rb") as file:
        os.fsync(file.fileno())  # what is not on the disk yet is not dropped
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    print(json.dumps(child(sys.argv[1])))
