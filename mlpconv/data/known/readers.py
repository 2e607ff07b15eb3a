"""The contents of a known data set's files → images and labels, each format by its rules."""

import math

import numpy as np

from mlpconv.data.dataset import ImageDataset, Splits
from mlpconv.data.known.descriptors import Source
from mlpconv.data.known.idx import parse_idx
from mlpconv.data.known.matlab import read_arrays
from mlpconv.errors import DataError

Arrays = tuple[np.ndarray, np.ndarray]


def parse(source: Source, contents: dict[str, bytearray]) -> Splits:
    """The splits of a data set. contents: by role. Raises DataError for what is not as its format says, and for other
    counts or image sizes than the data set is published with."""
    read = {"idx": _idx, "emnist": _emnist, "cifar": _cifar, "svhn": _svhn}[source.format]
    sets = []
    for split, count in zip(("train", "test"), source.counts, strict=True):
        name = f"{source.name}/{split}"
        images, labels = read(source, contents, split, name)
        found, expected = images.shape, (count, *source.image_shape)
        if found != expected:
            raise DataError(f"{name}: expected images of the shape {expected}, found {found}; fetch the files again")
        sets.append(ImageDataset(images, labels.astype(np.int64), source.class_names, name))
    return Splits(*sets)


def _idx(source: Source, contents: dict[str, bytearray], split: str, name: str) -> Arrays:
    images = parse_idx(contents[f"{split}_images"], f"{name} images", expect_ndim=3)
    return images[..., np.newaxis], parse_idx(contents[f"{split}_labels"], f"{name} labels", expect_ndim=1)


def _emnist(source: Source, contents: dict[str, bytearray], split: str, name: str) -> Arrays:
    """As IDX, but the images lie on their side, and the letters' labels begin at 1."""
    images, labels = _idx(source, contents, split, name)
    return np.ascontiguousarray(images.transpose(0, 2, 1, 3)), labels.astype(np.int64) - ("letters" in source.name)


def _cifar(source: Source, contents: dict[str, bytearray], split: str, name: str) -> Arrays:
    """Records of labels (one byte; for CIFAR-100 the coarse one and then the fine one) and three planes of pixels."""
    height, width, channels = source.image_shape
    labels = 2 if len(source.class_names) > 10 else 1
    raw = b"".join(contents[role] for role in sorted(contents) if role.startswith(split))
    size = labels + math.prod(source.image_shape)
    if len(raw) % size:
        raise DataError(f"{name}: {len(raw):,} bytes are no whole records of {size:,}; fetch the files again")
    records = np.frombuffer(raw, np.uint8).reshape(-1, size)
    planes = records[:, labels:].reshape(-1, channels, height, width)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, labels - 1]


def _svhn(source: Source, contents: dict[str, bytearray], split: str, name: str) -> Arrays:
    """A MATLAB file with X (height, width, channels, N) and y (N, 1), in which 10 stands for the digit 0."""
    limit = max(source.counts) * math.prod(source.image_shape)
    arrays = read_arrays(contents[split], f"{name} ({split}_32x32.mat)", limit)
    missing = [key for key in ("X", "y") if key not in arrays]
    if missing or arrays["X"].ndim != 4 or arrays["X"].dtype != np.uint8:
        raise DataError(f"{name}: expected X, uint8 of 4 dimensions, and y, found {', '.join(arrays) or 'nothing'}")
    labels = arrays["y"].reshape(-1).astype(np.int64)
    return np.ascontiguousarray(arrays["X"].transpose(3, 0, 1, 2)), np.where(labels == 10, 0, labels)
