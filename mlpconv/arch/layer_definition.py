"""What every layer defines once: the base class, the traits, and the protocol that the type checker compares with.

The layers themselves are in ``layers.py``. Everything else (shapes, costs, memory, names, diagrams, back ends) asks the
layer, so that a new layer needs no change there.
"""

from typing import Literal, NamedTuple, Protocol

import msgspec

from mlpconv.errors import NetworkError

Size = int | tuple[int, int]
"""A window, stride or padding: one integer for both axes, or (height, width)."""
Shape = tuple[int, ...]
"""The shape of one image's values, without the batch: (C, H, W) or (features,)."""


def pair(size: Size) -> tuple[int, int]:
    """(height, width) of a window, stride or padding given as one integer or as both."""
    return (size, size) if isinstance(size, int) else size


def by(size: Size) -> str:
    """A window as text: 3 and (3, 3) are both "3×3"."""
    return "{}×{}".format(*pair(size))


def show(shape: Shape) -> str:
    """A shape as text: "96×54×54"."""
    return "×".join(map(str, shape))


class Window(NamedTuple):
    """The windows that a layer moves over a map, each as (height, width)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    """On both sides of an axis."""

    @property
    def settings(self) -> str:
        """Stride and padding as they follow a layer's label: ", stride 4, pad 2"; nothing for the usual 1 and 0."""
        return "".join(
            f", {word} {size[0] if size[0] == size[1] else by(size)}"
            for word, size, usual in (("stride", self.stride, (1, 1)), ("pad", self.padding, (0, 0)))
            if size != usual
        )

    def positions(
        self, before: Shape, image: Shape, word: Literal["kernel", "window"], ceil_mode: bool = False
    ) -> tuple[int, int]:
        """The rows and columns of windows on a map.

        Args:
            before: (C, H, W) of the map.
            image: (C, H, W) of the network's input, for the message.
            word: What the message calls the window.
            ceil_mode: Whether a last window that the edge cuts off counts.

        Raises:
            NetworkError: The padded map is smaller than the window.
        """
        counts = []
        for size, kernel, stride, padding in zip(before[1:], *self, strict=True):
            free = size + 2 * padding - kernel
            if free < 0:
                missing = max(k - s for k, s in zip(self.kernel, before[1:], strict=True))
                remedy = f"padding={(missing + 1) // 2}" if word == "kernel" else "a smaller window"
                raise NetworkError(
                    f"a {by(self.kernel)} {word} does not fit the {show(before[1:])} map that a {show(image[1:])} "
                    f"image has here; use a larger image or {remedy}"
                )
            if ceil_mode:
                count = -(-free // stride) + 1
                # A window that would start in the padding after the map holds no pixel, so it is dropped.
                count -= (count - 1) * stride >= size + padding
            else:
                count = free // stride + 1
            counts.append(count)
        return counts[0], counts[1]


class Operations(msgspec.Struct, frozen=True, kw_only=True):
    """The operations of a layer for one image, by type. docs/costs.md states what counts as one."""

    multiplications: int = 0
    """Products of a weight and an input value, which are also the MACs."""
    additions: int = 0
    """Sums of such products, without the bias."""
    bias_additions: int = 0
    """Additions of a bias."""
    activation_ops: int = 0
    """Values computed by activation functions."""
    pooling_ops: int = 0
    """Comparisons of max pooling; sums and divisions of average pooling."""
    normalization_ops: int = 0
    """Multiplications and additions of normalization."""


Saves = Literal["input", "output", "nothing"]


class Traits(NamedTuple):
    """The properties of a layer type that do not depend on the settings of a layer."""

    stem: str
    """The automatic name: "conv" for conv1, conv2, …"""
    box: Literal["conv", "dense", "pool", "note", "other"]
    """How a diagram draws it. "note": in the box of a layer with weights before it, else as "other"."""
    output: Literal["new", "in place", "view"]
    """What its output is in PyTorch: a new tensor, its input overwritten where nothing else needs it, or a view."""
    saves: Saves
    """What it keeps for the backward pass."""
    elementwise: bool
    """Whether each output value depends on the input value at its own position only. Not so where statistics or random
    numbers are taken over the whole map: then a part of the output cannot be computed alone."""
    mixes_positions: bool
    """Whether each output value depends on the whole map."""
    can_die: bool = False
    """Whether it is an activation without a gradient for negative inputs: a class whose map is negative is dead."""
    pools_first: bool = False
    """Whether max pooling after it can be computed before it, with the same values and gradients."""
    identity_in_evaluation: bool = False
    """Whether it returns its input in evaluation."""
    saves_mask: bool = False
    """Whether it also keeps a mask of the size of its output for the backward pass."""
    index_bytes: int = 0
    """Bytes that it writes for each output value next to the value itself."""
    numbered: bool = True
    """Whether the first automatic name has a number: conv1, but gap."""


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """The base of all layers. What each layer defines is listed in ``LayerDefinition``; nothing has a default here."""


class LayerDefinition(Protocol):
    """The members of every layer. The type checker reports a layer that lacks one (``layers.definition``)."""

    @property
    def traits(self) -> Traits:
        """The properties of the layer type."""
        ...

    @property
    def label(self) -> str:
        """A short description for diagrams: "11×11 conv, 96, stride 4"."""
        ...

    @property
    def window(self) -> Window | None:
        """The windows that it moves over the map; None for a layer without windows."""
        ...

    def output_shape(self, before: Shape, image: Shape) -> Shape:
        """The shape of its output for one image.

        Args:
            before: The shape of its input.
            image: (C, H, W) of the network's input, for messages.

        Raises:
            NetworkError: The layer cannot be computed for this input.
        """
        ...

    def parameter_shapes(self, before: Shape) -> dict[str, Shape]:
        """The shapes of its parameters by the last part of their canonical name, in canonical order."""
        ...

    def statistic_shapes(self, before: Shape) -> dict[str, Shape]:
        """The shapes of its running statistics, which are weights but not parameters."""
        ...

    def operations(self, before: Shape, after: Shape) -> Operations:
        """The operations for one image with an input of shape ``before`` and an output of shape ``after``."""
        ...
