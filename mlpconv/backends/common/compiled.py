"""Shared parts of Keras' and MXNet's back ends: batches made by the host, and the compiled input stage of the network.

A batch leaves the host as pixels at their own size (a few megabytes), augmented by the NumPy reference. Normalization
and resizing are part of the compiled step on the device, as one folded convolution where that is exact.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv import errors, hardware
from mlpconv.arch import cost
from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.layers import Conv2d
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends import reference
from mlpconv.backends.base import Floats, Images, Labels, Precision, State, StepPlan
from mlpconv.backends.common.resize_folding import can_fold, fold_axes
from mlpconv.backends.weights import weight_shapes
from mlpconv.data.memory_mapped import release
from mlpconv.errors import RecipeError, WeightsError
from mlpconv.optimizers import Optimizer

CHUNK = 128
"""Images that prediction computes at once."""

Array = npt.NDArray[Any]
Size = tuple[int, int]
"""(height, width)."""


class Fold(NamedTuple):
    """Enlarging and the first convolution as one convolution of knots (common/resize_folding.py)."""

    name: str
    """The first layer."""
    matrix: Floats
    """float32 (kernel positions on the knots, k²): multiplied by the layer's kernel, it gives the kernel on the knots..

    """
    kernel: Size
    """The size of the kernel on the knots."""
    stride: int


class Resize(NamedTuple):
    """Resizing as two matrices."""

    rows: Floats
    """float32 (new height, height)."""
    columns: Floats
    """float32 (new width, width)."""


@dataclass(frozen=True)
class InputStage:
    """The operations from pixels (B, H, W, C) of one size to the network's input, or to its first layer's output."""

    fold: Fold | None
    """Includes the first layer, if there is one; the resizing then ends at its knots."""
    resize: Resize | None
    """None where the size stays the same."""
    shape: tuple[int, int, int]
    """(C, H', W') of the result."""


def input_stage(
    network: Network, preprocess: Preprocess, source: Size, size: Size, output: str | None = None
) -> InputStage:
    """The input stage of a network.

    Args:
        network: The network.
        preprocess: The preprocessing.
        source: The size of the pixels.
        size: The size of the network's input.
        output: The layer whose output is computed; by default the last.
    """
    folded = _folded_stage(network, source, size, output)
    return folded or InputStage(None, resize(preprocess, source, size), (network.input_channels, *size))


def resize(preprocess: Preprocess, source: Size, size: Size) -> Resize | None:
    """The matrices that resize ``source`` pixels to ``size``; None where the sizes are equal."""
    if source == size:
        return None
    sides = zip(source, size, strict=True)
    rows, columns = (reference.resize_matrix(*pair, preprocess.antialias).astype(np.float32) for pair in sides)
    return Resize(rows, columns)


def _folded_stage(network: Network, source: Size, size: Size, output: str | None) -> InputStage | None:
    channels = network.input_channels
    first = layer_shapes(network, (channels, *size))[0]
    if size[0] == size[1] and output != first.name and can_fold(network, source, size[0]):
        assert isinstance(first.layer, Conv2d)
        rows, columns = fold_axes(first.layer, source, size[0])
        # TensorFlow with oneDNN leaves parts of some maps unwritten where the two strides differ.
        if rows.stride == columns.stride:
            matrix = np.einsum("ik,jl->ijkl", rows.matrix, columns.matrix)
            kernel = len(rows.matrix), len(columns.matrix)
            flat = matrix.reshape(kernel[0] * kernel[1], -1).astype(np.float32)
            knots = Resize(rows.knots.astype(np.float32), columns.knots.astype(np.float32))
            channels, *sides = first.output_shape
            return InputStage(Fold(first.name, flat, kernel, rows.stride), knots, (channels, sides[0], sides[1]))
    return None


class Batch(NamedTuple):
    """A batch on the host, before normalization and resizing."""

    pixels: Array
    """(B, H, W, C) in 0..255: uint8, or float32 where images are mixed."""
    targets: Floats
    """float32 (B, classes)."""
    labels: npt.NDArray[np.int32]
    """int32 (B,)."""


def batch(plan: StepPlan, images: Images, labels: Labels, preprocess: Preprocess, classes: int) -> Batch:
    """The batch that a step plan describes, before normalization and resizing."""
    pixels: Array = reference.squared(reference.augment(plan, images[plan.indices], preprocess), preprocess)
    if plan.partner is not None and plan.cut is None:
        # Mixing commutes with normalization and resizing.
        pixels = pixels.astype(np.float32)
        pixels = np.float32(plan.mix) * pixels + np.float32(1 - plan.mix) * pixels[plan.partner]
    chosen = labels[plan.indices]
    return Batch(pixels, reference.targets(plan, chosen, classes), chosen.astype(np.int32))


def in_chunks(images: Images, function: Callable[[Images], Floats]) -> Floats:
    """``function`` of images, CHUNK at a time; the last of several chunks is filled up, so that all have one shape."""
    results = []
    for start in range(0, len(images), CHUNK):
        pixels = images[start : start + CHUNK]
        count = len(pixels)
        if start and count < CHUNK:
            pixels = np.concatenate([pixels, np.zeros((CHUNK - count, *pixels.shape[1:]), np.uint8)])
        results.append(function(pixels)[:count])
        release(images)
    return np.concatenate(results)


class Predictions(ABC):
    """The predicting methods of ``Model``, for a back end that defines how to compute one chunk."""

    network: Network
    preprocess: Preprocess
    classes: int

    @abstractmethod
    def _predict(self, size: Size, output: str | None, pixels: Images) -> Floats:
        """The output of the layer ``output``, or the logits, of images resized to ``size``; maps as (N, C, h, w)."""

    def logits(self, images: Images) -> Floats:
        """The logits, float32 (N, classes), of uint8 (N, H, W, C)."""
        if not len(images):
            return np.empty((0, self.classes), np.float32)
        return self._in_chunks(images, None, None)

    def class_maps(self, images: Images, size: Size | None = None) -> Floats:
        """The class maps, float32 (N, classes, h, w): see ``mlpconv.backends.base.Model``."""
        *_, (name, _) = until_class_maps(self.network)[0].walk()
        return self._in_chunks(images, size, name)

    def outputs(self, images: Images, layer: str) -> Floats:
        """The output, float32 (N, C, h, w), of a layer with maps, by its full name."""
        return self._in_chunks(images, None, layer)

    def _in_chunks(self, images: Images, size: Size | None, output: str | None) -> Floats:
        pixels = images if size else reference.squared(images, self.preprocess)
        side = self.preprocess.size
        return in_chunks(pixels, partial(self._predict, size or (side, side), output))


def check_size(network: Network, trained: tuple[int, ...], size: int) -> None:
    """Check that a network can train at another image size.

    Args:
        network: The network.
        trained: (C, H, W) of the input that its weights were created for.
        size: The new side.

    Raises:
        RecipeError: A weight would need another shape.
    """
    shapes, needed = weight_shapes(network, trained), weight_shapes(network, (trained[0], size, size))
    if differing := [name for name in needed if needed[name] != shapes[name]]:
        name = differing[0]
        raise RecipeError(
            f"image size {size}: {name} would need the shape {needed[name]}, it has {shapes[name]}; "
            f"this network trains at {trained[1]} only"
        )


def check_state(current: State, given: State) -> None:
    """Raise WeightsError unless a training state has the names and shapes of the model's current one."""
    shapes, others = ({key: value.shape for key, value in state.items()} for state in (current, given))
    if differing := sorted({key for key, _ in shapes.items() ^ others.items()}):
        raise WeightsError(
            f"load_training_state: made by another network, optimizer or back end: {differing[0]} differs "
            f"({len(differing)} differences); resume with what made it, or start from its weights alone"
        )


def training_bytes(
    network: Network,
    preprocess: Preprocess,
    source: tuple[int, int],
    plan: Callable[[int], StepPlan],
    *,
    optimizer: Optimizer,
    precision: Precision,
    device: str = "cpu",
) -> Callable[[int], int]:
    """See ``Backend.training_bytes``: the nominal costs, since the compiler decides which tensors are kept."""
    side, size, variant = plan(1).image_size, cost.value_bytes(precision), optimizer.variant
    shape = (network.input_channels, side, side)
    return lambda batch: cost.training_memory(network, shape, batch=batch, optimizer=variant, value_bytes=size).total


def prediction_bytes(
    network: Network,
    preprocess: Preprocess,
    source: tuple[int, int],
    *,
    optimizer: Optimizer | None = None,
    precision: Precision,
    device: str = "cpu",
) -> Callable[[int], int]:
    """See ``Backend.prediction_bytes``: the nominal costs."""
    shape, size = (network.input_channels, preprocess.size, preprocess.size), cost.value_bytes(precision)
    kept = len(optimizer.state_names) if optimizer else 0
    state = cost.WEIGHT_BYTES * kept * cost.count(network, shape).parameters

    def peak(images: int) -> int:
        return state + cost.prediction_memory(network, shape, batch=min(images, CHUNK), value_bytes=size).total

    return peak


def available_memory(device: str) -> int | None:
    """The machine's free memory; None for an accelerator, whose memory these frameworks do not report."""
    return hardware.available_memory() if device == "cpu" else None


def watch_memory(device: str) -> Callable[[], int | None]:
    """See ``Backend.watch_memory``: these frameworks do not measure it."""
    return lambda: None


def is_out_of_memory(error: BaseException) -> bool:
    """See ``Backend.is_out_of_memory``: TensorFlow has an error type for it, JAX and MXNet only a message."""
    exhausted = type(error).__name__ == "ResourceExhaustedError" or "RESOURCE_EXHAUSTED" in str(error)
    return exhausted or errors.is_out_of_memory(error)
