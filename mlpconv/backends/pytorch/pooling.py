"""Max pooling and the ReLU behind it, as one operation for PyTorch's gradient on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 16


class PooledReLU:
    """relu(max_pool(x)), for x (B, C, H, W). It keeps no input: only the input's shape matters to the gradient."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        self.pool = pool

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return F.relu_(self.pool(x))
        pool = self.pool
        return _PooledReLU.apply(x, pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode)  # pyright: ignore[reportReturnType]


class _PooledReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool) -> Tensor:
        pooled, indices = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
        F.relu_(pooled)
        ctx.geometry = [each if isinstance(each, tuple) else (each, each) for each in (kernel, stride, padding)]
        ctx.ceil_mode, ctx.like = ceil_mode, x.new_empty(0)
        ctx.shape, ctx.strides = x.shape, x.stride()
        ctx.save_for_backward(pooled, indices)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        pooled, indices = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradients[0], pooled, 0)
        found = ctx.like.new_empty_strided(ctx.shape, ctx.strides)
        # Some images at a time, whose gradient stays in the cache between its zeroing and what is written into it.
        for parts in zip(*(each.split(CHUNK) for each in (gradient, found, indices)), strict=True):
            part, target, places = parts
            torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
                part, target, *ctx.geometry, (1, 1), ctx.ceil_mode, places, grad_input=target
            )
        return found, None, None, None, None
