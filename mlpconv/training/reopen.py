"""Reopening dead classes: what is written into which arrays of a training state.

A class is dead when its map is at most 0 everywhere: no gradient passes its ReLU, so it never recovers by itself. Its
channel of the last layer gets new weights, with which its map is above 0 everywhere, and near 0, so that the other
classes' probabilities hardly change: weights |N(0, 0.01²)|, as its inputs are not negative after a ReLU, and bias 0.1.
Other channels of the last block that are dead (a class may have died because nothing reached it) get the new weights
that He et al. 2015 propose, with bias 0.1, and the weights that read them |N(0, 0.01²)|. If batch normalization follows
such a layer, its channel gets scale 1, shift 0.1, mean 0 and variance 1. The optimizer's state of all these elements
becomes 0, as it is at the start.
"""

from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import BatchNorm2d, Conv2d
from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats, State
from mlpconv.backends.training_state import parse_key
from mlpconv.backends.weights import depthwise_kernels, last_block

BIAS, SPREAD = 0.1, 0.01


class Stage(NamedTuple):
    """A convolution of the last block that a ReLU follows."""

    conv: str
    norm: str | None
    """The normalization between them, if any."""
    output: str
    """The layer whose output the ReLU takes."""


def stages(network: Network) -> list[Stage]:
    """The convolutions of the last block that a ReLU follows; the last one's output are the class maps."""
    last, found = last_block(network), []
    layers = [(name, layer) for name, layer in network.walk() if last and name.startswith(f"{last[0]}.")]
    for index, (name, layer) in enumerate(layers):
        if not isinstance(layer, Conv2d):
            continue
        behind = layers[index + 1 : index + 3]
        norm = behind[0][0] if behind and isinstance(behind[0][1], BatchNorm2d) else None
        after = behind[1:] if norm else behind
        if after and after[0][1].traits.can_die:
            found.append(Stage(name, norm, norm or name))
    return found


def can_reopen(network: Network) -> bool:
    """Whether the class maps come from the last block, so that ``reopen`` applies to the network."""
    names = [name for name, layer in network.walk() if isinstance(layer, Conv2d | BatchNorm2d)]
    return bool(names and (found := stages(network)) and found[-1].output == names[-1])


def reopen(
    state: State, network: Network, classes: Sequence[int], outputs: Callable[[str], Floats], draw: np.random.Generator
) -> tuple[State, str]:
    """Reopen dead classes.

    Args:
        state: The training state; it is not changed.
        network: The network.
        classes: The dead classes.
        outputs: Returns the output (N, C, h, w) of a layer on images that the network has seen.
        draw: The generator of the new weights.

    Returns:
        A training state in which the classes are open, and a description of what was done, for people.
    """
    state = dict(state)
    done = []
    found, depthwise = stages(network), depthwise_kernels(network)
    convolutions = [name for name, layer in network.walk() if isinstance(layer, Conv2d)]
    for index, stage in enumerate(found):
        last = index == len(found) - 1
        if last:
            channels = list(classes)
        else:
            channels = np.flatnonzero((outputs(stage.output) > 0).mean((0, 2, 3)) <= 0.001).tolist()
        if not channels:
            continue
        weight = _shape(state, f"{stage.conv}.weight")
        rows = (len(channels), *weight[1:])
        values = abs(draw.normal(0, SPREAD, rows)) if last else draw.normal(0, sqrt(2 / prod(weight[1:])), rows)
        _write(state, f"{stage.conv}.weight", channels, values)
        _write(state, f"{stage.conv}.bias", channels, BIAS)
        for part, value in (("weight", 1.0), ("bias", BIAS), ("running_mean", 0.0), ("running_var", 1.0)):
            if stage.norm:
                _write(state, f"{stage.norm}.{part}", channels, value)
        if not last:
            reader = f"{convolutions[convolutions.index(stage.conv) + 1]}.weight"
            shape = _shape(state, reader)
            if reader in depthwise:  # its output channels have the numbers of the channels that they read
                _write(state, reader, channels, abs(draw.normal(0, SPREAD, (len(channels), *shape[1:]))))
            else:
                values = abs(draw.normal(0, SPREAD, (shape[0], len(channels), *shape[2:])))
                _write(state, reader, (slice(None), channels), values)
        what = "the class's" if last and len(channels) == 1 else "the classes'" if last else "dead"
        done.append(
            f"{stage.conv}: {what} channel{'s' * (len(channels) > 1)} {', '.join(map(str, channels))} initialized again"
        )
    return state, "; ".join(done)


def _shape(state: State, name: str) -> tuple[int, ...]:
    return next(array.shape for key, array in state.items() if parse_key(key)[:2] == ("weight", name))


def _write(state: State, name: str, index: Any, value: float | npt.NDArray[np.float64]) -> None:
    """Write a value into a weight, and 0 into the same elements of what the optimizer keeps for it."""
    for key, array in list(state.items()):
        entry = parse_key(key)
        if entry.name == name and array.ndim:  # a count of steps belongs to the whole array
            state[key] = array.copy()
            state[key][index] = 0.0 if entry.role == "optimizer" else value
