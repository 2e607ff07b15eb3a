"""A network in a separate process: the forecast of its time and memory, and the measured values."""

import tempfile
import time
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from mlpconv import hardware
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import allocator
from mlpconv.backends.base import Precision, StepPlan
from mlpconv.backends.registry import get_backend
from mlpconv.bench.contest import DataName
from mlpconv.bench.images import splits
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import PrecisionError
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer
from mlpconv.training.plan import plan_step
from mlpconv.training.recipe import Recipe

SOURCE = (28, 28)


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to measure: ``batch_sizes`` in rising order; ``precision`` None is the back end's choice; ``images``,
    ``test_images`` and ``backend`` are those of a timed run: memory is measured in PyTorch."""

    what: Literal["memory", "time"]
    network: str
    batch_sizes: tuple[int, ...]
    threads: int
    precision: Precision | None = None
    images: int = 0
    test_images: int = 0
    data: DataName = "generated"
    device: str | None = None
    backend: str = "torch"


def measure(job: Job) -> dict[str, Any]:
    """A list of cases, one for each batch size; empty if the processor does not support the job's precision."""
    # The command line does this first too.
    allocator.keep_memory()
    try:
        return {"cases": [(_memory if job.what == "memory" else _time)(job, size) for size in job.batch_sizes]}
    except PrecisionError:
        return {"cases": []}


def _memory(job: Job, batch: int) -> dict[str, Any]:
    from mlpconv.bench.tensors import peak_tensor_bytes  # PyTorch's

    backend = get_backend("torch")
    device, precision = backend.choose(job.device, job.precision)
    network, optimizer = create_model(job.network, 10, 1), Optimizer(momentum=0.9)
    preprocess = Preprocess(network.input_size[0])
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch, *SOURCE, 1), np.uint8)
    labels = draw.integers(0, 10, batch)

    def plan(count: int) -> StepPlan:
        return plan_step(Recipe(batch_size=count), count, SOURCE, preprocess.size, 0, 0)

    def train() -> object:
        model = backend.build(network, preprocess, optimizer=optimizer, precision=precision, device=device)
        model.attach(images, labels)
        model.train_step(plan(batch))
        model.read_metrics()
        return model

    def predict() -> object:
        model = backend.build(network, preprocess, precision=precision, device=device)
        model.logits(images)
        return model

    about: dict[str, Any] = {"precision": precision, "device": device}
    given = (network, preprocess, SOURCE)
    training = backend.training_bytes(*given, plan, optimizer=optimizer, **about)(batch)
    prediction = backend.prediction_bytes(*given, **about)(batch)
    before = hardware.resident_bytes()
    trained, predicted = peak_tensor_bytes(train, device), peak_tensor_bytes(predict, device)
    return {
        "network": job.network,
        "batch_size": batch,
        "precision": precision,
        "training": {"predicted": training, "measured": trained},
        "prediction": {"predicted": prediction, "measured": predicted},
        # Of the process, so that smaller batches before it count too.
        "resident_bytes": hardware.peak_resident_bytes(),
        "resident_before_bytes": before,
    }


def _time(job: Job, batch: int) -> dict[str, Any]:
    train, test = splits(job.data)
    data = Splits(first_images(train, job.images), first_images(test, job.test_images))
    # In so short a run a network may learn nothing; the guard must not start it again.
    recipe = Recipe(model=job.network, batch_size=batch, epochs=1, precision=job.precision, on_trouble="ignore")
    prepared = prepare(Request(recipe=recipe, backend=job.backend, device=job.device), data)
    with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as folder:
        execution = execute(prepared, Path(folder) / "run", ExecuteOptions(force=True))
        started = time.perf_counter()
        ahead = execution.forecast()
        seconds, started = time.perf_counter() - started, time.perf_counter()
        for _ in execution:
            pass
        taken = time.perf_counter() - started
        result = execution.run.result
    assert result is not None
    return {
        "network": job.network,
        "batch_size": batch,
        "precision": prepared.job.precision,
        "images": len(data.train),
        "seconds": {"predicted": ahead.seconds, "measured": prepared.seconds + taken},
        "images_per_second": {"predicted": ahead.images_per_second, "measured": result.examples_per_second},
        "forecast_seconds": seconds,
        "tensor_bytes": ahead.tensor_bytes,
        "resident_bytes": hardware.peak_resident_bytes(),
    }


def first_images(data: ImageDataset, count: int) -> ImageDataset:
    return ImageDataset(data.images[:count], data.labels[:count], data.class_names, data.name)
