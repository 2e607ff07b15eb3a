"""Whether maps depend on the weights that a network has learned: the maps of a network with random weights.

Adebayo et al. 2018, "Sanity Checks for Saliency Maps", arXiv:1810.03292, with cascading randomization: the last block
gets random weights, then the one before it as well, down to the first.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats, Images, Labels
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.bench.saliency import Method, View

MAX_CORRELATION = 0.5
"""With random weights only, the mean correlation with the original maps has to be below this."""


def cascade(
    network: Network, weights: Mapping[str, Floats], seed: int, framework_biases: bool
) -> Iterator[tuple[str, dict[str, Floats]]]:
    """The weights with more and more blocks randomized (He), the last block first.

    Yields:
        (the block that was randomized in addition, all weights).
    """
    random = initialize(network, INITIALIZERS["he"], seed, framework_biases=framework_biases)
    mixed = dict(weights)
    for block in reversed(list(network.layers)):
        names = [name for name in random if name.partition(".")[0] == block]
        if names:
            mixed |= {name: random[name] for name in names}
            yield block, dict(mixed)


def spearman(first: Floats, second: Floats) -> Floats:
    """The rank correlation (Spearman) of each map with its counterpart.

    Args:
        first: (N, H, W).
        second: (N, H, W).

    Returns:
        float32 (N,), from −1 to 1; 0 where a map is constant, since it then has nothing in common with another.
    """
    a, b = (average_ranks(maps.reshape(len(maps), -1)) for maps in (first, second))
    a, b = (values - values.mean(1, keepdims=True) for values in (a, b))
    spread = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    return np.where(spread > 0, (a * b).sum(1) / np.where(spread > 0, spread, 1), 0).astype(np.float32)


def average_ranks(values: Floats) -> np.ndarray:
    """The rank of each value in its row (N, P), from 0; equal values share the mean of their ranks: float64."""
    found = np.empty(values.shape)
    for row, ranked in zip(values, found, strict=True):
        _, which, counts = np.unique(row, return_inverse=True, return_counts=True)
        ranked[:] = (np.cumsum(counts) - (counts + 1) / 2)[which]
    return found


def correlations(
    view: View, methods: Mapping[str, Method], images: Images, classes: Labels, seed: int, biases: bool
) -> tuple[list[str], dict[str, Floats]]:
    """The correlation of each method's maps, without their signs, with those of the network with random weights.

    The classifier has its own weights again when this returns.

    Args:
        view: The classifier.
        methods: The methods by name.
        images: uint8 (N, H, W, C).
        classes: The class that is explained for each image, int64 (N,).
        seed: The seed of the random weights.
        biases: Whether the back end's framework initializes biases to random values.

    Returns:
        The blocks in the order in which they are randomized, and for each method float32 (blocks, N).
    """
    stored, wanted = view.classifier.stored, classes[:, None]
    before = {name: np.abs(method(view, images, wanted)[:, 0]) for name, method in methods.items()}
    blocks: list[str] = []
    found: dict[str, list[Floats]] = {name: [] for name in methods}
    try:
        for block, weights in cascade(stored.network, stored.weights, seed, biases):
            view.model.load_weights(weights)
            blocks.append(block)
            for name, method in methods.items():
                found[name].append(spearman(before[name], np.abs(method(view, images, wanted)[:, 0])))
    finally:
        view.model.load_weights(stored.weights)
    return blocks, {name: np.stack(values) for name, values in found.items()}
