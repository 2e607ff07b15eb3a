"""Images in NumPy: preprocessing, resizing and augmentation as every back end must compute them."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import Size, pair
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Images, StepPlan
from mlpconv.data.image import border_color
from mlpconv.errors import DataError

Array = npt.NDArray[Any]


def resize_matrix(n_in: int, n_out: int, antialias: bool) -> npt.NDArray[np.float64]:
    """The bilinear resize of one axis as a matrix, float64 (n_out, n_in), whose rows sum to 1.

    Pixel centers are at half integers; beyond the edge the value of the edge is repeated.

    Args:
        n_in: Number of pixels before.
        n_out: Number of pixels after.
        antialias: Whether making smaller widens the triangle by the scale, as Pillow and
            ``torch.nn.functional.interpolate(antialias=True)`` do.
    """
    scale = n_in / n_out
    centers = (np.arange(n_out) + 0.5) * scale
    distance = np.abs(np.arange(n_in) + 0.5 - centers[:, None])
    # Dividing each row by its sum gives the edge the weight of the pixels beyond it.
    triangle = np.maximum(0, 1 - distance / (max(scale, 1) if antialias else 1))
    return triangle / triangle.sum(axis=1, keepdims=True)


def resize(images: Array, size: Size, antialias: bool) -> Array:
    """Resize float images (B, C, H, W) bilinearly to (B, C, *size), in their type.

    Args:
        images: float (B, C, H, W).
        size: One integer for squares, or (height, width).
        antialias: As for ``resize_matrix``.
    """
    height, width = images.shape[2:]
    if (height, width) == pair(size):
        return images
    rows = resize_matrix(height, pair(size)[0], antialias).astype(images.dtype)
    columns = resize_matrix(width, pair(size)[1], antialias).astype(images.dtype)
    return rows @ images @ columns.T


def preprocess(images: Images, preprocess: Preprocess, size: Size | None = None) -> Floats:
    """Preprocess images: fit, then (x/255 − mean)/std, then the bilinear resize.

    Args:
        images: uint8 (N, H, W, C).
        preprocess: How.
        size: The side to resize to instead of the one in ``preprocess``; (height, width) skips fit.

    Returns:
        float32 (N, C, size, size).

    Raises:
        DataError: The images have another number of channels.
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


def squared(images: Images, preprocess: Preprocess) -> Images:
    """The centered squares of images, uint8 (N, H, W, C): cut out ("crop"), or with a border of zeros ("pad") or of the
    color of each image's own border ("pad-border"). With "squash" the images are returned as they are."""
    height, width = images.shape[1:3]
    if preprocess.fit == "squash" or height == width:
        return images
    side = min(height, width) if preprocess.fit == "crop" else max(height, width)
    top, left = abs(height - side) // 2, abs(width - side) // 2
    if preprocess.fit == "crop":
        return images[:, top : top + side, left : left + side]
    count, channels = len(images), images.shape[3]
    color = border_color(images) if preprocess.fit == "pad-border" else np.zeros((count, channels), np.uint8)
    square = np.broadcast_to(color[:, None, None], (count, side, side, channels)).copy()
    square[:, top : top + height, left : left + width] = images
    return square


def augment(plan: StepPlan, batch: Images, preprocess: Preprocess) -> Images:
    """Flip, crop, shift, color, erase and cut the images of a batch, as a step plan describes.

    Args:
        plan: The step plan.
        batch: The images of the plan, uint8 (B, H, W, C).
        preprocess: Its mean fills erased boxes.
    """
    count, height, width = batch.shape[:3]
    rows, columns = np.arange(height), np.arange(width)
    if plan.flip is not None:
        batch = np.where(plan.flip[:, None, None, None], batch[:, :, ::-1], batch)
    if plan.crop is not None:
        batch = _cropped(batch, plan.crop)
    if plan.shift is not None:
        from_rows, from_columns = rows - plan.shift[:, :1], columns - plan.shift[:, 1:]
        inside = _both((from_rows >= 0) & (from_rows < height), (from_columns >= 0) & (from_columns < width))
        moved = batch[
            np.arange(count)[:, None, None],
            from_rows.clip(0, height - 1)[:, :, None],
            from_columns.clip(0, width - 1)[:, None, :],
        ]
        batch = np.where(inside, moved, np.uint8(0))
    if plan.color is not None:
        batch = _colored(batch, plan.color)
    if plan.erase is not None:
        top, left, tall, wide = (plan.erase[:, index, None] for index in range(4))
        boxes = _both((rows >= top) & (rows < top + tall), (columns >= left) & (columns < left + wide))
        batch = np.where(boxes, np.rint(255 * np.array(preprocess.mean)).clip(0, 255).astype(np.uint8), batch)
    if plan.cut is not None:
        assert plan.partner is not None
        top, left, tall, wide = plan.cut
        batch = batch.copy()
        batch[:, top : top + tall, left : left + wide] = batch[plan.partner][:, top : top + tall, left : left + wide]
    return batch


def _cropped(batch: Images, crop: Array) -> Images:
    """The boxes of the images, uint8 (B, H, W, C), enlarged to the size of the images.

    Bilinear between pixel centers, in integers: positions and weights are 256ths of a pixel.
    """
    count, height, width = batch.shape[:3]
    numbers = np.arange(count)[:, None, None]
    (top, bottom, down), (left, right, over) = (
        _between(crop[:, axis], crop[:, 2 + axis], side) for axis, side in ((0, height), (1, width))
    )
    down, over = down[:, :, None, None], over[:, None, :, None]

    def row(rows: Array) -> Array:
        one, other = (
            batch[numbers, rows[:, :, None], columns[:, None, :]].astype(np.int32) for columns in (left, right)
        )
        return one * (256 - over) + other * over

    return ((row(top) * (256 - down) + row(bottom) * down + (1 << 15)) >> 16).astype(np.uint8)


def _between(start: Array, length: Array, side: int) -> tuple[Array, Array, Array]:
    """For each of ``side`` pixels: the two pixels of the box between which it lies, and the weight of the second, (B,
    side)."""
    start, length = start[:, None], length[:, None]
    position = 256 * start + (2 * np.arange(side) + 1) * length * 128 // side - 128
    position = np.clip(position, 256 * start, 256 * (start + length - 1))
    first = position >> 8
    return first, np.minimum(first + 1, start + length - 1), (position & 255).astype(np.int32)


def _colored(batch: Images, color: Array) -> Images:
    """Images, uint8 (B, H, W, C), with brightness, contrast and saturation multiplied by 256ths, (B, 3)."""
    brightness, contrast, saturation = (color[:, index, None, None, None].astype(np.int32) for index in range(3))
    values = _scaled(batch.astype(np.int32), 0, brightness)
    gray = values if batch.shape[3] != 3 else _gray(values)
    pixels = gray.shape[1] * gray.shape[2] * gray.shape[3]
    mean = (gray.sum((1, 2, 3), dtype=np.int64) // pixels).astype(np.int32)[:, None, None, None]
    values = _scaled(values, mean, contrast)
    if batch.shape[3] == 3:
        values = _scaled(values, _gray(values), saturation)
    return values.astype(np.uint8)


def _gray(values: Array) -> Array:
    """The gray of colors, int32 (B, H, W, 1)."""
    return ((values * np.array([77, 150, 29], np.int32)).sum(3, keepdims=True, dtype=np.int32)) >> 8


def _scaled(values: Array, center: Array | int, factor: Array) -> Array:
    """Distances from a center multiplied by 256ths, within 0..255."""
    return np.clip(center + (((values - center) * factor + 128) >> 8), 0, 255)


def _both(rows: Array, columns: Array) -> Array:
    """Masks (B, H) and (B, W) → (B, H, W, 1)."""
    return (rows[:, :, None] & columns[:, None, :])[..., None]
