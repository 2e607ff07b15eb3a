"""Opening a dead class again: what is written into which arrays of a training state.

A class is dead when its map is at most 0 everywhere: no gradient passes its ReLU, so it never comes back by itself.
Its channel of the last layer is made anew so that its map is above 0 everywhere, and near 0, so that the other classes'
probabilities hardly change: weights |N(0, 0.01²)| on inputs that are not negative behind a ReLU, bias 0.1. Channels
within the last block that are dead alike (a class may have died because nothing reached it) begin anew as He et al.
2015 propose, with bias 0.1, and what reads them with |N(0, 0.01²)|. Where batch normalisation stands behind such a
layer, its channel gets scale 1, shift 0.1, mean 0 and variance 1. The optimiser's moments of all that was written
become 0, as they are at the start.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod, sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mlpconv.arch.layers import BatchNorm2d, Conv2d
from mlpconv.arch.network import Network
from mlpconv.backends.base import Floats, State
from mlpconv.backends.weights import last_block

BIAS, SPREAD = 0.1, 0.01


class Stage(NamedTuple):
    """A convolution of the last block with the normalisation behind it, if any. output: the layer whose output the
    ReLU takes."""

    conv: str
    norm: str | None
    output: str


def stages(network: Network) -> list[Stage]:
    """The convolutions of the last block that a ReLU follows; the last one's output are the class maps."""
    block, found = last_block(network), []
    layers = [(name, layer) for name, layer in network.walk() if name in block]
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
    """Whether the class maps come from the last block: what is not made so is not known here."""
    names = [name for name, layer in network.walk() if isinstance(layer, Conv2d | BatchNorm2d)]
    return bool(names and (found := stages(network)) and found[-1].output == names[-1])


def reopen(
    state: State, network: Network, classes: Sequence[int], outputs: Callable[[str], Floats], draw: np.random.Generator
) -> tuple[State, str]:
    """A training state in which ``classes`` are open again, and in words what was done.

    outputs: makes the output (N, C, h, w) of a layer on images that the network has seen. The state is not changed.
    """
    state = dict(state)
    done = []
    found = stages(network)
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
            reader = f"{found[index + 1].conv}.weight"
            shape = _shape(state, reader)
            values = abs(draw.normal(0, SPREAD, (shape[0], len(channels), *shape[2:])))
            _write(state, reader, (slice(None), channels), values)
        what = "the class's" if last and len(channels) == 1 else "the classes'" if last else "dead"
        done.append(f"{stage.conv}: {what} channel{'s' * (len(channels) > 1)} {', '.join(map(str, channels))} anew")
    return state, "; ".join(done)


def arrays_of(state: Mapping[str, object], name: str) -> list[str]:
    """The arrays of a training state that belong to a canonical weight: itself, and the optimiser's moments of it."""
    return [key for key in state if re.search(rf"(?:^|[/.]){re.escape(name)}(?:[/.]|$)", key)]


def _shape(state: State, name: str) -> tuple[int, ...]:
    return next(state[key].shape for key in arrays_of(state, name) if not key.startswith("optimizer"))


def _write(state: State, name: str, place: Any, value: float | npt.NDArray[np.float64]) -> None:
    for key in arrays_of(state, name):
        moment = key.startswith("optimizer")
        if state[key].ndim:  # how many steps there were counts for the whole array
            state[key] = state[key].copy()
            state[key][place] = 0.0 if moment else value
