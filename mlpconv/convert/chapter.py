"""The names that weights have in the chapter's own networks: positions in nested Sequentials."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from mlpconv.arch.layers import AnyLayer, BatchNorm2d, Conv2d, Flatten, Linear, ReLU, Sigmoid
from mlpconv.arch.network import Block, Network

Names = Literal["mlpconv", "chapter", "collect-params"]
"""The names in a file: canonical ones, those of the chapter's network, or Gluon's for ``collect_params().load``."""

_PREFIXES = {Conv2d: "conv", Linear: "dense", BatchNorm2d: "batchnorm"}
"""How Gluon names the layers of a type that are created in order: conv0, conv1 …"""


def sequential_names(network: Network) -> dict[str, str]:
    """The position of each layer in PyTorch's nested ``nn.Sequential``, by canonical name: block1.mlp1 → 0.2."""
    return _positions(network, {name: dict(_items(part)) for name, part in network.layers.items()})


def gluon_names(network: Network) -> dict[str, str]:
    """The position of each layer in Gluon's nested ``nn.Sequential``, by canonical name: block1.mlp1 → 0.1.

    An activation belongs to the convolution or linear layer before it, and a linear layer flattens its input, so these
    have no position.
    """
    flattening = {
        name
        for (name, part), following in zip(network.layers.items(), list(network.layers.values())[1:], strict=False)
        if isinstance(part, Flatten) and isinstance(following, Linear)
    }
    layers = {name: part for name, part in without_activations(network.layers).items() if name not in flattening}
    return _positions(network, {name: without_activations(dict(_items(part))) for name, part in layers.items()})


def collected_names(network: Network) -> dict[str, str]:
    """Gluon's names of the layers of the first network that a program creates: block1.mlp1 → conv1."""
    counts: Counter[str] = Counter()
    names = {}
    for name, layer in network.walk():
        if prefix := _PREFIXES.get(type(layer)):
            names[name] = f"{prefix}{counts[prefix]}"
            counts[prefix] += 1
    return names


def without_activations(layers: Mapping[str, Any]) -> dict[str, Any]:
    """The layers without the activations that come directly after a convolution or a linear layer."""
    kept, previous = {}, None
    for name, layer in layers.items():
        if not (isinstance(layer, ReLU | Sigmoid) and isinstance(previous, Conv2d | Linear)):
            kept[name] = layer
        previous = layer
    return kept


def _items(part: AnyLayer | Block) -> list[tuple[str, AnyLayer]]:
    return list(part.layers.items()) if isinstance(part, Block) else []


def _positions(network: Network, parts: Mapping[str, Mapping[str, AnyLayer]]) -> dict[str, str]:
    """The positions of layers, and of those in blocks, where both are counted as given."""
    names = {}
    for index, (name, inner) in enumerate(parts.items()):
        if isinstance(network.layers[name], Block):
            names |= {f"{name}.{layer}": f"{index}.{place}" for place, layer in enumerate(inner)}
        else:
            names[name] = str(index)
    return names
