"""ONNX models in int8: static, per channel, with the nodes QuantizeLinear and DequantizeLinear (QDQ).

The ranges of the activations are calibrated on training images by two methods, and the method is kept whose
probabilities differ less from those of float32 on other training images. The test images only measure the result.
"""

import contextlib
import io
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlpconv import hardware
from mlpconv.arch.layers import AnyLayer, AvgPool2d, BatchNorm2d, Conv2d, GlobalAvgPool2d, Linear, MaxPool2d
from mlpconv.arch.network import Block, Network
from mlpconv.backends.base import Floats, Images, Weights
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import MlpconvError
from mlpconv.export.onnx_file import OnnxExport, check_form, onnx_model
from mlpconv.formatting import format_number
from mlpconv.inference.engine_packages import load_onnxruntime
from mlpconv.inference.onnx_model import INPUT, OnnxModel
from mlpconv.runs.classifier_file import StoredClassifier
from mlpconv.training.metrics import evaluate, softmax

METHODS = ("MinMax", "Percentile")
"""The calibration methods: by the smallest and largest values, and without the rarest 0.001 % of them."""
MAX_CALIBRATION_IMAGES, MAX_CHOICE_IMAGES, MAX_TEST_IMAGES = 128, 256, 2000
"""The most images for the ranges, for the choice of the method, and for the accuracy."""
BATCHES = (1, 64)
"""The numbers of images at once whose speed is measured."""
_CALIBRATION_BATCH = 16
_MAX_REPEATS, _MAX_SECONDS = 30, 3.0


class Quantized(NamedTuple):
    """An ONNX model in int8, next to the one in float32."""

    content: bytes
    """The model as the content of a file."""
    method: str
    """The calibration method that was kept."""
    accuracy: tuple[float, float]
    """The accuracy in float32 and in int8."""
    images: int
    """The test images on which it was measured."""
    milliseconds: dict[int, tuple[float, float]]
    """The time of an image in float32 and in int8, by the number of images at once."""


def quantize(
    exported: OnnxExport, stored: StoredClassifier, train: ImageDataset, test: ImageDataset, max_drop: float
) -> Quantized:
    """Turn an exported model into int8.

    Args:
        exported: The model in float32.
        stored: The classifier.
        train: Training images, to calibrate and to choose the method.
        test: Test images, to measure the accuracy.
        max_drop: The largest loss of accuracy that is accepted, from 0 to 1.

    Raises:
        MlpconvError: The accuracy drops by more.
    """
    draw = np.random.default_rng(0)
    order = draw.permutation(len(train))
    count = max(1, min(MAX_CALIBRATION_IMAGES, len(train) // 2))
    calibration = train.images[np.sort(order[:count])]
    rest = order[count : count + MAX_CHOICE_IMAGES]
    choice = train.images[np.sort(rest if len(rest) else order[:count])]
    original = OnnxModel(exported.content, stored.path, "cpu")
    expected = softmax(original.logits(choice))
    network, weights = without_normalization(stored.network, stored.weights)
    about = {each.key: each.value for each in exported.model.metadata_props if not each.key.startswith("mlpconv.")}
    has_labels = any(each.name == "label" for each in exported.model.graph.output)
    folded = stored._replace(network=network, weights=weights)
    model = onnx_model(folded, about, labels=has_labels)
    best: tuple[float, str, bytes] | None = None
    for method in METHODS:
        changed = _quantized(model, network, calibration, method)
        # The metadata describes the run's own network.
        del changed.metadata_props[:]
        changed.metadata_props.extend(exported.model.metadata_props)
        changed.metadata_props.add(key="weights", value="int8")
        content = check_form(stored.path, changed)
        difference = float(np.abs(softmax(OnnxModel(content, stored.path, "cpu").logits(choice)) - expected).mean())
        if best is None or difference < best[0]:
            best = difference, method, content
    assert best is not None
    small = OnnxModel(best[2], stored.path, "cpu")
    chosen = np.sort(draw.permutation(len(test))[:MAX_TEST_IMAGES])
    images, labels = test.images[chosen], test.labels[chosen]
    before, after = (evaluate(each.logits(images), labels).accuracy for each in (original, small))
    if before - after > max_drop:
        raise MlpconvError(
            f"--int8: the accuracy drops from {before:.4f} to {after:.4f} on "
            f"{format_number(len(images), 'test image')}, by more than --max-drop {max_drop:g}; nothing is written. "
            "Export without --int8, or accept the drop"
        )
    milliseconds = {
        batch: (_time(original.logits, images, batch), _time(small.logits, images, batch)) for batch in BATCHES
    }
    content = _with_text(best[2], "int8_accuracy", f"{after}")
    return Quantized(content, best[1], (before, after), len(images), milliseconds)


def _with_text(content: bytes, name: str, text: str) -> bytes:
    """A model with one more text in its metadata."""
    import onnx  # pyright: ignore[reportMissingImports]

    model = onnx.load_from_string(content)
    model.metadata_props.add(key=name, value=text)
    return model.SerializeToString()


def without_normalization(network: Network, weights: Weights) -> tuple[Network, dict[str, Floats]]:
    """The same network with each normalization that follows a convolution as part of that convolution's weights."""
    changed, removed, values = {}, set(), dict(weights)
    rows = list(network.walk())
    for (name, layer), (after, norm) in pairwise(rows):
        if isinstance(layer, Conv2d) and isinstance(norm, BatchNorm2d):
            mean, variance, scale, shift = (
                values.pop(f"{after}.{part}").astype(np.float64)
                for part in ("running_mean", "running_var", "weight", "bias")
            )
            scale = scale / np.sqrt(variance + norm.eps)
            bias = values.get(f"{name}.bias", np.zeros(len(scale)))
            values[f"{name}.weight"] = (values[f"{name}.weight"] * scale[:, None, None, None]).astype(np.float32)
            values[f"{name}.bias"] = ((bias - mean) * scale + shift).astype(np.float32)
            changed[name] = msgspec.structs.replace(layer, bias=True)
            removed.add(after)
    kept: dict[str, AnyLayer | Block] = {}
    for name, layer in network.layers.items():
        if isinstance(layer, Block):
            inner = {part: changed.get(f"{name}.{part}", each) for part, each in layer.layers.items()}
            kept[name] = Block(**{part: each for part, each in inner.items() if f"{name}.{part}" not in removed})
        elif name not in removed:
            kept[name] = changed.get(name, layer)
    settings: dict[str, Any] = {"input_channels": network.input_channels, "input_size": network.input_size}
    return Network.named(kept, name=network.name, **settings), values


def _quantized(model: Any, network: Network, images: Images, method: str) -> Any:
    """A model in int8, with the ranges that one method finds."""
    import onnx  # pyright: ignore[reportMissingImports]
    from onnxruntime import quantization  # pyright: ignore[reportMissingImports]

    kinds = Conv2d | Linear | MaxPool2d | AvgPool2d | GlobalAvgPool2d
    with tempfile.TemporaryDirectory() as directory, _quiet():
        before, after = Path(directory, "float32.onnx"), Path(directory, "int8.onnx")
        before.write_bytes(model.SerializeToString())
        quantization.quantize_static(
            before,
            after,
            _reader(images),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            # Without these instructions, sums of two products overflow 16 bits.
            reduce_range=not hardware.has_int8_dot_products(),
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod[method],
            nodes_to_quantize=[name for name, layer in network.walk() if isinstance(layer, kinds)],
        )
        return onnx.load(after)


def _reader(images: Images) -> Any:
    """The images for ONNX Runtime's calibration, in batches."""
    from onnxruntime.quantization import CalibrationDataReader  # pyright: ignore[reportMissingImports]

    # All batches have the same size: the histograms of Percentile need that.
    size = min(_CALIBRATION_BATCH, len(images))
    starts = range(0, len(images) - size + 1, size)

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[Images] = iter([images[start : start + size] for start in starts])

        def get_next(self) -> Any:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: np.ascontiguousarray(batch)}

    return Reader()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what ONNX Runtime's quantization prints and logs."""
    onnxruntime = load_onnxruntime("export --int8")
    onnxruntime.set_default_logger_severity(3)
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
        onnxruntime.set_default_logger_severity(2)


def _time(logits: Callable[[Images], Floats], images: Images, batch: int) -> float:
    """The least time of an image in milliseconds, of several runs."""
    used = np.concatenate([images] * -(-batch // len(images)))[:batch]
    logits(used)
    times: list[float] = []
    while len(times) < _MAX_REPEATS and sum(times) < _MAX_SECONDS:
        start = time.perf_counter()
        logits(used)
        times.append(time.perf_counter() - start)
    return 1000 * min(times) / batch
