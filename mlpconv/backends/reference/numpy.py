"""The reference in NumPy: forward pass, preprocessing, step plan, loss, optimisers. Other back ends are tested on it.

It says what is meant, as plainly as it can, and is fast enough for tests; training in it is not foreseen.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.layers import (
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    Pool2d,
    ReLU,
    Shape,
    Sigmoid,
    Size,
    pair,
)
from mlpconv.arch.network import Network, Preprocess
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Floats, Images, Labels, Optimizer, StepPlan
from mlpconv.backends.weights import decays
from mlpconv.errors import DataError

Array = npt.NDArray[Any]


def forward(network: Network, weights: Mapping[str, Array], x: Array) -> Array:
    """The network's output, (B, classes) for a classifier, in evaluation mode.

    weights: canonical. x: float32 or float64 (B, C, H, W); everything is computed in its type. Raises NetworkError
    where the network does not fit the images.
    """
    return list(activations(network, weights, x).values())[-1]


def class_maps(network: Network, weights: Mapping[str, Array], x: Array) -> Array:
    """(B, classes, h, w): see ``until_class_maps``, whose errors these are, and ``forward``."""
    return forward(until_class_maps(network)[0], weights, x)


def activations(network: Network, weights: Mapping[str, Array], x: Array) -> dict[str, Array]:
    """The output of every layer by its full name, (B, C, H, W) or (B, features), in evaluation mode."""
    found: dict[str, Array] = {}
    for name, layer, _, after in layer_shapes(network, x.shape[1:]):
        own = {key.rpartition(".")[2]: weights[key] for key in weights if key.rpartition(".")[0] == name}
        x = _apply(layer, {part: value.astype(x.dtype) for part, value in own.items()}, x, after)
        assert x.shape[1:] == after, f"{name}: {x.shape[1:]} is not the inferred {after}"
        found[name] = x
    return found


def _apply(layer: AnyLayer, own: dict[str, Array], x: Array, after: Shape) -> Array:
    match layer:
        case Conv2d():
            windows = _windows(layer, x, after, 0)
            y = np.tensordot(windows, own["weight"], axes=((1, 4, 5), (1, 2, 3)))  # (B, H', W', out)
            return np.moveaxis(y + own.get("bias", 0), -1, 1)
        case BatchNorm2d():
            scale = own["weight"] / np.sqrt(own["running_var"] + layer.eps)
            return _channels(scale) * (x - _channels(own["running_mean"])) + _channels(own["bias"])
        case ReLU():
            return np.maximum(x, 0)
        case Sigmoid():
            return np.exp(-np.logaddexp(0, -x))
        case MaxPool2d():
            return _windows(layer, x, after, -np.inf).max(axis=(4, 5))
        case AvgPool2d():
            return _windows(layer, x, after, 0).sum(axis=(4, 5)) / pool_counts(layer, x.shape[1:], after).astype(
                x.dtype
            )
        case Dropout():
            return x
        case GlobalAvgPool2d():
            return x.mean(axis=(2, 3), keepdims=True)
        case Flatten():
            return x.reshape(len(x), -1)
        case Linear():
            return x @ own["weight"].T + own.get("bias", 0)


def _channels(values: Array) -> Array:
    return values[:, None, None]


def margins(layer: Conv2d | Pool2d, side: int, count: int, axis: int) -> tuple[int, int]:
    """How many values to add before and after an axis of ``side`` values so that ``count`` windows fit.

    The last window of a ``ceil_mode`` pooling may need more than ``padding`` after the axis.
    """
    kernel, stride, padding = (pair(size)[axis] for size in (layer.kernel_size, layer.stride, layer.padding))
    return padding, max(0, (count - 1) * stride + kernel - side - padding)


def _windows(layer: Conv2d | Pool2d, x: Array, after: Shape, fill: float) -> Array:
    """(B, C, H', W', kh, kw): a view of every window of x, padded with ``fill``."""
    around = [margins(layer, x.shape[2 + axis], after[1 + axis], axis) for axis in (0, 1)]
    x = np.pad(x, [(0, 0), (0, 0), *around], constant_values=fill)
    rows, columns = pair(layer.stride)
    views = np.lib.stride_tricks.sliding_window_view(x, pair(layer.kernel_size), axis=(2, 3))
    return views[:, :, ::rows, ::columns][:, :, : after[1], : after[2]]


def pool_counts(layer: AvgPool2d, before: Shape, after: Shape) -> npt.NDArray[np.int64]:
    """What an average pooling from (C, H, W) to (C, H', W') divides by at every position, (H', W').

    A window counts what it holds of the map, and of the map's padding if ``count_include_pad``; what hangs over the
    padded map in ``ceil_mode`` never counts. So do PyTorch and Caffe.
    """
    counts = []
    for axis in (0, 1):
        kernel, stride, padding = (pair(size)[axis] for size in (layer.kernel_size, layer.stride, layer.padding))
        first = stride * np.arange(after[1 + axis]) - padding
        margin = padding if layer.count_include_pad else 0
        counts.append(np.minimum(first + kernel, before[1 + axis] + margin) - np.maximum(first, -margin))
    return np.outer(*counts)


def resize_matrix(n_in: int, n_out: int, antialias: bool) -> npt.NDArray[np.float64]:
    """The bilinear resize of one axis as a matrix (n_out, n_in) whose rows sum to 1.

    Pixel centres are at half integers; beyond the edge lies the edge's own value. With ``antialias``, making smaller
    widens the triangle by the scale, as Pillow and ``torch.nn.functional.interpolate(antialias=True)`` do.
    """
    scale = n_in / n_out
    centres = (np.arange(n_out) + 0.5) * scale
    distance = np.abs(np.arange(n_in) + 0.5 - centres[:, None])
    # Dividing each row by its sum gives the weight of pixels beyond the edge to the edge.
    triangle = np.maximum(0, 1 - distance / (max(scale, 1) if antialias else 1))
    return triangle / triangle.sum(axis=1, keepdims=True)


def resize(images: Array, size: Size, antialias: bool) -> Array:
    """(B, C, H, W) floats → (B, C, *size) of the same type, bilinear; see ``resize_matrix``."""
    height, width = images.shape[2:]
    if (height, width) == pair(size):
        return images
    rows = resize_matrix(height, pair(size)[0], antialias).astype(images.dtype)
    columns = resize_matrix(width, pair(size)[1], antialias).astype(images.dtype)
    return rows @ images @ columns.T


def preprocess(images: Images, preprocess: Preprocess, size: Size | None = None) -> Floats:
    """uint8 (N, H, W, C) → float32 (N, C, size, size): fit, then (x/255 − mean)/std, then the bilinear resize.

    size: other than the preprocess's own; (height, width) leaves fit out. Raises DataError where the images have
    another number of channels.
    """
    if images.shape[3] != preprocess.channels:
        raise DataError(
            f"the images have {images.shape[3]} channel(s), the model's preprocess (mode {preprocess.mode}) takes "
            f"{preprocess.channels}; convert the images to {preprocess.mode}"
        )
    if not isinstance(size, tuple):
        images = squared(images, preprocess)
    mean, std = (np.array(values, np.float32) for values in (preprocess.mean, preprocess.std))
    x = (images.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(resize(x.transpose(0, 3, 1, 2), size or preprocess.size, preprocess.antialias))


# Other functions have an argument of this name.
_preprocess = preprocess


def squared(images: Images, preprocess: Preprocess) -> Images:
    """The centred square of (N, H, W, C): cut out ("crop") or bordered with zeros ("pad"); whole for "squash"."""
    height, width = images.shape[1:3]
    if preprocess.fit == "squash" or height == width:
        return images
    side = min(height, width) if preprocess.fit == "crop" else max(height, width)
    top, left = abs(height - side) // 2, abs(width - side) // 2
    if preprocess.fit == "crop":
        return images[:, top : top + side, left : left + side]
    return np.pad(images, [(0, 0), (top, side - height - top), (left, side - width - left), (0, 0)])


def carry_out(
    plan: StepPlan, images: Images, labels: Labels, preprocess: Preprocess, num_classes: int
) -> tuple[Floats, Floats]:
    """The batch that a step plan describes: x float32 (B, C, S, S) and targets float32 (B, num_classes).

    images: all training images, uint8 (N, H, W, C); labels: int64 (N,). The order is StepPlan's.
    """
    x = _preprocess(augment(plan, images[plan.indices], preprocess), preprocess, plan.image_size)
    if plan.partner is not None:
        x = plan.mix * x + (1 - plan.mix) * x[plan.partner]
    return x.astype(np.float32), targets(plan, labels[plan.indices], num_classes)


def targets(plan: StepPlan, labels: Labels, num_classes: int) -> Floats:
    """The targets, float32 (B, num_classes), of the batch's labels (B,)."""
    rows = np.eye(num_classes, dtype=np.float32)[labels]
    rows = (1 - plan.label_smoothing) * rows + plan.label_smoothing / num_classes
    if plan.partner is not None:
        rows = plan.mix * rows + (1 - plan.mix) * rows[plan.partner]
    return rows.astype(np.float32)


def augment(plan: StepPlan, batch: Images, preprocess: Preprocess) -> Images:
    """The plan's batch, uint8 (B, H, W, C), flipped, then shifted, then erased."""
    count, height, width = batch.shape[:3]
    rows, columns = np.arange(height), np.arange(width)
    if plan.flip is not None:
        batch = np.where(plan.flip[:, None, None, None], batch[:, :, ::-1], batch)
    if plan.shift is not None:
        from_rows, from_columns = rows - plan.shift[:, :1], columns - plan.shift[:, 1:]
        inside = _both((from_rows >= 0) & (from_rows < height), (from_columns >= 0) & (from_columns < width))
        moved = batch[
            np.arange(count)[:, None, None],
            from_rows.clip(0, height - 1)[:, :, None],
            from_columns.clip(0, width - 1)[:, None, :],
        ]
        batch = np.where(inside, moved, np.uint8(0))
    if plan.erase is not None:
        top, left, tall, wide = (plan.erase[:, index, None] for index in range(4))
        boxes = _both((rows >= top) & (rows < top + tall), (columns >= left) & (columns < left + wide))
        batch = np.where(boxes, np.rint(255 * np.array(preprocess.mean)).clip(0, 255).astype(np.uint8), batch)
    return batch


def _both(rows: Array, columns: Array) -> Array:
    """Masks (B, H) and (B, W) → (B, H, W, 1)."""
    return (rows[:, :, None] & columns[:, None, :])[..., None]


def loss(logits: Array, targets: Array) -> float:
    """The mean cross entropy, in nats, of logits (B, K) against targets (B, K) whose rows sum to 1."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return float(-(targets * log_probabilities).sum(axis=1).mean())


def update(
    optimizer: Optimizer, name: str, p: Array, g: Array, state: Mapping[str, Array], lr: float
) -> tuple[Array, dict[str, Array]]:
    """A parameter after one step down its gradient, and what the optimiser remembers for it: Optimizer's formulas.

    name: the parameter's canonical name. state: empty before the first step; then "velocity" (SGD with momentum), or
    "mean", "square" and "step" (Adam, AdamW).
    """
    decay = optimizer.weight_decay if decays(name, p.shape) else 0.0
    if optimizer.name == "sgd":
        g = g + decay * p
        if not optimizer.momentum:
            return p - lr * g, {}
        velocity = optimizer.momentum * state.get("velocity", np.zeros_like(p)) + g
        direction = g + optimizer.momentum * velocity if optimizer.nesterov else velocity
        return p - lr * direction, {"velocity": velocity}
    p = p - lr * decay * p
    step = int(state.get("step", 0)) + 1
    mean = optimizer.beta1 * state.get("mean", np.zeros_like(p)) + (1 - optimizer.beta1) * g
    square = optimizer.beta2 * state.get("square", np.zeros_like(p)) + (1 - optimizer.beta2) * g * g
    unbiased_mean = mean / (1 - optimizer.beta1**step)
    unbiased_square = square / (1 - optimizer.beta2**step)
    p = p - lr * unbiased_mean / (np.sqrt(unbiased_square) + optimizer.eps)
    return p, {"mean": mean, "square": square, "step": np.array(step)}
