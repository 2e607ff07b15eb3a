"""Convolutions and max pooling as XLA computes them fastest on a CPU, as layers of Keras on JAX.

Compared with what Keras requests (JAX 0.10, the chapter's network): separate padding before a convolution makes a step
half as long again, a 1×1 convolution takes longer than the matrix product that it is, and the gradient of pooling
scatters value by value.
"""

from functools import partial
from itertools import product
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
from keras import layers, ops  # pyright: ignore[reportAttributeAccessIssue]

Sides = tuple[tuple[int, int], tuple[int, int]]


class Convolution(layers.Layer):
    """The convolution ``own`` of another model, perhaps a depthwise one, with its weights and this stride, on an input
    (B, H, W, C) with zeros at its sides: ((above, below), (left, right))."""

    def __init__(self, own: Any, strides: tuple[int, int], sides: Sides, dtype: str) -> None:
        super().__init__(name=f"{own.name}-placed", dtype=dtype)
        self.own, self.strides, self.sides, self.built = own, (strides[0], strides[1]), sides, True

    def call(self, x: Any) -> Any:
        own = self.own
        kernel = ops.convert_to_tensor(own.kernel)
        groups = kernel.shape[2] if isinstance(own, layers.DepthwiseConv2D) else 1
        if groups == 1 and own.kernel_size == self.strides == (1, 1) and self.sides == ((0, 0), (0, 0)):
            x = x @ kernel[0, 0]
        else:
            kernel = kernel.swapaxes(2, 3) if groups > 1 else kernel
            x = jax.lax.conv_general_dilated(
                x,
                kernel,
                self.strides,
                self.sides,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=groups,
            )
        return x + ops.convert_to_tensor(own.bias) if own.use_bias else x


class MaxPooling(layers.Layer):
    """The largest value of each window of (B, H, W, C), whose sides never win; the first of equals has the gradient."""

    def __init__(self, name: str, kernel: tuple[int, int], strides: tuple[int, int], sides: Sides, dtype: str) -> None:
        super().__init__(name=name, dtype=dtype)
        self.kernel, self.strides = (kernel[0], kernel[1]), (strides[0], strides[1])  # JAX keys its cache by them
        self.sides, self.built = sides, True

    def call(self, x: Any) -> Any:
        x = jnp.pad(x, ((0, 0), *self.sides, (0, 0)), constant_values=-jnp.inf)
        return max_pool(x, self.kernel, self.strides)


@partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def max_pool(x: Any, kernel: tuple[int, int], strides: tuple[int, int]) -> Any:
    """The largest value of each window; NaN where there is one in it."""
    return _forward(x, kernel, strides)[0]


def _forward(x: Any, kernel: tuple[int, int], strides: tuple[int, int]) -> tuple[Any, tuple[Any, Any]]:
    """The largest values, and what the gradient needs: where in its window each stands, and what the input's shape
    is."""
    largest, place = None, None
    for number, corner in enumerate(product(*map(range, kernel))):
        value = jax.lax.slice(x, *_taken(x.shape, corner, kernel, strides), (1, *strides, 1))
        if largest is None:
            largest, place = value, jnp.zeros(value.shape, jnp.uint8)
        else:
            wins = (value > largest) | (value != value)
            largest, place = jnp.where(wins, value, largest), jnp.where(wins, jnp.uint8(number), place)
    return largest, (place, jnp.empty((0, *x.shape[1:3], 0)))


def _backward(kernel: tuple[int, int], strides: tuple[int, int], kept: tuple[Any, Any], gradient: Any) -> tuple[Any]:
    place, (_, height, width, _) = kept[0], kept[1].shape
    shape = (gradient.shape[0], height, width, gradient.shape[3])
    whole = jnp.zeros(shape, gradient.dtype)
    for number, corner in enumerate(product(*map(range, kernel))):
        starts, ends = _taken(shape, corner, kernel, strides)
        widths = [
            (start, size - end, step - 1)
            for start, end, size, step in zip(starts, ends, shape, (1, *strides, 1), strict=True)
        ]
        own = jnp.where(place == number, gradient, 0)
        whole += jax.lax.pad(own, jnp.zeros((), gradient.dtype), widths)
    return (whole,)


max_pool.defvjp(_forward, _backward)  # pyright: ignore[reportFunctionMemberAccess]


def _taken(
    shape: tuple[int, ...], corner: tuple[int, ...], kernel: tuple[int, int], strides: tuple[int, int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """From where to where the values lie that are at ``corner`` of their windows."""
    ends = [
        start + (size - window) // step * step + 1
        for start, size, window, step in zip(corner, shape[1:3], kernel, strides, strict=True)
    ]
    return (0, *corner, 0), (shape[0], *ends, shape[3])
