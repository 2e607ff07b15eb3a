"""Decode an image file into pixels, by documented rules."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from mlpconv.arch.preprocess import MAX_PIXELS, Fit, Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.memory_mapped import MAX_BYTES_BEFORE_RELEASE, release
from mlpconv.data.picture_files import open_picture
from mlpconv.errors import DataError
from mlpconv.formatting import printable

if TYPE_CHECKING:
    from PIL import Image

DEPTHS = (8, 10, 12, 14, 16)
"""The possible numbers of bits of gray values that are stored in more than 8."""
_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_PIXELS_OF_A_PART = 1 << 22


def read_image(path: str | Path, preprocess: Preprocess) -> np.ndarray:
    """Decode an image file in one of the formats of `FORMATS` (mlpconv/data/picture_files.py).

    - Of an animation, the first frame is used.
    - The image is rotated and mirrored according to its EXIF orientation.
    - Transparent pixels are composited onto white.
    - Gray values of more than 8 bits are reduced to the upper 8 of ``preprocess.bits`` bits. An image with larger
      values is refused, and so are negative and floating-point values, for which white is unknown.
    - CMYK is converted to RGB without the color profile.
    - The image is made square according to ``preprocess.fit``, unless ``preprocess.source_size`` is not square.
    - The image is resized to ``preprocess.source_size`` with a bilinear filter that includes a low-pass filter. A JPEG
      of more than four times that size is decoded at a half, quarter or eighth of its size first.

    This decodes in the current process; `mlpconv.data.folders.workers.read_images` also limits time and memory.

    Args:
        path: The file.
        preprocess: The mode (gray or RGB), bits, fit and source size to use, and the most pixels to accept.

    Returns:
        The pixels, uint8 (H, W, C).

    Raises:
        DataError: The file is missing, cannot be read, is not an image, is damaged, or has more pixels than
            ``preprocess.max_pixels``.
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
        deep: Whether the values have more than 8 bits.
    """

    width: int
    height: int
    mode: str
    deep: bool


def read_header(file: BinaryIO, where: str, max_pixels: int = MAX_PIXELS) -> Header:
    """The header of an open image file, read without decoding the pixels.

    Args:
        file: The open file.
        where: The name of the file, for errors.
        max_pixels: The most pixels that an image may have.

    Raises:
        DataError: As `read_image`.
    """
    with open_picture(file, where, max_pixels) as image:
        return _header(image)


def read_header_and_pixels(file: BinaryIO, preprocess: Preprocess, where: str) -> tuple[Header, np.ndarray | None]:
    """The header and the pixels of an open image file, which is opened once.

    Args:
        file: The open file.
        preprocess: How to convert it: see `read_image`.
        where: The name of the file, for errors.

    Returns:
        The header, and the pixels, uint8 (H, W, C); None if they cannot be decoded, or if values of more than 8 bits
        have to be known before.

    Raises:
        DataError: As `read_image`, if there is no header.
    """
    header = None
    try:
        with open_picture(file, where, preprocess.max_pixels) as image:
            header = _header(image)
            return header, None if header.deep else _pixels(image, preprocess, where)
    except DataError:
        if header is None:
            raise
        return header, None


def _header(image: "Image.Image") -> Header:
    width, height = image.size
    deep = _is_deep(image)  # first: a PNG is decoded to find its orientation, and then no longer says
    if image.format == "TIFF":  # newer versions of Pillow give the size after rotation
        width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]  # pyright: ignore[reportAttributeAccessIssue]
    if image.getexif().get(_EXIF_ORIENTATION, 1) in (5, 6, 7, 8):
        width, height = height, width
    return Header(width, height, image.mode, deep)


def largest_value(file: BinaryIO, where: str, max_pixels: int = MAX_PIXELS) -> int:
    """The largest value of an image with more than 8 bits per value, from 0 to 65535.

    Of 16 bits per color, Pillow decodes the upper 8, so the largest value with these upper bits is returned.

    Raises:
        DataError: As `read_image`; or the values are negative, larger or of floating point.
    """
    with open_picture(file, where, max_pixels) as image:
        if not _is_integer(image):
            return int(np.max(image.getextrema())) << 8 | 0xFF
        largest = 0
        for _, part in _parts(image):
            values = np.asarray(part)
            _check_range(values, where)
            largest = max(largest, int(values.max()))
        return largest


def depth(largest: int) -> int:
    """The bits per value of images whose values of more than 8 bits reach ``largest``: 8, 10, 12, 14 or 16."""
    return next(bits for bits in DEPTHS if largest < 1 << bits)


def decode(file: BinaryIO, preprocess: Preprocess, where: str) -> np.ndarray:
    """`read_image` for an open file, which errors call ``where``."""
    with open_picture(file, where, preprocess.max_pixels) as image:
        return _pixels(image, preprocess, where)


def _pixels(image: "Image.Image", preprocess: Preprocess, where: str) -> np.ndarray:
    from PIL import Image, ImageOps

    if preprocess.source_size is not None:
        # A JPEG picture is decoded at a part of its size if that is at least eight times the final one. Then nearly all
        # values are within a level of those of the whole picture, which the exported page and other programs decode.
        side = 8 * max(preprocess.source_size)
        image.draft(None, (side, side))
    ImageOps.exif_transpose(image, in_place=True)
    image = _converted(image, preprocess, where)
    if preprocess.source_size is None:
        image = _square(image, preprocess.fit)
    else:
        height, width = preprocess.source_size
        # Training images that are all of one size and not square are fitted later, together.
        image = _square(image, preprocess.fit) if height == width else image
        image = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], -1)


def _converted(image: "Image.Image", preprocess: Preprocess, where: str) -> "Image.Image":
    """An image in the mode of ``preprocess``. A large one is converted in parts, so that it is in memory only twice."""
    from PIL import Image

    if image.mode == "LAB":
        raise DataError(f"{where}: its colors are in L*a*b*, which is not supported; save the image in RGB")
    if not _is_integer(image) and not image.has_transparency_data:
        return image.convert(preprocess.mode)
    result = Image.new(preprocess.mode, image.size)
    for top, part in _parts(image):
        if _is_integer(part):
            part = Image.fromarray(_to_8_bits(np.asarray(part), preprocess.bits, where))
        elif part.has_transparency_data:
            part = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part.convert("RGBA"))
        result.paste(part.convert(preprocess.mode), (0, top))
    return result


def _is_integer(image: "Image.Image") -> bool:
    """Whether an image has one value of more than 8 bits per pixel: integers, or floating-point numbers."""
    return image.mode == "F" or image.mode.startswith("I")


def _is_deep(image: "Image.Image") -> bool:
    return _is_integer(image) or any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))


def _parts(image: "Image.Image") -> "Iterator[tuple[int, Image.Image]]":
    """The rows of an image in parts that need little memory, each with the number of its first row."""
    rows = max(1, _PIXELS_OF_A_PART // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _check_range(values: np.ndarray, where: str, bits: int = 16) -> None:
    """Raise DataError for values that do not define which value is white, or are above it."""
    lowest, highest = values.min(), values.max()
    if values.dtype.kind == "f" or lowest < 0 or highest > 65535:
        raise DataError(
            f"{where}: expected 8 or 16 bits per value, received {values.dtype} from {lowest:g} to {highest:g}, for "
            "which white is undefined; save the image with 8 or 16 bits per value"
        )
    if highest >= 1 << bits:
        raise DataError(
            f"{where}: has values up to {highest}, but the training images had {bits} bits per value, so "
            f"{(1 << bits) - 1} is white; save the image on the scale of the training images"
        )


def _to_8_bits(values: np.ndarray, bits: int, where: str) -> np.ndarray:
    """Values of ``bits`` bits, in any of the dtypes that Pillow uses for them, reduced to 8 bits."""
    _check_range(values, where, bits)
    return (values >> (bits - 8)).astype(np.uint8)


def _square(image: "Image.Image", fit: Fit) -> "Image.Image":
    from PIL import Image, ImageOps

    if fit == "squash" or image.width == image.height:
        return image
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))
    side = max(image.size)
    if fit == "pad":
        return ImageOps.pad(image, (side, side), color=0)
    # Only the outermost pixels become an array, because images may be large.
    width, height = image.size
    boxes = border_boxes(height, width)
    parts = [np.asarray(image.crop((left, top, right, bottom))) for top, left, bottom, right in boxes]
    pixels = [part.reshape(-1, len(image.getbands())) for part in parts]
    color = _lower_median(np.concatenate(pixels)).tolist()
    square = Image.new(image.mode, (side, side), color[0] if len(color) == 1 else tuple(color))
    square.paste(image, ((side - width) // 2, (side - height) // 2))
    return square


def border_boxes(height: int, width: int) -> list[tuple[int, int, int, int]]:
    """The outermost pixels of an image as boxes (top, left, bottom, right) that do not overlap."""
    boxes = [(0, 0, 1, width), (height - 1, 0, height, width)] if height > 1 else [(0, 0, 1, width)]
    if height > 2:
        boxes += [(1, 0, height - 1, 1), (1, width - 1, height - 1, width)] if width > 1 else [(1, 0, height - 1, 1)]
    return boxes


def border_color(images: np.ndarray) -> np.ndarray:
    """The color of the border of each image, uint8 (N, C), of images, uint8 (N, H, W, C): see ``Preprocess.fit``."""
    count, height, width, channels = images.shape
    boxes = border_boxes(height, width)
    parts = [images[:, top:bottom, left:right].reshape(count, -1, channels) for top, left, bottom, right in boxes]
    return _lower_median(np.concatenate(parts, 1))


def _lower_median(pixels: np.ndarray) -> np.ndarray:
    """The median of pixels (…, P, C) in each channel, (…, C); of an even number of them the lower of the two in the
    middle, so that it is exact."""
    middle = (pixels.shape[-2] - 1) // 2
    return np.partition(pixels, middle, axis=-2)[..., middle, :]


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
