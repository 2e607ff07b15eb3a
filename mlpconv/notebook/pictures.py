"""Displays of images: samples of a data set, and predictions."""

from collections.abc import Sequence

import numpy as np

from mlpconv.backends.base import Images
from mlpconv.data.dataset import ImageDataset, Splits, shuffled_by_class
from mlpconv.drawing.images import png_data_uri
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Predictions
from mlpconv.notebook.page import Column, Html, Picture, render

MAX_IMAGES = 60
"""Number of images, or of classes of a data set, that are shown."""
MAX_SIDE = 128
"""Images are reduced until no side has more pixels; a row of photographs would make a notebook very large."""
_WIDTH, _STRIP_HEIGHT = 84, 36
"""In pixels of the page."""
_GAP = 2
"""Pixels of an image between two images of a strip."""


def show_images(images: Images, captions: Sequence[str] = ()) -> Html:
    """Show images, at most the first ``MAX_IMAGES``.

    Args:
        images: uint8 (N, H, W, C), where C is 1 (gray) or 3 (red, green, blue).
        captions: One for each image, or none.

    Raises:
        DataError: The array has another type or shape, or there are captions for another number of images.
    """
    _check(images)
    if len(captions) not in (0, len(images)):
        raise DataError(f"show_images: {len(captions)} captions for {len(images)} images; give one for each, or none")
    alts = list(captions) or [str(index) for index in range(len(images))]
    pictures = [_picture(image, alt) for image, alt in zip(images[:MAX_IMAGES], alts, strict=False)]
    return render("images", images=pictures, captions=list(captions), hidden=len(images) - MAX_IMAGES)


def predictions_html(predictions: Predictions) -> Html:
    """Each image that the network received, with its most probable classes and their probabilities."""
    pictures = [
        _picture(image, prediction.file)
        for image, prediction in zip(predictions.images[:MAX_IMAGES], predictions, strict=False)
    ]
    return render("predictions", images=pictures, predictions=list(predictions), hidden=len(predictions) - MAX_IMAGES)


def dataset_html(dataset: ImageDataset, columns: int = 12) -> Html:
    """A row of random images of each class, the same ones every time, for at most ``MAX_IMAGES`` classes."""
    rows = []
    if dataset.image_shape[2] in (1, 3):
        for name, members in zip(dataset.class_names[:MAX_IMAGES], shuffled_by_class(dataset, seed=0), strict=False):
            images = dataset.images[members[:columns]]
            samples = render("picture", image=_strip(images, f"images of {name}")) if len(images) else ""
            rows.append([name, f"{len(members):,}", samples])
    titles = [Column("class"), Column("images", right=True), Column("samples")]
    return render("dataset", title=repr(dataset), columns=titles, rows=rows)


def splits_html(splits: Splits) -> Html:
    """A line about the test set, and samples of the training set."""
    return render("splits", test=repr(splits.test), train=dataset_html(splits.train))


def _picture(image: Images, alt: str) -> Picture:
    return Picture(png_data_uri(_reduced(image)), alt, _WIDTH)


def _strip(images: Images, alt: str) -> Picture:
    """Images side by side in one picture. The gaps are gray, to be visible in a dark page too."""
    reduced = [_reduced(image) for image in images]
    height, width, channels = reduced[0].shape
    strip = np.full((height, len(reduced) * (width + _GAP) - _GAP, channels), 128, np.uint8)
    for index, image in enumerate(reduced):
        strip[:, index * (width + _GAP) : index * (width + _GAP) + width] = image
    return Picture(png_data_uri(strip), alt, max(1, round(strip.shape[1] * _STRIP_HEIGHT / height)))


def _reduced(image: Images) -> Images:
    step = -(-max(image.shape[:2]) // MAX_SIDE)
    return image[::step, ::step]


def _check(images: Images) -> None:
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape:
        raise DataError(
            f"show_images: expected uint8 (N, H, W, C), N at least 1 and C 1 or 3; received {images.dtype} "
            f"{images.shape}"
        )
