"""The weights of a classifier rounded for an export, and how much an export differs from the original."""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from mlpconv.arch.cost import count
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Images, Weights
from mlpconv.backends.reference import images as reference_images
from mlpconv.backends.reference import layers as reference
from mlpconv.runs.classifier_file import StoredClassifier
from mlpconv.training.metrics import softmax

WeightType = Literal["int8", "float16", "float32"]
WEIGHT_TYPES: tuple[WeightType, ...] = get_args(WeightType)
SCALE = ".scale"
"""In int8, the tensor NAME.scale has the factor of each output channel of the tensor NAME."""
MAX_IMAGES = 16
MAX_MACS = 8_000_000_000
"""Multiply-accumulates of the comparison, about 10 s in NumPy on one core; at least one image is compared."""


class Comparison(NamedTuple):
    """The probabilities of an export next to those of the original."""

    difference: float
    """The largest difference of a probability; infinite if the export's outputs are not finite."""
    images: int
    """The number of images that were compared."""


def rounded(weights: Weights, type_: WeightType) -> dict[str, npt.NDArray[Any]]:
    """The tensors that hold the weights in another type.

    Vectors, such as biases and statistics, stay in float32: they take little space. In int8, each output channel has a
    factor, so that its largest weight is ±127. Values that float16 cannot hold become infinite, which ``compare``
    finds.
    """
    tensors: dict[str, npt.NDArray[Any]] = {}
    with np.errstate(over="ignore", invalid="ignore"):  # the comparison finds weights that are not finite
        for name, value in weights.items():
            if value.ndim < 2 or type_ != "int8":
                tensors[name] = value.astype(type_ if value.ndim > 1 else "float32")
                continue
            largest = np.abs(value).reshape(len(value), -1).max(axis=1)
            scale = np.maximum(largest / 127, np.finfo(np.float32).tiny).astype(np.float32)
            tensors[name] = np.rint(value / _along_first(scale, value)).astype(np.int8)
            tensors[name + SCALE] = scale
    return tensors


def restored(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """The weights that the tensors of ``rounded`` hold."""
    weights = {name: value.astype(np.float32) for name, value in tensors.items() if not name.endswith(SCALE)}
    for name, value in weights.items():
        if (scale := tensors.get(name + SCALE)) is not None:
            value *= _along_first(scale, value)
    return weights


def _along_first(scale: npt.NDArray[Any], value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A vector in the form in which it multiplies along the first axis."""
    return scale.reshape(-1, *[1] * (value.ndim - 1))


def compare(stored: StoredClassifier, weights: Weights, images: Images) -> Comparison:
    """Compare the probabilities of rounded weights with those of the original ones, in NumPy.

    Args:
        stored: The original classifier.
        weights: The rounded weights.
        images: uint8 (N, H, W, C), of which as many are used as ``MAX_IMAGES`` and ``MAX_MACS`` allow.
    """

    def rounded_logits(image: Images) -> Floats:
        return reference.forward(stored.network, weights, reference_images.preprocess(image, stored.preprocess))

    return compare_logits(stored, rounded_logits, images, computed_twice=True)


def compare_logits(
    stored: StoredClassifier, logits: Callable[[Images], Floats], images: Images, *, computed_twice: bool = False
) -> Comparison:
    """Compare the probabilities that a program computes with those of the classifier in NumPy.

    Args:
        stored: The classifier.
        logits: The program: returns the logits of images.
        images: uint8 (N, H, W, C), of which as many are used as ``MAX_IMAGES`` and ``MAX_MACS`` allow.
        computed_twice: Whether the program is as slow as NumPy.
    """
    most = min(MAX_IMAGES, max(1, MAX_MACS // ((1 + computed_twice) * max(count(stored.network).macs, 1))))
    used, difference = images[:most], 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for index in range(len(used)):  # one at a time: a batch would need memory for all of their windows
            image = used[index : index + 1]
            x = reference_images.preprocess(image, stored.preprocess)
            original = softmax(reference.forward(stored.network, stored.weights, x))
            changed = softmax(logits(image))
            difference = max(difference, float(np.nan_to_num(np.abs(original - changed), nan=np.inf).max()))
    return Comparison(difference, len(used))


def synthetic_images(preprocess: Preprocess, count: int = MAX_IMAGES) -> Images:
    """Images of soft blobs and of noise, for classifiers that come without images: uint8 (N, H, W, C)."""
    draw = np.random.default_rng(0)
    height, width = preprocess.image_size
    coarse = draw.uniform(0, 255, (count, preprocess.channels, 4, 4)).astype(np.float32)
    smooth = reference_images.resize(coarse, (height, width), False).transpose(0, 2, 3, 1)
    noise = draw.uniform(-128, 128, smooth.shape) * (np.arange(count) % 2)[:, None, None, None]
    return (smooth + noise).clip(0, 255).astype(np.uint8)
