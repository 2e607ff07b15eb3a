"""Measures what a network needs in PyTorch: parameters, FLOPs, and the memory and time of training or prediction.

The study of resources runs it as a program, ``python -m mlpconv.studies.step_resources JOB``, as the peak of a
process's memory can be measured only once in its life. It prints the result as JSON.
"""

import gc
import json
import sys
import time
from typing import Any

import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Model, StepPlan
from mlpconv.backends.registry import get_backend
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer

STEPS = 3
"""The steps or predictions of a measurement; the last one is timed."""


def measure(
    model: str, image_size: int, batch_size: int, training: bool, device: str | None, optimizer: dict[str, Any]
) -> dict[str, Any]:
    """Measure ``STEPS`` steps of training, or predictions, of a batch.

    Args:
        model: The name of the network.
        image_size: The side in pixels of the images.
        batch_size: The images of a step or prediction.
        training: Whether to train.
        device: The device; None is the back end's choice.
        optimizer: The fields of an ``Optimizer``.

    Returns:
        ``parameters``; ``flops`` of one image's forward pass, as PyTorch counts them; ``bytes``, the peak of the memory
        minus that before the network was built (None if the system does not report it); ``seconds`` of the last step;
        ``device`` and ``precision``.
    """
    # Imports PyTorch, which only the process that measures needs.
    from mlpconv.backends.pytorch import measured

    backend = get_backend("torch")
    place, precision = backend.choose(device, None)
    network = create_model(model).replace(input_size=image_size)
    channels = network.input_channels
    rule = Optimizer(**optimizer)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch_size, image_size, image_size, channels), dtype=np.uint8)
    labels = np.arange(batch_size, dtype=np.int64) % 10
    preprocess = Preprocess.of_channels(image_size, channels)
    measured.warm_up(place)
    gc.collect()
    before = measured.memory_in_use(place)
    realised = backend.build(
        network, preprocess, optimizer=rule if training else None, precision=precision, device=place
    )
    seconds = _seconds(realised, images, labels, image_size, training)
    peak = measured.peak_memory(place)
    return {
        "parameters": measured.count_parameters(realised.native),
        "flops": measured.count_flops(realised.native, network.input_shape, place),
        "bytes": None if peak is None or before is None else peak - before,
        "seconds": seconds,
        "device": place,
        "precision": precision,
    }


def _seconds(realised: Model, images: np.ndarray, labels: np.ndarray, size: int, training: bool) -> float:
    started = 0.0
    if training:
        realised.attach(images, labels)
    for step in range(STEPS):
        started = time.perf_counter()
        if training:
            realised.train_step(StepPlan(np.arange(len(images)), size, 1e-3, step))
            realised.read_metrics()
        else:
            realised.logits(images)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
