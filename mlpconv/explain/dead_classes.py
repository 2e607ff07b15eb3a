"""Classes that are dead before training starts, which is how the chapter's network loses most of them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from mlpconv.arch.class_maps import can_die
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Images
from mlpconv.backends.registry import available_backend, get_backend
from mlpconv.backends.weights import initialize, named_initializer
from mlpconv.errors import NetworkError
from mlpconv.training.guard import dead_classes


class InitialDeadClasses(NamedTuple):
    """The classes that are dead with the weights of one seed."""

    seed: int
    classes: tuple[int, ...]
    """Their numbers, from 0."""


def initial_dead_classes(
    network: Network,
    images: Images,
    initializer: str = "xavier",
    seeds: Iterable[int] = range(12),
    *,
    backend: str | None = None,
    device: str | None = None,
) -> Iterator[InitialDeadClasses]:
    """Find the classes that are dead before the first training step, for one seed after another.

    A class is dead if its map is at most 0 at 99.9 % of the positions or more, over all images: no gradient reaches the
    weights of its last layer. The weights are those from which ``mlpconv.train`` starts with the same seed, the
    computation is in float32, and pixels are scaled to 0..1 as in the chapter.

    Args:
        network: The network; images are resized to its input size.
        images: uint8 (N, H, W, C).
        initializer: The name of the initializer: "xavier", "he", "torch", "normal", "open" or "identity".
        seeds: The seeds.
        backend: The name of the back end that computes the maps; by default torch, or the first that is installed.
        device: The device; None is the back end's choice.

    Raises:
        NetworkError: The network has no class maps, or no ReLU after them, so that no class can die.
        RecipeError: There is no such initializer.
        MlpconvError: There is no such back end, or it is not installed.
    """
    if not can_die(network):
        raise NetworkError(f"{network.name}: its class maps are not followed by a ReLU, so no class can die")
    preprocess = Preprocess.of_channels(max(network.input_size), network.input_channels)
    start, engine = named_initializer(initializer), get_backend(backend or available_backend())
    model = engine.build(network, preprocess, precision="float32", device=engine.choose(device, "float32")[0])
    for seed in seeds:
        model.load_weights(initialize(network, start, seed, framework_biases=engine.framework_biases))
        yield InitialDeadClasses(seed, tuple(dead_classes(model.class_maps(images))))
