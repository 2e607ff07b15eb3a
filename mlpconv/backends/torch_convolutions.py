"""Convolutions in a row, with their ReLUs, as one operation for PyTorch's gradient.

An mlpconv block is three convolutions with a ReLU between each two. On a CPU, oneDNN applies a ReLU while it writes a
convolution's output; and on the way back, a gradient that only this operation holds is masked where it lies.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Parameters = Callable[[], tuple[Tensor, Tensor | None]]
Size = tuple[int, int]


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
            x = _convolve(x, convolution, weight.to(x.dtype), bias if bias is None else bias.to(x.dtype))
        return x


def _convolve(x: Tensor, convolution: Convolution, weight: Tensor, bias: Tensor | None) -> Tensor:
    _, stride, padding, relu = convolution
    if is_fused(x):
        after = "relu" if relu else "none"
        return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, padding, stride, (1, 1), 1, after, [], "")
    x = F.conv2d(x, weight, bias, stride, padding)
    return F.relu_(x) if relu else x


def is_fused(x: Tensor) -> bool:
    """Whether oneDNN computes on ``x``."""
    return x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16) and torch.backends.mkldnn.is_available()


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, convolutions: Sequence[Convolution], *parameters: Tensor | None) -> Tensor:
        weights = [weight.to(x.dtype) for weight in parameters[::2] if weight is not None]
        biases = [bias if bias is None else bias.to(x.dtype) for bias in parameters[1::2]]
        maps = [x]
        for each, weight, bias in zip(convolutions, weights, biases, strict=True):
            x = _convolve(x, each, weight, bias)
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
            asked = [index > 0 or ctx.needs_input_grad[0], True, ctx.biases[index]]
            sizes = [len(weight)] if ctx.biases[index] else None
            gradient, *own = torch.ops.aten.convolution_backward(
                gradient, before, weight, sizes, each.stride, each.padding, (1, 1), False, (0, 0), 1, asked
            )
            found = [*own, *found]
        typed = [g if g is None else g.to(t) for g, t in zip(found, ctx.types, strict=True)]
        return gradient, None, *typed
