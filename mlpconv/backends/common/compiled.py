"""What the back ends of Keras and MXNet share: batches made on the host, and how they become the network's first map.

A batch leaves the host as pixels at their own size, augmented by the NumPy reference (a few megabytes); normalising and
resizing happen on the device, inside the compiled step, as one folded convolution where that is exact.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv import hardware
from mlpconv.arch import cost
from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.layers import Conv2d
from mlpconv.arch.network import Network, Preprocess
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


class Fold(NamedTuple):
    """Enlarging and the first convolution in one, on knots (common/resize_folding.py). matrix: float32 (kernel on the
    knots, k²), on whose right the kernel goes. kernel: (height, width) of the convolution on the knots."""

    name: str
    matrix: Floats
    kernel: tuple[int, int]
    stride: int


class Resize(NamedTuple):
    """Resizing as two matrices, float32 (size, height) and (size, width); None where nothing is to be done."""

    rows: Floats
    columns: Floats


@dataclass(frozen=True)
class Front:
    """What happens to pixels (B, H, W, C) of one size before the layers: resizing, with a fold to its knots. shape: (C,
    H', W') of what comes out."""

    fold: Fold | None
    resize: Resize | None
    shape: tuple[int, int, int]


def front(
    network: Network, preprocess: Preprocess, source: tuple[int, int], size: tuple[int, int], output: str | None = None
) -> Front:
    """The way of ``source`` (height, width) pixels to a network at ``size`` that ends at the layer ``output``."""
    fold = _fold(network, source, size, output)
    return fold or Front(None, resize(preprocess, source, size), (network.input_channels, *size))


def resize(preprocess: Preprocess, source: tuple[int, int], size: tuple[int, int]) -> Resize | None:
    """The matrices that resize ``source`` (height, width) pixels to ``size``, if anything is to be done."""
    if source == size:
        return None
    sides = zip(source, size, strict=True)
    rows, columns = (reference.resize_matrix(*pair, preprocess.antialias).astype(np.float32) for pair in sides)
    return Resize(rows, columns)


def _fold(network: Network, source: tuple[int, int], size: tuple[int, int], output: str | None) -> Front | None:
    channels = network.input_channels
    first = layer_shapes(network, (channels, *size))[0]
    if size[0] == size[1] and output != first.name and can_fold(network, source, size[0]):
        assert isinstance(first.layer, Conv2d)
        rows, columns = fold_axes(first.layer, source, size[0])
        # TensorFlow with oneDNN leaves parts of some maps unwritten at uneven strides.
        if rows.stride == columns.stride:
            matrix = np.einsum("ik,jl->ijkl", rows.matrix, columns.matrix)
            kernel = len(rows.matrix), len(columns.matrix)
            flat = matrix.reshape(kernel[0] * kernel[1], -1).astype(np.float32)
            knots = Resize(rows.knots.astype(np.float32), columns.knots.astype(np.float32))
            channels, *sides = first.output_shape
            return Front(Fold(first.name, flat, kernel, rows.stride), knots, (channels, sides[0], sides[1]))
    return None


class Batch(NamedTuple):
    """pixels: (B, H, W, C), uint8, or float32 where images are mixed, with values 0..255. targets: float32
    (B, classes). labels: int32 (B,)."""

    pixels: Array
    targets: Floats
    labels: npt.NDArray[np.int32]


def batch(plan: StepPlan, images: Images, labels: Labels, preprocess: Preprocess, classes: int) -> Batch:
    """What a step plan says of images and labels, but for normalising and resizing."""
    pixels: Array = reference.squared(reference.augment(plan, images[plan.indices], preprocess), preprocess)
    if plan.partner is not None:
        # Normalising and resizing commute with it.
        pixels = pixels.astype(np.float32)
        pixels = np.float32(plan.mix) * pixels + np.float32(1 - plan.mix) * pixels[plan.partner]
    own = labels[plan.indices]
    return Batch(pixels, reference.targets(plan, own, classes), own.astype(np.int32))


def in_chunks(images: Images, function: Callable[[Images], Floats]) -> Floats:
    """``function`` of images, CHUNK at a time; the last chunk of several is filled up, so that compiled code sees one
    size."""
    found = []
    for start in range(0, len(images), CHUNK):
        pixels = images[start : start + CHUNK]
        count = len(pixels)
        if start and count < CHUNK:
            pixels = np.concatenate([pixels, np.zeros((CHUNK - count, *pixels.shape[1:]), np.uint8)])
        found.append(function(pixels)[:count])
        release(images)
    return np.concatenate(found)


class Predictions:
    """What a model says without training, for the back ends that say how one chunk is computed."""

    network: Network
    preprocess: Preprocess
    classes: int

    def _predict(self, size: tuple[int, int], output: str | None, pixels: Images) -> Floats:
        """The output of the layer ``output``, or the logits, of images resized to ``size``; maps as (N, C, h, w).
        Each back end has its own."""
        raise NotImplementedError

    def logits(self, images: Images) -> Floats:
        """float32 (N, classes) for uint8 (N, H, W, C)."""
        if not len(images):
            return np.empty((0, self.classes), np.float32)
        return self._in_chunks(images, None, None)

    def class_maps(self, images: Images, size: tuple[int, int] | None = None) -> Floats:
        """float32 (N, classes, h, w): see ``mlpconv.backends.base.Model``."""
        *_, (name, _) = until_class_maps(self.network)[0].walk()
        return self._in_chunks(images, size, name)

    def outputs(self, images: Images, layer: str) -> Floats:
        """float32 (N, C, h, w) for uint8 (N, H, W, C): what a layer with maps gives, by its full name."""
        return self._in_chunks(images, None, layer)

    def _in_chunks(self, images: Images, size: tuple[int, int] | None, output: str | None) -> Floats:
        pixels = images if size else reference.squared(images, self.preprocess)
        side = self.preprocess.size
        return in_chunks(pixels, partial(self._predict, size or (side, side), output))


def check_size(network: Network, trained: tuple[int, ...], size: int) -> None:
    """Raise RecipeError where a network whose weights were made for ``trained`` (C, H, W) cannot train at ``size``."""
    own, other = weight_shapes(network, trained), weight_shapes(network, (trained[0], size, size))
    if differing := [name for name in other if other[name] != own[name]]:
        name = differing[0]
        raise RecipeError(
            f"image size {size}: {name} would need the shape {other[name]}, it has {own[name]}; this network trains at "
            f"{trained[1]} only"
        )


def check_state(own: State, given: State) -> None:
    """Raise WeightsError unless a training state has the names and shapes of one's own."""
    shapes, others = ({key: value.shape for key, value in each.items()} for each in (own, given))
    if differing := sorted({key for key, _ in shapes.items() ^ others.items()}):
        raise WeightsError(
            f"load_training_state: made by another network, optimiser or back end: {differing[0]} differs "
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
    return isinstance(error, MemoryError) or exhausted or "out of memory" in str(error).lower()
