"""Hypothesis strategies for what the packages pass to each other."""

import unicodedata
from typing import get_args

from hypothesis import strategies as st

from mlpconv.arch.layers import (
    AnyLayer,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
)
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import layer_shapes

LAYER_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,9}", fullmatch=True) | st.sampled_from(["self", "kind", "layers"])
NETWORK_NAMES = st.text(max_size=12).filter(lambda text: not {"Cc", "Cs"} & set(map(unicodedata.category, text)))


@st.composite
def networks(draw, most_layers=5, plain=False):
    """Small classifiers whose shapes fit: any layers and blocks, then GlobalAvgPool2d, Flatten or Flatten, Linear.

    Images have 1 to 3 channels and sides of 4 to 12; maps have at most 8 channels.

    Args:
        most_layers: Number of layers and blocks before the last two.
        plain: Whether to leave out dropout and windows that are not square.
    """
    shape = first = (draw(st.integers(1, 3)), draw(st.integers(4, 12)), draw(st.integers(4, 12)))
    layers = []
    for _ in range(draw(st.integers(0, most_layers))):
        if draw(st.integers(0, 3)):
            layer = draw(_layers(shape, plain))
            shape = _after(layer, shape)
        else:
            names = draw(st.lists(LAYER_NAMES, min_size=1, max_size=3, unique=True))
            inner = {}
            for name in names:
                inner[name] = draw(_layers(shape, plain))
                shape = _after(inner[name], shape)
            layer = Block(**inner)
        layers.append(layer)
    if draw(st.booleans()):
        layers += [GlobalAvgPool2d(), Flatten()]
    else:
        layers += [Flatten(), Linear(draw(st.integers(1, 8)), bias=draw(st.booleans()))]
    about = {"input_channels": first[0], "input_size": first[1:], "name": draw(NETWORK_NAMES)}
    if draw(st.booleans()):
        return Network(*layers, **about)
    names = draw(st.lists(LAYER_NAMES, min_size=len(layers), max_size=len(layers), unique=True))
    return Network.named(dict(zip(names, layers, strict=True)), **about)


def _after(layer, shape):
    return layer_shapes(Network(layer, input_channels=shape[0], input_size=shape[1:]))[-1].output_shape


# A new layer is added here, or to `networks` where it needs a map of a certain size.
SIMPLE = [
    BatchNorm2d(),
    BatchNorm2d(eps=1e-3, momentum=0.3),
    ReLU(),
    ReLU(),
    ReLU6(),
    Sigmoid(),
    Dropout(0.25),
    Dropout(0.5),
]
OTHERS = {Conv2d, MaxPool2d, AvgPool2d, GlobalAvgPool2d, Flatten, Linear}
assert {type(layer) for layer in SIMPLE} | OTHERS == set(get_args(AnyLayer)), "a layer that no test draws"


def _layers(shape, plain):
    simple = [layer for layer in SIMPLE if not (plain and isinstance(layer, Dropout))]
    return st.one_of(_convolutions(shape, plain), _pools(shape, plain), st.sampled_from(simple))


@st.composite
def _convolutions(draw, shape, plain):
    padding = draw(_size(0, (2, 2), plain))
    room = [side + 2 * pad for side, pad in zip(shape[1:], _pair(padding), strict=True)]
    kernel = draw(_size(1, [min(5, side) for side in room], plain))
    depthwise = draw(st.integers(0, 2)) == 2
    channels = shape[0] if depthwise else draw(st.integers(1, 8))
    stride, bias = draw(_size(1, (3, 3), plain)), draw(st.booleans())
    return Conv2d(channels, kernel, stride, padding, bias, depthwise)


@st.composite
def _pools(draw, shape, plain):
    kernel = draw(_size(1, [min(4, side) for side in shape[1:]], plain))
    padding = draw(_size(0, [side // 2 for side in _pair(kernel)], plain))
    stride, ceil_mode = draw(_size(1, (3, 3), plain)), draw(st.booleans())
    if draw(st.booleans()):
        return MaxPool2d(kernel, stride, padding, ceil_mode)
    return AvgPool2d(kernel, stride, padding, ceil_mode, count_include_pad=draw(st.booleans()))


def _size(least, most, plain):
    """One integer, or one for each axis, up to ``most`` on each."""
    both = st.integers(least, min(most))
    return both if plain else both | st.tuples(st.integers(least, most[0]), st.integers(least, most[1]))


def _pair(size):
    return (size, size) if isinstance(size, int) else size
