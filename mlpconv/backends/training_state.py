"""The names of the arrays in a training state, and what each array holds.

PyTorch's names have slashes: ``weights/NAME``, ``optimizer/NAME/PART`` and ``metrics``. Keras' and MXNet's have dots:
``NAME``, ``optimizer.NAME.PART``, ``optimizer.step``, ``metrics`` or ``metrics.PART``. NAME is the canonical name of a
weight; PART is the optimizer's name for an array. The names are part of the checkpoint format.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Role = Literal["weight", "optimizer", "metrics"]


class StateKey(NamedTuple):
    """What an array of a training state holds.

    Arrays of the optimizer and of the metrics are 0 before the first step.
    """

    role: Role
    name: str = ""
    """The canonical weight that the array is or belongs to; empty where it belongs to none."""
    part: str = ""
    """Which of several arrays it is: "velocity", "exp_avg", "step", "loss"."""


@dataclass(frozen=True)
class StateNames:
    """How a back end names the arrays of its training states."""

    weights: str
    """What stands before the canonical name of a weight."""
    separator: str

    def weight(self, name: str) -> str:
        """The name of a canonical weight's array."""
        return f"{self.weights}{name}"

    def optimizer(self, part: str, name: str = "") -> str:
        """The name of an array that the optimizer keeps, for the parameter ``name`` or, without one, for all."""
        return self.separator.join(["optimizer", *filter(None, [name, part])])

    def metrics(self, part: str = "") -> str:
        """The name of the metric sums."""
        return self.separator.join(["metrics", *filter(None, [part])])


SLASHED = StateNames("weights/", "/")
DOTTED = StateNames("", ".")


def parse_key(key: str) -> StateKey:
    """What the array with this name holds; the inverse of ``StateNames``, for the states of all back ends."""
    head, slash, rest = key.partition("/")
    if slash and head == "weights":
        return StateKey("weight", rest)
    separator = "/" if slash else "."
    head, _, rest = key.partition(separator)
    match head:
        case "metrics":
            return StateKey("metrics", part=rest)
        case "optimizer":
            name, _, part = rest.rpartition(separator)
            return StateKey("optimizer", name, part)
        case _:
            return StateKey("weight", key)
