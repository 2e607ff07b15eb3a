"""Max pooling followed by an activation as one operation of PyTorch's autograd on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mlpconv.backends.pytorch import private_api
from mlpconv.backends.pytorch.activations import activate
from mlpconv.backends.pytorch.private_api import Activation

GRADIENT_IMAGES = 16
"""Images whose gradient is computed at once: it stays in the cache between its zeroing and the writes into it."""


class PooledReLU:
    """relu(max_pool(x)) for x (B, C, H, W). It does not save its input: the gradient needs only the input's shape.

    Args:
        pool: The max pooling.
        activation: "relu" or "relu6".
    """

    def __init__(self, pool: nn.MaxPool2d, activation: Activation = "relu") -> None:
        self.pool = pool
        self.activation: Activation = activation

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not torch.is_grad_enabled():
            return activate(self.activation, self.pool(x))
        pool = self.pool
        geometry = pool.kernel_size, pool.stride, pool.padding
        return _PooledReLU.apply(x, *geometry, pool.ceil_mode, self.activation)  # pyright: ignore[reportReturnType]


class _PooledReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, kernel: Any, stride: Any, padding: Any, ceil_mode: bool, activation: Activation
    ) -> Tensor:
        pooled, indices = F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil_mode, return_indices=True)
        activate(activation, pooled)
        ctx.geometry = [size if isinstance(size, tuple) else (size, size) for size in (kernel, stride, padding)]
        ctx.ceil_mode, ctx.activation, ctx.like = ceil_mode, activation, x.new_empty(0)
        ctx.shape, ctx.strides = x.shape, x.stride()
        ctx.save_for_backward(pooled, indices)
        return pooled

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        pooled, indices = ctx.saved_tensors
        of_pooled = private_api.activation_gradient(ctx.activation, gradients[0], pooled)
        of_input = ctx.like.new_empty_strided(ctx.shape, ctx.strides)
        parts = (tensor.split(GRADIENT_IMAGES) for tensor in (of_pooled, of_input, indices))
        for part, into, part_indices in zip(*parts, strict=True):
            private_api.max_pool_gradient(part, into, part_indices, ctx.geometry, ctx.ceil_mode, into)
        return of_input, None, None, None, None, None
