"""One image file → pixels, by documented rules."""

import warnings
from pathlib import Path
from typing import Literal

import numpy as np

from mlpconv.arch.network import Preprocess
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import DataError


def read_image(path: str | Path, preprocess: Preprocess) -> np.ndarray:
    """The pixels of any image file, uint8 (H, W, C), in the mode and source size that ``preprocess`` says.

    The first frame of an animation, turned as its EXIF data says; what is transparent stands on white; 16 bits become 8
    by their upper half, and what has more, or fractions, is refused: its white is unknown. Then it is made square as
    ``fit`` says and brought to ``source_size``, low-passed where that is smaller. Raises DataError for what is no
    image, cannot be read, or is larger than Pillow deems safe.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd metadata of an image that can be read all the same
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                image = ImageOps.exif_transpose(file)
                image.load()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: refused before decoding: {error}") from None
    except UnidentifiedImageError:
        raise DataError(f"{path}: not an image that can be read (PNG, JPEG, WebP, GIF, BMP, TIFF …)") from None
    except Exception as error:  # a decoder raises almost anything for a damaged file: TypeError, RuntimeError …
        raise DataError(f"{path}: cannot be decoded: {error}") from None
    if image.mode == "F" or image.mode.startswith("I"):
        image = Image.fromarray(_upper_half(np.asarray(image), path))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = _square(image.convert(preprocess.mode), preprocess.fit)
    if preprocess.source_size is not None:
        height, width = preprocess.source_size
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels.reshape(*pixels.shape[:2], -1)


def _upper_half(values: np.ndarray, path: Path) -> np.ndarray:
    """16-bit values, however Pillow holds them, as 8-bit ones."""
    if values.dtype.kind == "f" or values.min() < 0 or values.max() > 65535:
        raise DataError(
            f"{path}: its values are {values.dtype} from {values.min():g} to {values.max():g}, and nothing says which "
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
    edges = (images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1])
    pixels = np.concatenate([edge.reshape(len(images), -1) for edge in edges], axis=1)
    return float(pixels.mean() / 255)


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
