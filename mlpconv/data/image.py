"""Decode an image file into pixels, by documented rules."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.memory_mapped import MAX_BYTES_BEFORE_RELEASE, release
from mlpconv.errors import DataError
from mlpconv.formatting import printable

if TYPE_CHECKING:
    from PIL import Image

_EXIF_ORIENTATION = 0x0112


def read_image(path: str | Path, preprocess: Preprocess) -> np.ndarray:
    """Decode an image file of any format that Pillow supports.

    - Of an animation, the first frame is used.
    - The image is rotated and mirrored according to its EXIF orientation.
    - Transparent pixels are composited onto white.
    - Values of 16 bits are reduced to their upper 8 bits. Images with 32-bit integers or floating-point values are
      refused, because the value of white is unknown.
    - CMYK is converted to RGB without the color profile.
    - The image is made square according to ``preprocess.fit``, unless ``preprocess.source_size`` is not square.
    - The image is resized to ``preprocess.source_size`` with a bilinear filter that includes a low-pass filter. A JPEG
      of more than four times that size is decoded at a half, quarter or eighth of its size first.

    Args:
        path: The file.
        preprocess: The mode (gray or RGB), fit and source size to use.

    Returns:
        The pixels, uint8 (H, W, C).

    Raises:
        DataError: The file is missing, cannot be read, is not an image, is damaged, or has more pixels than Pillow
            considers safe.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return decode(file, preprocess, printable(path))
    except FileNotFoundError:
        raise DataError(f"{printable(path)}: there is no such file; check the path") from None
    except OSError as error:
        raise DataError(
            f"{printable(path)}: cannot be read: {error.strerror or error}; check the path and its permissions"
        ) from None


class Header(NamedTuple):
    """The header of an image file.

    Attributes:
        width: In pixels, after applying the EXIF orientation.
        height: In pixels, after applying the EXIF orientation.
        mode: Pillow's mode, such as "RGB".
    """

    width: int
    height: int
    mode: str


def read_header(file: BinaryIO, where: str) -> Header:
    """The header of an open image file, read without decoding the pixels.

    Args:
        file: The open file.
        where: The name of the file, for errors.

    Raises:
        DataError: As `read_image`.
    """
    with _opened(file, where) as image:
        width, height = image.size
        transposed = image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        return Header(*((height, width) if transposed else (width, height)), image.mode)


def decode(file: BinaryIO, preprocess: Preprocess, where: str) -> np.ndarray:
    """`read_image` for an open file, which errors call ``where``."""
    from PIL import Image, ImageOps

    with _opened(file, where) as source:
        if preprocess.source_size is not None:
            # At least twice the final size, so that the result differs from decoding all of it by a level or two only.
            side = 2 * max(preprocess.source_size)
            source.draft(None, (side, side))
        image = ImageOps.exif_transpose(source)
        image.load()
        if image.mode == "F" or image.mode.startswith("I"):
            image = Image.fromarray(_upper_half(np.asarray(image), where))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert(preprocess.mode)
        if preprocess.source_size is None:
            image = _square(image, preprocess.fit)
        else:
            height, width = preprocess.source_size
            # Training images that are all of one size and not square are fitted later, together.
            image = _square(image, preprocess.fit) if height == width else image
            image = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels.reshape(*pixels.shape[:2], -1)


@contextmanager
def _opened(file: BinaryIO, where: str) -> "Iterator[Image.Image]":
    """Open an image without decoding its pixels; any exception in the block becomes a DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unusual metadata of an image that is readable
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{where}: refused before decoding: {error}") from None
    except UnidentifiedImageError:
        raise DataError(f"{where}: not an image in a supported format (PNG, JPEG, WebP, GIF, BMP, TIFF …)") from None
    except DataError:
        raise
    except Exception as error:  # for a damaged file, decoders raise TypeError, RuntimeError and many others
        raise DataError(f"{where}: cannot be decoded: {error}") from None


def _upper_half(values: np.ndarray, where: str) -> np.ndarray:
    """16-bit values, in any of the dtypes that Pillow uses for them, reduced to 8 bits."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{where}: expected 8 or 16 bits per value, received {values.dtype} from {values.min():g} to "
            f"{values.max():g}, for which white is undefined; save the image with 8 or 16 bits per value"
        )
    return (values >> 8).astype(np.uint8)


def _square(image: "Image.Image", fit: Literal["squash", "crop", "pad"]) -> "Image.Image":
    from PIL import ImageOps

    if fit == "squash" or image.width == image.height:
        return image
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))
    side = max(image.size)
    return ImageOps.pad(image, (side, side), color=0)


def background(images: np.ndarray) -> float:
    """The mean of the outermost pixels of images, uint8 (N, H, W, C), from 0 (black) to 1 (white)."""
    total = count = 0
    step = max(1, MAX_BYTES_BEFORE_RELEASE // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        part = images[start : start + step]
        for edge in (part[:, 0], part[:, -1], part[:, 1:-1, 0], part[:, 1:-1, -1]):
            total, count = total + int(edge.sum(dtype=np.int64)), count + edge.size
        release(images)
    return total / (255 * count)


def looks_inverted(pixels: np.ndarray, dataset_background: float) -> bool:
    """Whether an image is dark on light although the model was trained on light on dark, or the reverse.

    Args:
        pixels: uint8 (H, W, C).
        dataset_background: The `background` of the training images.
    """
    return abs(background(pixels[None]) - dataset_background) > 0.5


def fitting_preprocess(dataset: ImageDataset, size: int, **options) -> Preprocess:
    """The preprocess of a model to train on a data set.

    Args:
        dataset: The training images.
        size: Height and width in pixels of the network's input.
        **options: Other fields of `Preprocess`; mean 0 and std 1 by default.

    Raises:
        DataError: The images have neither 1 nor 3 channels.
    """
    height, width, channels = dataset.image_shape
    if channels not in (1, 3):
        raise DataError(f"{dataset.name}: expected images of 1 (gray) or 3 (RGB) channels, received {channels}")
    return Preprocess.of_channels(size, channels, source_size=(height, width), **options)
