"""The class maps of the pictures that a report shows: those of the true and of the predicted class."""

import numpy as np

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Floats, Model
from mlpconv.data.dataset import ImageDataset
from mlpconv.errors import NetworkError
from mlpconv.explain.class_maps import ClassMaps, class_maps
from mlpconv.runs.evaluation import MAX_MAP_SIDE, Mistakes, PictureMaps, reduction


def with_maps(
    mistakes: Mistakes, model: Model, network: Network, preprocess: Preprocess, dataset: ImageDataset
) -> Mistakes:
    """Add the class maps of mistakes.

    Args:
        mistakes: The mistakes.
        model: The trained network in a back end.
        network: The network.
        preprocess: How images become the network's input.
        dataset: The data set that the mistakes are in.

    Returns:
        The mistakes with maps; without them if there are no mistakes, or the network has no class maps, maps of
        one position, which show no place, or maps that are too large to be stored.
    """
    if not len(mistakes.indices):
        return mistakes
    images = dataset.images[mistakes.indices]
    try:
        found = class_maps(model, network, preprocess, dataset.class_names, images, [""] * len(images))
    except NetworkError:
        return mistakes
    sides = found.before.shape[2:]
    if max(sides) > MAX_MAP_SIDE or sides == (1, 1):
        return mistakes
    pictures = np.arange(len(images))[:, None]
    values = found.before[pictures, np.stack([mistakes.labels, mistakes.predicted], 1)]
    if not np.isfinite(values).all():
        return mistakes
    step = reduction(*images.shape[1:3])
    return mistakes._replace(maps=PictureMaps(values, found.rows / step, found.columns / step))


def over_pictures(mistakes: Mistakes, maps: PictureMaps) -> Floats:
    """The maps of mistakes, enlarged to the size of their pictures: float32 (M, 2, H, W)."""
    rectified, class_names, names = False, (), []
    return ClassMaps(maps.maps, rectified, class_names, names, mistakes.images, maps.rows, maps.columns).over_images()
