"""Batches of a data set for a training loop of your own, as the chapter's data loaders give them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mlpconv.errors import DataError

if TYPE_CHECKING:
    from mlpconv.data.dataset import ImageDataset


class Batches:
    """An iterable of (X, y), once through the images at each iteration; the last batch may be smaller.

    X is float32 with values from 0 to 1, (B, C, H, W) or (B, H, W, C); y is int64 (B,). Images are resized by Pillow,
    bilinearly and to whole gray levels, which is what ``torchvision.transforms.Resize`` does with a picture.

    Args:
        dataset: The images.
        batch_size: The images of a batch.
        resize: The side in pixels to resize to, or (height, width); None leaves the images as they are.
        shuffle: Whether each iteration has another order.
        seed: Determines the orders.
        layout: "NCHW" for PyTorch and MXNet, "NHWC" for TensorFlow and JAX.
        convert: Applied to X and to y, such as ``torch.from_numpy``, ``tf.convert_to_tensor`` or ``mx.nd.array``; by
            default both are NumPy arrays.

    Raises:
        DataError: A size is below 1, or there is no such layout.
    """

    def __init__(
        self,
        dataset: "ImageDataset",
        batch_size: int,
        *,
        resize: int | tuple[int, int] | None = None,
        shuffle: bool = False,
        seed: int = 0,
        layout: Literal["NCHW", "NHWC"] = "NCHW",
        convert: Callable[[np.ndarray], Any] | None = None,
    ) -> None:
        sides = resize if isinstance(resize, tuple) else (resize, resize) if resize is not None else None
        if batch_size < 1 or (sides is not None and min(sides) < 1):
            raise DataError(f"batches: batch_size and resize must be at least 1, not {batch_size} and {resize}")
        if layout not in ("NCHW", "NHWC"):
            raise DataError(f"batches: layout must be NCHW or NHWC, not {layout!r}")
        self.dataset, self.batch_size, self.sides = dataset, batch_size, sides
        self.shuffle, self.seed, self.layout, self.convert = shuffle, seed, layout, convert
        self._iterations = 0

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng([self.seed, self._iterations]).permutation(order)
        self._iterations += 1
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            x, y = self._pixels(chosen), self.dataset.labels[chosen]
            yield (x, y) if self.convert is None else (self.convert(x), self.convert(y))

    def _pixels(self, chosen: np.ndarray) -> np.ndarray:
        images = self.dataset.images[chosen]
        if self.sides is not None and self.sides != images.shape[1:3]:
            images = np.stack([_resize(image, self.sides) for image in images])
        pixels = images.astype(np.float32) / 255
        return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)) if self.layout == "NCHW" else pixels


def _resize(image: np.ndarray, sides: tuple[int, int]) -> np.ndarray:
    """uint8 (H, W, C), resized by Pillow to (height, width)."""
    from PIL import Image

    height, width = sides
    channels = [
        Image.fromarray(channel).resize((width, height), Image.Resampling.BILINEAR)
        for channel in np.moveaxis(image, 2, 0)
    ]
    return np.stack([np.asarray(channel) for channel in channels], axis=2)
