"""One image file → pixels, by documented rules."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple

import numpy as np

from mlpconv.arch.network import Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.data.memory_mapped import RELEASE_BYTES, release
from mlpconv.errors import DataError
from mlpconv.formatting import printable

if TYPE_CHECKING:
    from PIL import Image

_ORIENTATION = 0x0112


def read_image(path: str | Path, preprocess: Preprocess) -> np.ndarray:
    """The pixels of any image file, uint8 (H, W, C), in the mode and source size that ``preprocess`` says.

    The first frame of an animation, turned as its EXIF data says; what is transparent stands on white; 16 bits become 8
    by their upper half, and what has more, or fractions, is refused: its white is unknown; CMYK becomes RGB without its
    colour profile. Then it is made square as ``fit`` says, where the source size is, and brought to ``source_size``,
    low-passed where that is smaller; a JPEG of more than four times that is decoded at a half, quarter or eighth.
    Raises DataError for what is no image, cannot be read, or is larger than Pillow deems safe.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return decode(file, preprocess, printable(path))
    except FileNotFoundError:
        raise DataError(f"{printable(path)}: there is no such file") from None
    except OSError as error:
        raise DataError(f"{printable(path)}: cannot be read: {error.strerror or error}") from None


class Header(NamedTuple):
    """What an image file says of itself: pixels as one sees them (turned), and Pillow's mode."""

    width: int
    height: int
    mode: str


def read_header(file: BinaryIO, place: str) -> Header:
    """What a file says of itself, with nothing decoded. Errors are those of ``read_image``."""
    with _opened(file, place) as image:
        width, height = image.size
        turned = image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
        return Header(*((height, width) if turned else (width, height)), image.mode)


def decode(file: BinaryIO, preprocess: Preprocess, place: str) -> np.ndarray:
    """``read_image`` for an open file; place: what errors call it."""
    from PIL import Image, ImageOps

    with _opened(file, place) as source:
        if preprocess.source_size is not None:
            # Twice the size is left for the low-pass: that differs from decoding all of it by a level or two.
            side = 2 * max(preprocess.source_size)
            source.draft(None, (side, side))
        image = ImageOps.exif_transpose(source)
        image.load()
        if image.mode == "F" or image.mode.startswith("I"):
            image = Image.fromarray(_upper_half(np.asarray(image), place))
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert(preprocess.mode)
        if preprocess.source_size is None:
            image = _square(image, preprocess.fit)
        else:
            height, width = preprocess.source_size
            # Training images that are no squares are fitted behind this, as all of one size.
            image = _square(image, preprocess.fit) if height == width else image
            image = image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.uint8)
        return pixels.reshape(*pixels.shape[:2], -1)


@contextmanager
def _opened(file: BinaryIO, place: str) -> "Iterator[Image.Image]":
    """An image whose pixels are not decoded yet; whatever goes wrong with it is a DataError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata of an image that can be read all the same
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{place}: refused before decoding: {error}") from None
    except UnidentifiedImageError:
        raise DataError(f"{place}: not an image that can be read (PNG, JPEG, WebP, GIF, BMP, TIFF …)") from None
    except DataError:
        raise
    except Exception as error:  # a decoder raises almost anything for a damaged file: TypeError, RuntimeError …
        raise DataError(f"{place}: cannot be decoded: {error}") from None


def _upper_half(values: np.ndarray, place: str) -> np.ndarray:
    """16-bit values, however Pillow holds them, as 8-bit ones."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{place}: its values are {values.dtype} from {values.min():g} to {values.max():g}, and nothing says which "
            "of them is white; save it with 8 or 16 bits a value"
        )
    return (values >> 8).astype(np.uint8)


def _square(image, fit: Literal["squash", "crop", "pad"]):
    from PIL import ImageOps

    if fit == "squash" or image.width == image.height:
        return image
    if fit == "crop":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        return image.crop((left, top, left + side, top + side))
    return ImageOps.pad(image, (max(image.size),) * 2, color=0)


def background(images: np.ndarray) -> float:
    """The mean of the outermost pixels of uint8 images (N, H, W, C), 0 (black) to 1 (white)."""
    total = count = 0
    step = max(1, RELEASE_BYTES // int(np.prod(images.shape[1:])))
    for start in range(0, len(images), step):
        part = images[start : start + step]
        for edge in (part[:, 0], part[:, -1], part[:, 1:-1, 0], part[:, 1:-1, -1]):
            total, count = total + int(edge.sum(dtype=np.int64)), count + edge.size
        release(images)
    return total / (255 * count)


def looks_inverted(pixels: np.ndarray, dataset_background: float) -> bool:
    """Whether an image's background is on the other side of grey than that of the images a model learnt from."""
    own = background(pixels[None])
    return abs(own - dataset_background) > 0.5


def fitting_preprocess(dataset: ImageDataset, size: int, **options) -> Preprocess:
    """The preprocess of a model that is trained on ``dataset`` at ``size`` pixels; options are Preprocess's own."""
    height, width, channels = dataset.image_shape
    if channels not in (1, 3):
        raise DataError(f"{dataset.name}: images have {channels} channels; expected are 1 (grey) or 3 (RGB)")
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    return Preprocess(
        size=size,
        mode="RGB" if channels == 3 else "L",
        source_size=(height, width),
        **{"mean": zeros, "std": ones, **options},
    )
