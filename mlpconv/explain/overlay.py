"""Class maps drawn over their images, as arrays of pixels."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Floats, Images

FOR, AGAINST = (202, 0, 32), (5, 113, 176)
"""The colors (red, green, blue) of evidence for and against a class."""
MAX_OPACITY = 0.8
"""Opacity of the strongest evidence."""


def overlay(image: Images, values: Floats, limit: float) -> Images:
    """Draw values over an image: red above 0, blue below.

    Args:
        image: uint8 (H, W, C).
        values: (H, W).
        limit: The absolute value, above 0, that is drawn with the highest opacity.

    Returns:
        uint8 (H, W, 3).
    """
    background = np.broadcast_to(image, (*image.shape[:2], 3)).astype(np.float32)
    opacity = (MAX_OPACITY * np.clip(np.abs(values) / limit, 0, 1))[..., None]
    color = np.where((values > 0)[..., None], np.array(FOR, np.float32), np.array(AGAINST, np.float32))
    return np.rint((1 - opacity) * background + opacity * color).astype(np.uint8)


def enlarge(image: npt.NDArray[Any], side: int = 112) -> npt.NDArray[Any]:
    """Repeat the pixels of an image (H, W, C) until its longer side has at least ``side`` pixels."""
    times = -(-side // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)
