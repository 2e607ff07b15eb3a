"""The pictures of a report: misclassified images, and class maps drawn over images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from mlpconv.arch.class_maps import single_position
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import show
from mlpconv.backends.base import Floats, Images
from mlpconv.drawing.images import image_data_uri
from mlpconv.explain import stored_class_maps
from mlpconv.explain.overlay import enlarge, overlay
from mlpconv.explain.picture_maps import over_pictures
from mlpconv.runs.evaluation import Mistakes
from mlpconv.runs.run import Run


def mistakes_on_page(mistakes: Mistakes, names: Sequence[str], files: Sequence[str]) -> list[dict[str, Any]]:
    """What the page shows of each mistake: names, probabilities, its picture, and the maps of the predicted and of the
    true class.

    Args:
        mistakes: The mistakes.
        names: The classes.
        files: The file of each test image; empty if they are not files.
    """
    maps = None if mistakes.maps is None else over_pictures(mistakes, mistakes.maps)
    page = []
    for at, (index, label, predicted) in enumerate(
        zip(mistakes.indices.tolist(), mistakes.labels, mistakes.predicted, strict=True)
    ):
        image, given = mistakes.images[at], float(mistakes.given[at])
        drawn = [] if maps is None else _overlays(image, maps[at])
        page.append(
            {
                "name": picture_name(index, files),
                "label": names[label],
                "predicted": names[predicted],
                "confidence": float(mistakes.confidence[at]),
                "given": given if given >= 0 else None,
                "image": image_data_uri(image),
                "for_predicted": drawn[1] if drawn else "",
                "for_label": drawn[0] if drawn else "",
            }
        )
    return page


def picture_name(index: int, files: Sequence[str]) -> str:
    """What a test image is called: its file, or its index."""
    return files[index] if index < len(files) else f"Test image {index}"


def _overlays(image: Images, maps: Floats) -> list[str]:
    """The maps (M, H, W) of an image, each drawn over it, with one scale for all of them."""
    limit, large = float(np.abs(maps).max()) or 1.0, enlarge(image, 96)
    return [image_data_uri(overlay(large, enlarge(each[..., None], 96)[..., 0], limit)) for each in maps]


def class_maps_on_page(run: Run, network: Network, files: Sequence[str]) -> dict[str, Any] | None:
    """The stored class maps, of each image that of its predicted class; None if there are none.

    Args:
        run: The run.
        network: Its network.
        files: The file of each test image; empty if they are not files.
    """
    stored = stored_class_maps.load(run.path, run.config.data.class_names)
    if stored is None:
        return None
    maps = stored.maps
    rows = np.arange(len(maps.images))
    values = maps.over_images(maps.before[rows, stored.predicted])
    images = []
    for index, label in enumerate(stored.predicted):
        image = enlarge(maps.images[index])
        limit = float(np.abs(maps.before[index]).max()) or 1.0
        over = overlay(image, enlarge(values[index, ..., None])[..., 0], limit)
        images.append(
            {
                "name": picture_name(int(maps.names[index]), files),
                "label": maps.class_names[stored.labels[index]],
                "predicted": maps.class_names[label],
                "logit": float(maps.logits[index, label]),
                "image": image_data_uri(image),
                "overlay": image_data_uri(over),
            }
        )
    size = maps.before.shape[2:]
    single = single_position(network) if size == (1, 1) else None
    return {"size": show(size), "rectified": maps.rectified, "single": single, "images": images}
