"""What a network takes in PyTorch, measured: parameters, FLOPs, and memory of training and prediction.

Run as a program, ``python -m mlpconv.bench.step_resources JOB``, it prints the result as JSON: the peak of a
process's memory is measured once in its life.
"""

import gc
import json
import sys
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from mlpconv import hardware
from mlpconv.arch.network import Preprocess
from mlpconv.backends.base import StepPlan
from mlpconv.backends.registry import get_backend
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer

STEPS = 3


def measure(
    model: str, image_size: int, batch_size: int, training: bool, device: str | None, optimizer: dict[str, Any]
) -> dict[str, Any]:
    """parameters; flops of one image's forward pass as PyTorch counts them; bytes: the most memory of ``STEPS`` steps
    of training, or predictions, of ``batch_size`` images, more than there was before the network was built; seconds of
    the last one. On a GPU bytes are what PyTorch's allocator gave out, else what was resident (None where the system
    does not say)."""
    backend = get_backend("torch")
    place, precision = backend.choose(device, None)
    network = create_model(model).replace(input_size=image_size)
    channels = network.input_channels
    rule = Optimizer(**optimizer)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch_size, image_size, image_size, channels), dtype=np.uint8)
    labels = np.arange(batch_size, dtype=np.int64) % 10
    preprocess = Preprocess(image_size, "L" if channels == 1 else "RGB", mean=(0.0,) * channels, std=(1.0,) * channels)
    _warm(place)
    gc.collect()
    before = _now(place)
    realised = backend.build(
        network, preprocess, optimizer=rule if training else None, precision=precision, device=place
    )
    seconds = _seconds(realised, images, labels, image_size, training)
    peak = _peak(place)
    module = realised.native
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, *network.input_shape, device=place))
    return {
        "parameters": sum(value.numel() for value in module.parameters()),
        "flops": counter.get_total_flops(),
        "bytes": None if peak is None or before is None else peak - before,
        "seconds": seconds,
        "device": place,
        "precision": precision,
    }


def _seconds(realised: Any, images: np.ndarray, labels: np.ndarray, size: int, training: bool) -> float:
    import time

    began = 0.0
    if training:
        realised.attach(images, labels)
    for step in range(STEPS):
        began = time.perf_counter()
        if training:
            realised.train_step(StepPlan(np.arange(len(images)), size, 1e-3, step))
            realised.read_metrics()
        else:
            realised.logits(images)
    return time.perf_counter() - began


def _warm(device: str) -> None:
    """What the framework takes for itself at its first convolution is not the network's."""
    x = torch.zeros(1, 3, 8, 8, device=device, requires_grad=True)
    torch.nn.functional.conv2d(x, torch.zeros(4, 3, 3, 3, device=device)).sum().backward()


def _now(device: str) -> int | None:
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return hardware.resident_bytes()


def _peak(device: str) -> int | None:
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else hardware.peak_resident_bytes()


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
