"""ROAD: pixels are removed by imputation, the most or the least important first, and the accuracy is measured.

Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods", arXiv:2202.00449. A removed
pixel becomes the weighted mean of its neighbors plus a little noise, so that the network sees images like those that it
knows, and the shape of what was removed does not give the class away.
"""

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import Floats, Images, Labels
from mlpconv.bench.saliency import View

SHARES = tuple(tenths / 10 for tenths in range(1, 10))
"""The shares of the pixels that are removed."""
NOISE = 0.01 * 255
"""The standard deviation of the noise on a removed pixel, in gray levels."""
TOLERANCE = 1e-3
"""The largest error of the linear system, in gray levels."""
DIRECT, DIAGONAL = 1 / 6, 1 / 12
"""The weights of the four direct and the four diagonal neighbors, of which there are fewer at an edge."""

Values = npt.NDArray[np.float64]


def impute(images: npt.NDArray[np.number], removed: npt.NDArray[np.bool_]) -> Values:
    """Replace removed pixels by the weighted means of their neighbors, of which some are removed, too.

    The linear system for all removed pixels is that of a graph's Laplacian, which is symmetric and positive definite:
    conjugate gradients solve it for all images at once.

    Args:
        images: (N, H, W, C).
        removed: bool (N, H, W); each image keeps a pixel or more.

    Returns:
        float64 (N, H, W, C); pixels that are not removed are unchanged.
    """
    unknown = removed[..., None].astype(np.float64)
    values = images.astype(np.float64)
    kept = (1 - unknown).sum((1, 2), keepdims=True)
    mean = (values * (1 - unknown)).sum((1, 2), keepdims=True) / kept
    values = np.where(removed[..., None], mean, values)
    weights = _neighbors(np.ones((1, *images.shape[1:3], 1)))

    def residual_of(x: Values) -> Values:
        return unknown * (_neighbors(x) - weights * x)

    residual = residual_of(values)
    direction, power = residual.copy(), (residual**2).sum((1, 2), keepdims=True)
    for _ in range(10 * max(images.shape[1:3])):
        if not np.abs(residual).max(initial=0) > TOLERANCE / 100:
            break
        image_of = -residual_of(direction)
        length = power / np.maximum((direction * image_of).sum((1, 2), keepdims=True), 1e-300)
        values += length * direction
        residual -= length * image_of
        before, power = power, (residual**2).sum((1, 2), keepdims=True)
        direction = residual + power / np.maximum(before, 1e-300) * direction
    return values


def _neighbors(x: Values) -> Values:
    """The weighted sum of the neighbors of each pixel, (N, H, W, C): 1 2 1, 2 0 2, 1 2 1, in twelfths."""
    down = 2 * x
    down[:, 1:] += x[:, :-1]
    down[:, :-1] += x[:, 1:]
    both = 2 * down
    both[:, :, 1:] += down[:, :, :-1]
    both[:, :, :-1] += down[:, :, 1:]
    return DIAGONAL * (both - 4 * x)


def remove(images: Images, removed: npt.NDArray[np.bool_], draw: np.random.Generator, noise: float = NOISE) -> Images:
    """Images, uint8 (N, H, W, C), whose ``removed`` pixels, bool (N, H, W), are imputed with noise."""
    noisy = impute(images, removed) + draw.normal(0, noise, images.shape)
    return np.where(removed[..., None], np.clip(np.rint(noisy), 0, 255).astype(np.uint8), images)


def ranks(saliencies: Floats, draw: np.random.Generator) -> npt.NDArray[np.int64]:
    """The rank of each pixel of (N, H, W), 0 for the most important; equally important ones are in random order."""
    flat = saliencies.reshape(len(saliencies), -1)
    order = np.lexsort((draw.random(flat.shape), -flat), axis=1)
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(flat.shape[1])[None], axis=1)
    return found.reshape(saliencies.shape)


def road(view: View, images: Images, labels: Labels, saliencies: Floats, seed: int = 0) -> tuple[Floats, Floats]:
    """Whether each image is classified correctly after the removal of each share of its pixels.

    Args:
        view: The classifier.
        images: uint8 (N, H, W, C).
        labels: The true class of each image, int64 (N,).
        saliencies: The importance of each pixel, (N, H, W).
        seed: The seed of the noise and of the order of equally important pixels.

    Returns:
        1 for correct and 0 for wrong, float32 (N, len(SHARES)): with the most important pixels removed first (MoRF),
        and with the least important first (LeRF).
    """
    draw = np.random.default_rng(seed)
    rank, pixels = ranks(saliencies, draw), images.shape[1] * images.shape[2]
    correct: tuple[list[Floats], list[Floats]] = ([], [])
    for share in SHARES:
        count = round(share * pixels)
        for found, removed in zip(correct, (rank < count, rank >= pixels - count), strict=True):
            found.append((view.logits(remove(images, removed, draw)).argmax(1) == labels).astype(np.float32))
    return np.stack(correct[0], 1), np.stack(correct[1], 1)
