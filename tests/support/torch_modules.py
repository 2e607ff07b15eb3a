"""A network as PyTorch modules, and PyTorch's memory use, to compare shapes, costs and memory with."""

import weakref
from typing import assert_never

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
    ReLU6,
    Sigmoid,
)

torch.set_num_threads(1)


def torch_layers(network, in_place="training"):
    """The network's layers in order, as modules; input channels come from running them, not from shape inference.

    in_place: where ReLU works in place: "training" (overwriting nothing that a gradient needs), "prediction"
    (overwriting all but the batch), "never". ReLU6 never does.
    """
    modules = []
    value = torch.zeros(2, *network.input_shape)
    made_by = None
    for _, layer in network.walk():
        overwrite = {
            "training": made_by not in (None, Sigmoid, ReLU),
            "prediction": made_by is not None,
            "never": False,
        }[in_place]
        module = _module(layer, value.shape[1], overwrite)
        if not isinstance(layer, Flatten | (Dropout if in_place == "prediction" else Flatten)):
            made_by = type(layer)
        with torch.no_grad():
            value = module(value)
        modules.append(module)
    return modules


def _module(layer, channels, overwrite):
    match layer:
        case Conv2d():
            groups = channels if layer.depthwise else 1
            return nn.Conv2d(channels, layer.out_channels, *layer.window, groups=groups, bias=layer.bias)
        case BatchNorm2d():
            return nn.BatchNorm2d(channels, layer.eps, layer.momentum)
        case ReLU():
            return nn.ReLU(inplace=overwrite)
        case ReLU6():
            return nn.ReLU6()
        case Sigmoid():
            return nn.Sigmoid()
        case MaxPool2d():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, ceil_mode=layer.ceil_mode)
        case AvgPool2d():
            return nn.AvgPool2d(
                layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad
            )
        case Dropout():
            return nn.Dropout(layer.p)
        case GlobalAvgPool2d():
            return nn.AdaptiveAvgPool2d(1)
        case Flatten():
            return nn.Flatten()
        case Linear():
            return nn.Linear(channels, layer.out_features, bias=layer.bias)
        case _:
            assert_never(layer)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the allocated values, each storage once; ``peak`` since it was last set.

    A value is a tensor whose first side is the batch, so the batch must be larger than any side of a parameter. The
    batch itself and the model's own tensors are not counted.
    """

    def __init__(self, model, images):
        super().__init__()
        self.known = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers(), images]}
        self.batch = len(images)
        self.live = {}
        self.peak = 0

    @property
    def now(self):
        return sum(self.live.values())

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor) and tensor.shape[:1] == (self.batch,):
                storage = tensor.untyped_storage()
                key = storage._cdata
                if key not in self.known and key not in self.live:
                    self.live[key] = storage.nbytes()
                    weakref.finalize(storage, self.live.pop, key)
        self.peak = max(self.peak, self.now)
        return result


def saved_bytes(model, images):
    """Bytes that the forward pass leaves for the backward pass, each storage once, without parameters and the batch."""
    known = {tensor.untyped_storage()._cdata for tensor in [*model.parameters(), *model.buffers(), images]}
    saved = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in known:
            saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(images)
    total = sum(storage.nbytes() for storage in saved.values())
    assert output.requires_grad or not saved
    return total


class _Loss(torch.autograd.Function):
    """A loss that saves nothing and whose gradient is one new tensor, freed as soon as it is used."""

    @staticmethod
    def forward(ctx, output):
        ctx.shape = output.shape
        return output.new_zeros(())

    @staticmethod
    def backward(ctx, gradient):
        return torch.ones(ctx.shape, device=gradient.device)


def backward_peak(model, images):
    """The largest number of bytes in use during the backward pass: saved values and gradients of values."""
    with LiveBytes(model, images) as live:
        loss = _Loss.apply(model(images))
        live.peak = live.now
        loss.backward()
    return live.peak


def prediction_peak(model, images):
    """The largest number of bytes in use during prediction, without the batch."""
    with torch.no_grad(), LiveBytes(model, images) as live:
        value = images
        for layer in model:
            value = layer(value)
    return live.peak
