"""Activations in place, for PyTorch."""

from typing import Any, assert_never

import torch
from torch import Tensor
from torch.nn import functional as F

from mlpconv.backends.pytorch import private_api
from mlpconv.backends.pytorch.private_api import Activation


def activate(activation: Activation, x: Tensor) -> Tensor:
    """Apply an activation in place, outside of autograd."""
    match activation:
        case "none":
            return x
        case "relu":
            return F.relu_(x)
        case "relu6":
            return F.hardtanh_(x, 0, 6)
        case _:
            assert_never(activation)


class OverwritingReLU6:
    """relu6(x), which overwrites x, and keeps nothing else for its gradient: PyTorch's keeps a copy of x."""

    def __call__(self, x: Tensor) -> Tensor:
        if not torch.is_grad_enabled():
            return activate("relu6", x)
        return _Overwriting.apply(x)  # pyright: ignore[reportReturnType]


class _Overwriting(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        activate("relu6", x)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x)
        return x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return private_api.activation_gradient("relu6", gradients[0], *ctx.saved_tensors)
