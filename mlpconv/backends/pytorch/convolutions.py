"""Convolutions in a row, with their ReLUs, as one operation for PyTorch's gradient.

An mlpconv block is three convolutions with a ReLU between each two. On a CPU, oneDNN applies a ReLU while it writes a
convolution's output; and on the way back, a gradient that only this operation holds is masked where it lies.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpconv.backends.pytorch import fast_fir

Parameters = Callable[[], tuple[Tensor, Tensor | None]]
Size = tuple[int, int]

COMPUTES_BFLOAT16 = torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
"""Whether oneDNN has convolutions in bfloat16 for this processor: it needs AVX-512, AVX-NE-CONVERT, or Arm's bf16.

Without them PyTorch's own convolution computes the same, about five times slower than in float32.
"""


class Convolution(NamedTuple):
    """One convolution. parameters: gives weight (out, in, kh, kw) and bias (out,) of the moment. relu: behind it."""

    parameters: Parameters
    stride: Size
    padding: Size
    relu: bool


class Convolutions:
    """Convolutions, one after the other. Input: float (B, C, H, W); its type is the one that is computed in."""

    def __init__(self, convolutions: Sequence[Convolution]) -> None:
        self.convolutions = tuple(convolutions)

    def __call__(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        parameters = [convolution.parameters() for convolution in self.convolutions]
        if torch.is_grad_enabled() and is_fused(x):
            return _Fused.apply(x, self.convolutions, *(each for pair in parameters for each in pair))  # pyright: ignore[reportReturnType]
        for convolution, (weight, bias) in zip(self.convolutions, parameters, strict=True):
            x = _convolve(x, convolution, weight, bias if bias is None else bias.to(x.dtype))
        return x


def _convolve(x: Tensor, convolution: Convolution, weight: Tensor, bias: Tensor | None) -> Tensor:
    _, stride, padding, relu = convolution
    if not is_fused(x):
        x = F.conv2d(x, weight.to(x.dtype), bias, stride, padding)
        return F.relu_(x) if relu else x

    def direct(x: Tensor, weight: Tensor, bias: Tensor | None, rows: int = 0, after: str = "none") -> Tensor:
        padded, weight = (rows, padding[1]), weight.to(x.dtype)
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, padded, stride, (1, 1), 1, after, [], "")

    if _is_fast(x, convolution, weight):
        x = fast_fir.convolve(x, weight, bias, padding[0], direct)
        return F.relu_(x) if relu else x
    return direct(x, weight, bias, padding[0], "relu" if relu else "none")


def _is_fast(x: Tensor, convolution: Convolution, weight: Tensor) -> bool:
    rows = x.shape[2] + 2 * convolution.padding[0] - weight.shape[2] + 1
    return fast_fir.suits(tuple(weight.shape), convolution.stride, rows)


def is_fused(x: Tensor) -> bool:
    """Whether oneDNN computes on ``x``."""
    if x.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    return x.dtype == torch.float32 or (x.dtype == torch.bfloat16 and COMPUTES_BFLOAT16)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolutions: Sequence[Convolution], *parameters: Tensor | None) -> Tensor:
        weights = [weight for weight in parameters[::2] if weight is not None]
        biases = [bias if bias is None else bias.to(x.dtype) for bias in parameters[1::2]]
        maps = [x]
        for index, (each, bias) in enumerate(zip(convolutions, biases, strict=True)):
            if not _is_fast(x, each, weights[index]):
                weights[index] = weights[index].to(x.dtype)
            x = _convolve(x, each, weights[index], bias)
            maps.append(x)
        if not convolutions[-1].relu:
            maps.pop()
        ctx.convolutions, ctx.biases = convolutions, [bias is not None for bias in biases]
        ctx.types = [parameter if parameter is None else parameter.dtype for parameter in parameters]
        ctx.save_for_backward(*weights, *maps)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        (gradient,) = gradients
        count = len(ctx.convolutions)
        weights, maps = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        found: list[Tensor | None] = []
        for index in reversed(range(count)):
            each, weight, before = ctx.convolutions[index], weights[index], maps[index]
            if each.relu:
                after = maps[index + 1]
                # The first gradient is somebody else's, those after it are ours to overwrite.
                target = gradient if index < count - 1 else torch.empty_like(after)
                gradient = torch.ops.aten.threshold_backward.grad_input(gradient, after, 0, grad_input=target)
            below = index > 0 or ctx.needs_input_grad[0]
            gradient, *own = _gradients(gradient, before, weight, ctx.biases[index], each, below)  # pyright: ignore[reportArgumentType]
            found = [*own, *found]
        typed = [g if g is None else g.to(t) for g, t in zip(found, ctx.types, strict=True)]
        return gradient, None, *typed


def _gradients(
    gradient: Tensor, before: Tensor, weight: Tensor, bias: bool, each: Convolution, below: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Of a convolution's input (if ``below``), weight and bias, by the gradient of its output."""
    if not _is_fast(before, each, weight):
        return _direct_gradients(gradient, before, weight, bias, each, below)
    rowless = each._replace(padding=(0, each.padding[1]))

    def direct(gradient: Tensor, before: Tensor, weight: Tensor, bias: bool) -> fast_fir.Gradients:
        found, of_weight, of_bias = _direct_gradients(gradient, before, weight.to(before.dtype), bias, rowless, True)
        assert found is not None
        return found, of_weight, of_bias

    return fast_fir.gradients(gradient, before, weight, bias, each.padding[0], direct)


def _direct_gradients(
    gradient: Tensor, before: Tensor, weight: Tensor, bias: bool, each: Convolution, below: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    def backward(output: Tensor, x: Tensor, *asked: bool) -> list[Tensor]:
        sizes = [len(weight)] if asked[2] else None
        return torch.ops.aten.convolution_backward(
            output, x, weight, sizes, each.stride, each.padding, (1, 1), False, (0, 0), 1, asked
        )

    found = backward(gradient, before, True, False, False)[0] if below else None
    # In float32, oneDNN needs up to twice the time for a weight's gradient where it also sums the bias's.
    apart = bias and gradient.dtype == torch.float32
    of_bias = gradient.sum((0, 2, 3)) if apart else None
    if weight.shape[2:] == each.stride == (1, 1) and each.padding == (0, 0):
        gradient, before = _flat(gradient), _flat(before)
    _, of_weight, summed = backward(gradient, before, False, True, bias and not apart)
    return found, of_weight, of_bias if apart else summed


def _flat(x: Tensor) -> Tensor:
    """(B, C, H, W) as (maps, C, 1, positions), without a copy: as many maps as suits oneDNN's gradient of a weight.

    It is up to twice as slow on maps whose size has few divisors, as 53 has.
    """
    maps = torch.get_num_threads() if x.dtype == torch.float32 else len(x)
    maps = maps if len(x) % maps == 0 else 1
    rows = x.permute(0, 2, 3, 1).contiguous()
    return rows.view(maps, 1, -1, x.shape[1]).permute(0, 3, 1, 2)
