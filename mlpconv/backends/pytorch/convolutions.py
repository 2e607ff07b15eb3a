"""Consecutive convolutions with their activations as one operation of PyTorch's autograd.

An mlpconv block is three convolutions, each with a ReLU. On a CPU, oneDNN applies a ReLU or ReLU6 while it writes the
output of a convolution. In the backward pass, gradients that only this operation uses are masked in place.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpconv.backends.pytorch import fast_fir, private_api, scratch, winograd
from mlpconv.backends.pytorch.activations import activate
from mlpconv.backends.pytorch.private_api import Activation

Parameters = Callable[[], tuple[Tensor, Tensor | None]]
Size = tuple[int, int]

COMPUTES_BFLOAT16 = private_api.has_bfloat16_convolutions()
"""Whether oneDNN has convolutions in bfloat16 for this processor: it needs AVX-512, AVX-NE-CONVERT, or Arm's bf16.

Without them PyTorch's own convolution computes the same about five times slower than in float32.
"""


class Convolution(NamedTuple):
    """One convolution, and the activation that follows it."""

    parameters: Parameters
    """Returns the current weight (out, in, kh, kw) and bias (out,)."""
    stride: Size
    padding: Size
    activation: Activation = "none"
    groups: int = 1
    """The number of channels if it is depthwise, whose weight is (out, 1, kh, kw)."""


class Convolutions:
    """Consecutive convolutions of float (B, C, H, W); they compute in the dtype of their input."""

    def __init__(self, convolutions: Sequence[Convolution]) -> None:
        self.convolutions = tuple(convolutions)

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        parameters = [convolution.parameters() for convolution in self.convolutions]
        if torch.is_grad_enabled() and is_fused(x):
            flat = (tensor for pair in parameters for tensor in pair)
            return _Fused.apply(x, self.convolutions, *flat)  # pyright: ignore[reportReturnType]
        for convolution, (weight, bias) in zip(self.convolutions, parameters, strict=True):
            x = _convolve(x, convolution, weight, bias if bias is None else bias.to(x.dtype))
        return x


def _convolve(x: Tensor, convolution: Convolution, weight: Tensor, bias: Tensor | None) -> Tensor:
    _, stride, padding, activation, groups = convolution
    if not is_fused(x):
        return activate(activation, F.conv2d(x, weight.to(x.dtype), bias, stride, padding, 1, groups))

    def direct(
        x: Tensor, weight: Tensor, bias: Tensor | None, rows: int = 0, activation: Activation = "none"
    ) -> Tensor:
        sides = rows, padding[1]
        options: Any = {"groups": groups, "activation": activation}
        return private_api.convolution(x, weight.to(x.dtype), bias, sides, stride, **options)

    if tiling := _tiling(x, convolution, weight):
        if private_api.is_fake(x):
            with scratch.uses(partial(winograd.scratch_bytes, tiling, *weight.shape[1::-1], False)):
                x = direct(x, weight, bias, padding[0])
        else:
            x = winograd.convolve(x, weight, bias, padding, tiling)
    elif _is_fast(x, convolution, weight):
        x = fast_fir.convolve(x, weight, bias, padding[0], direct)
    else:
        return direct(x, weight, bias, padding[0], activation)
    return activate(activation, x)


def _is_fast(x: Tensor, convolution: Convolution, weight: Tensor) -> bool:
    if convolution.groups > 1:
        return False
    return fast_fir.suits(tuple(weight.shape), convolution.stride, _output_size(x, convolution, weight)[0])


def _tiling(x: Tensor, convolution: Convolution, weight: Tensor) -> winograd.Tiling | None:
    """How Winograd's algorithm divides the output; None in bfloat16, and where it is slower.

    A prediction of the memory needs the same operations for every batch, so it sees the convolution as one operation.
    """
    if x.dtype != torch.float32 or convolution.groups > 1:
        return None
    batch = winograd.ROWS if private_api.is_fake(x) else len(x)
    return winograd.tiling(tuple(weight.shape), convolution.stride, batch, _output_size(x, convolution, weight))


def _output_size(x: Tensor, convolution: Convolution, weight: Tensor) -> Size:
    """At stride 1."""
    height, width = (x.shape[i] + 2 * convolution.padding[i - 2] - weight.shape[i] + 1 for i in (2, 3))
    return height, width


def is_fused(x: Tensor) -> bool:
    """Whether oneDNN computes the convolutions of ``x``."""
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and COMPUTES_BFLOAT16)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolutions: Sequence[Convolution], *parameters: Tensor | None) -> Tensor:
        weights = [weight for weight in parameters[::2] if weight is not None]
        biases = [bias if bias is None else bias.to(x.dtype) for bias in parameters[1::2]]
        maps = [x]
        for index, (convolution, bias) in enumerate(zip(convolutions, biases, strict=True)):
            if not _is_fast(x, convolution, weights[index]):
                weights[index] = weights[index].to(x.dtype)
            x = _convolve(x, convolution, weights[index], bias)
            maps.append(x)
        if convolutions[-1].activation == "none":
            maps.pop()
        ctx.convolutions, ctx.biases = convolutions, [bias is not None for bias in biases]
        ctx.types = [parameter if parameter is None else parameter.dtype for parameter in parameters]
        ctx.save_for_backward(*weights, *maps)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        gradient: Any = gradients[0]
        count = len(ctx.convolutions)
        weights, maps = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        of_parameters: list[Tensor | None] = []
        for index in reversed(range(count)):
            convolution, weight, x = ctx.convolutions[index], weights[index], maps[index]
            if convolution.activation != "none":
                output = maps[index + 1]
                # The first gradient belongs to autograd; the later ones are used here alone and may be overwritten.
                into = gradient if index < count - 1 else torch.empty_like(output)
                gradient = private_api.activation_gradient(convolution.activation, gradient, output, into)
            needs_input = index > 0 or ctx.needs_input_grad[0]
            gradient, *latest = _gradients(gradient, x, weight, ctx.biases[index], convolution, needs_input)
            of_parameters = [*latest, *of_parameters]
        typed = [g if g is None else g.to(t) for g, t in zip(of_parameters, ctx.types, strict=True)]
        return gradient, None, *typed


def _gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, bias: bool, convolution: Convolution, needs_input: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """The gradients of a convolution's input (where it is needed), weight and bias, by the gradient of its output."""
    if tiling := _tiling(x, convolution, weight):
        if not private_api.is_fake(x):
            return winograd.gradients(gradient, x, weight, bias, convolution.padding, tiling)
        with scratch.uses(partial(winograd.scratch_bytes, tiling, *weight.shape[1::-1], True)):
            return _direct_gradients(gradient, x, weight, bias, convolution, needs_input)
    if not _is_fast(x, convolution, weight):
        return _direct_gradients(gradient, x, weight, bias, convolution, needs_input)
    without_rows = convolution._replace(padding=(0, convolution.padding[1]))

    def direct(gradient: Tensor, x: Tensor, weight: Tensor, bias: bool) -> fast_fir.Gradients:
        of_input, of_weight, of_bias = _direct_gradients(gradient, x, weight.to(x.dtype), bias, without_rows, True)
        assert of_input is not None
        return of_input, of_weight, of_bias

    return fast_fir.gradients(gradient, x, weight, bias, convolution.padding[0], direct)


def _direct_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor, bias: bool, convolution: Convolution, needs_input: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    geometry, groups = (convolution.stride, convolution.padding), convolution.groups
    of_input = None
    if needs_input:
        wanted = (True, False, False)
        of_input, _, _ = private_api.convolution_gradients(gradient, x, weight, *geometry, wanted, groups)
    # In float32, oneDNN needs up to twice the time for the gradient of a weight if it also computes that of the bias.
    separate_bias = bias and gradient.dtype == torch.float32
    of_bias = gradient.sum((0, 2, 3)) if separate_bias else None
    if weight.shape[2:] == convolution.stride == (1, 1) and convolution.padding == (0, 0) and groups == 1:
        gradient, x = _flat(gradient), _flat(x)
    wanted = (False, True, bias and not separate_bias)
    _, of_weight, summed = private_api.convolution_gradients(gradient, x, weight, *geometry, wanted, groups)
    assert of_weight is not None
    return of_input, of_weight, of_bias if separate_bias else summed


def _flat(x: Tensor) -> Tensor:
    """(B, C, H, W) as (maps, C, 1, positions), without a copy, with the number of maps that is fastest.

    oneDNN's gradient of a weight is up to twice as slow on maps whose size has few divisors, such as 53.
    """
    maps = torch.get_num_threads() if x.dtype == torch.float32 else len(x)
    maps = maps if len(x) % maps == 0 else 1
    rows = x.permute(0, 2, 3, 1).contiguous()
    return rows.view(maps, 1, -1, x.shape[1]).permute(0, 3, 1, 2)
