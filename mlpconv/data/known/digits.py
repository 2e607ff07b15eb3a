"""The handwritten digits included in scikit-learn: a real data set that needs no download."""

import os

import numpy as np

from mlpconv.data.dataset import ImageDataset, Splits, hold_out
from mlpconv.data.known.source import Source
from mlpconv.errors import DataError, MissingDependency

PACKAGE = "sklearn"


def load_digits(source: Source, directory: str | os.PathLike[str] | None = None) -> Splits:
    """Load the digits, with their 17 gray levels scaled to 0 to 255 and a fixed stratified split.

    Raises:
        DataError: A directory is given.
        MissingDependency: scikit-learn is not installed.
    """
    if directory:
        raise DataError(f"{source.name}: comes with scikit-learn, not from {directory}; leave the directory out")
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingDependency(
            f'{source.name}: needs scikit-learn, which is not installed; pip install "mlpconv[{source.extra}]"'
        ) from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    images = np.round(np.asarray(pixels) * (255 / 16)).astype(np.uint8).reshape(-1, *source.image_shape)
    digits = ImageDataset(images, np.asarray(labels, np.int64), source.class_names, source.name)
    train, test = hold_out(digits, source.counts[1], seed=0)
    return Splits(
        ImageDataset(train.images, train.labels, source.class_names, f"{source.name}/train"),
        ImageDataset(test.images, test.labels, source.class_names, f"{source.name}/test"),
    )
