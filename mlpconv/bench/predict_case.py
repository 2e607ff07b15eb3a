"""A contender of `mlpconv bench predict`: the images a second that one way of computing a network classifies."""

import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np

from mlpconv import hardware
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import allocator
from mlpconv.backends.base import Images
from mlpconv.inference.classifier import Classifier
from mlpconv.inference.engine_packages import load_onnxruntime, load_openvino
from mlpconv.runs.classifier_file import read_classifier

WARMUP_CALLS = 3
"""The calls before the timed ones."""
PACKAGES = {
    "ours": "torch",
    "ours_onnx": "onnxruntime",
    "ours_openvino": "openvino",
    "eager": "torch",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
"""The package that computes, by contender."""
Predict = Callable[[Images], Any]


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to measure."""

    contender: str
    """A key of ``PACKAGES``."""
    classifier: str
    """The network as a ``.safetensors`` file of mlpconv."""
    onnx: str
    """The same as an ``.onnx`` file of mlpconv, with the preprocessing."""
    batch_size: int
    """The images of a call."""
    seconds: float
    """How long to measure at least."""
    threads: int


def measure(job: Job) -> dict[str, Any]:
    """Classify random images in calls of ``job.batch_size``, and time each call."""
    shape = batch_shape(read_classifier(Path(job.classifier)).preprocess, job.batch_size)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    predict = _CONTENDERS[job.contender](job)
    for _ in range(WARMUP_CALLS):
        predict(images)
    times: list[float] = []
    while not times or sum(times) < job.seconds:
        started = time.perf_counter()
        predict(images)
        times.append(time.perf_counter() - started)
    package = PACKAGES[job.contender]
    return {
        "images_per_second": job.batch_size / median(times),
        "calls": len(times),
        "versions": {package: version(package)},
    }


def batch_shape(preprocess: Preprocess, batch_size: int) -> tuple[int, int, int, int]:
    """The shape (N, H, W, C) of a batch of images as the network's preprocessing takes them."""
    height, width = preprocess.image_size
    return batch_size, height, width, preprocess.channels


def _ours(job: Job) -> Predict:
    allocator.keep_memory()  # as `mlpconv predict` does
    return Classifier(job.classifier).logits


def _ours_onnx(job: Job) -> Predict:
    return Classifier(job.onnx, backend="onnxruntime").logits


def _ours_openvino(job: Job) -> Predict:
    return Classifier(job.onnx, backend="openvino").logits


def _eager(job: Job) -> Predict:
    """The module in evaluation mode, and the resizing of its images, as the documentation of PyTorch shows them."""
    import torch
    from torch.nn import functional

    from mlpconv.backends.pytorch.network import native

    stored = read_classifier(Path(job.classifier))
    module, rules = native(stored.network, stored.weights).eval(), stored.preprocess
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (rules.mean, rules.std))

    def predict(images: Images) -> Any:
        with torch.inference_mode():
            x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
            if images.shape[1:3] != (rules.size, rules.size):
                x = functional.interpolate(x, (rules.size, rules.size), mode="bilinear", antialias=rules.antialias)
            return module((x - mean) / std).numpy()

    return predict


def _onnxruntime(job: Job) -> Predict:
    onnxruntime = load_onnxruntime("bench predict")
    session = onnxruntime.InferenceSession(job.onnx)
    return lambda images: session.run(["logits"], {"images": images})


def _openvino(job: Job) -> Predict:
    openvino = load_openvino("bench predict")
    # By itself, it chooses bfloat16 by the processor, and fails where oneDNN is limited to older instructions.
    options = {} if hardware.allows_bfloat16() else {"INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.compile_model(job.onnx, "CPU", options)
    output = model.output("logits")
    return lambda images: model({"images": images})[output]


_CONTENDERS: dict[str, Callable[[Job], Predict]] = {
    "ours": _ours,
    "ours_onnx": _ours_onnx,
    "ours_openvino": _ours_openvino,
    "eager": _eager,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}
