"""Images as pictures in a page: samples of a data set, and what a network says of an image."""

from collections.abc import Sequence

import numpy as np

from mlpconv.data.dataset import ImageDataset, Splits, shuffled_by_class
from mlpconv.drawing.images import png_data_uri
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Predictions
from mlpconv.notebook.page import Column, Html, bar, element, image, page, table

_MOST_PIXELS = 128
_MOST_IMAGES = 60
_WIDTH = 84
_GAP = 2


def show_images(images: np.ndarray, captions: Sequence[str] = ()) -> Html:
    """Images as pictures, with a caption each where given; no more than the first 60.

    images: uint8 (N, H, W, C), C 1 (grey) or 3 (red, green, blue). Raises DataError for other arrays, and for another
    number of captions.
    """
    _check(images)
    if len(captions) not in (0, len(images)):
        raise DataError(f"show_images: {len(captions)} captions for {len(images)} images; give one each, or none")
    shown = list(captions)[:_MOST_IMAGES] or [str(index) for index in range(min(len(images), _MOST_IMAGES))]
    cards = [
        _card(pixels, name, element("figcaption", name) if captions else None)
        for pixels, name in zip(images, shown, strict=False)
    ]
    return page(element("div", *cards, class_="cards"), *_more(len(images)))


def predictions_html(predictions: Predictions) -> Html:
    """Each image as the network got it, with its likeliest classes and their probabilities."""
    cards = []
    for pixels, one in zip(predictions.images[:_MOST_IMAGES], predictions, strict=False):
        first, *others = one.top
        lines = [element("strong", first.label), f" {first.probability:.1%}", Html("<br/>"), bar(first.probability)]
        for guess in others:
            lines += [Html("<br/>"), f"{guess.label} {guess.probability:.1%}"]
        if one.looks_inverted:
            lines += [Html("<br/>"), "light and dark are the other way round than in training: try invert=True"]
        cards.append(_card(pixels, one.file, element("figcaption", *lines)))
    return page(element("div", *cards, class_="cards"), *_more(len(predictions)))


def dataset_html(dataset: ImageDataset, columns: int = 12) -> Html:
    """A row of randomly chosen images for each class, always the same ones; no more than 60 classes."""
    title = element("p", repr(dataset))
    if dataset.image_shape[2] not in (1, 3):
        return page(title)
    rows = []
    for name, members in zip(dataset.class_names[:_MOST_IMAGES], shuffled_by_class(dataset, seed=0), strict=False):
        chosen = dataset.images[members[:columns]]
        rows.append([name, f"{len(members):,}", _strip(chosen, f"images of {name}") if len(chosen) else ""])
    return page(title, table([Column("class"), Column("images", True), Column("samples")], rows))


def splits_html(splits: Splits) -> Html:
    """Both sets in a line each, and samples of the training set."""
    return page(element("p", repr(splits.test)), dataset_html(splits.train))


def _card(pixels: np.ndarray, name: str, caption: Html | None) -> Html:
    return element("figure", image(png_data_uri(_small(pixels)), name, _WIDTH), *([caption] if caption else []))


def _strip(images: np.ndarray, alt: str) -> Html:
    """Images beside each other, as one picture. The gaps are grey, so that they part images in a dark page too."""
    small = [_small(pixels) for pixels in images]
    height, width, channels = small[0].shape
    strip = np.full((height, len(small) * (width + _GAP) - _GAP, channels), 128, np.uint8)
    for index, pixels in enumerate(small):
        strip[:, index * (width + _GAP) : index * (width + _GAP) + width] = pixels
    shown = max(1, round(strip.shape[1] * 36 / height))
    return image(png_data_uri(strip), alt, shown)


def _small(pixels: np.ndarray) -> np.ndarray:
    """No finer than a page shows, or a row of large photographs would fill the notebook."""
    step = -(-max(pixels.shape[:2]) // _MOST_PIXELS)
    return pixels[::step, ::step]


def _more(count: int) -> list[Html]:
    return [element("p", f"and {count - _MOST_IMAGES:,} more")] if count > _MOST_IMAGES else []


def _check(images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError(
            f"show_images: expected uint8 (N, H, W, C), N at least 1 and C 1 or 3; received {images.dtype} "
            f"{images.shape}"
        )
