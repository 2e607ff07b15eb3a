"""The machine's peak in matrix products, and the share of it that a training step uses.

The peak is measured, not read from a data sheet: the product of two square matrices by the library that our
convolutions use, in the fastest layout. Nominal FLOPs are those of the network as it is written; executed FLOPs exclude
what is folded away (common/resize_folding.py), outputs that no later layer reads (common/required_outputs.py) and
the products that the fast FIR algorithm (pytorch/fast_fir.py) or, in float32, Winograd's (pytorch/winograd.py) saves.
"""

import time
from math import prod
from statistics import median
from typing import Any

from mlpconv.arch.cost import count
from mlpconv.arch.layers import Conv2d, pair
from mlpconv.arch.network import Network
from mlpconv.backends import allocator
from mlpconv.backends.base import Precision
from mlpconv.backends.common.required_outputs import required_outputs
from mlpconv.backends.common.resize_folding import can_fold, fold_axes
from mlpconv.bench.contest import Job

REPEATS = 5


def nominal_flops(network: Network, size: int) -> int:
    """FLOPs of forward and backward pass for one image enlarged to ``size``², for the network as it is written."""
    return count(network, (network.input_channels, size, size)).training_flops


def executed_flops(
    network: Network, source: tuple[int, int], size: int, batch: int, precision: Precision = "float32"
) -> int:
    """FLOPs of forward and backward pass for one image, as executed by our PyTorch back end.

    Computing the folded kernel and the transforms of kernels, which cost the same for any batch, are not counted.

    Args:
        network: The network.
        source: (height, width) of the image.
        size: The side in pixels to which it is enlarged.
        batch: The images of a step.
        precision: The precision of the convolutions.
    """
    from mlpconv.backends.pytorch import winograd
    from mlpconv.backends.pytorch.fast_fir import row_products, suits

    shape = (network.input_channels, size, size)
    folded = can_fold(network, source, size)
    extents = required_outputs(network, shape, folded)
    convolutions = {name: layer for name, layer in network.walk() if isinstance(layer, Conv2d)}
    total = 0
    for index, layer in enumerate(layer for layer in count(network, shape).layers if layer.macs):
        macs, backward = layer.macs, layer.backward_macs
        if index == 0 and folded:
            macs = backward = _folded_macs(network, source, size, extents[layer.name].size)
        elif layer.name in extents:
            rows, columns = extents[layer.name].size
            computed, whole = rows * columns, prod(layer.output_shape[1:])
            macs, backward = macs // whole * computed, backward // whole * computed
            if convolutions[layer.name].depthwise:
                total += 2 * (macs + backward)
                continue
            kernel, stride = (pair(getattr(convolutions[layer.name], what)) for what in ("kernel_size", "stride"))
            weight = layer.output_shape[0], layer.input_shape[0], *kernel
            tiling = winograd.tiling(weight, stride, batch, (rows, columns)) if precision == "float32" else None
            if tiling:
                macs, backward = winograd.multiplications(tiling, layer.input_shape[0], layer.output_shape[0])
            elif suits(weight, stride, rows):
                done, direct = row_products(kernel[0], rows), kernel[0] * rows
                macs, backward = macs // direct * done, backward // direct * done
        total += 2 * (macs + backward)
    return total


def _folded_macs(network: Network, source: tuple[int, int], size: int, outputs: tuple[int, int]) -> int:
    """Forward MACs of the folded first convolution; the gradient of its weights costs the same, images need none."""
    _, first = next(network.walk())
    assert isinstance(first, Conv2d)
    kernel = prod(len(axis.matrix) for axis in fold_axes(first, source, size, outputs))
    return prod(outputs) * kernel * network.input_channels * first.out_channels


def share_of_peak(images_per_second: float, flops: int, peak_tflops: float) -> float:
    """The share, 0 to 1, of a peak in TFLOP/s that is used at ``flops`` for each image."""
    return images_per_second * flops / (peak_tflops * 1e12)


def measure(job: Job) -> dict[str, Any]:
    """Measure TFLOP/s of the matrix product in float32, and in bfloat16 if the device supports it (else None)."""
    allocator.keep_memory()
    import torch

    from mlpconv.backends.registry import get_backend

    device, precision = get_backend("torch").choose(job.device, None)
    side = job.peak_size

    def tflops(dtype: torch.dtype) -> float:
        left, right = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
        layouts = ((left, right), (left, right.t()), (left.t(), right))
        return max(2 * side**3 / _seconds(torch, device, *layout) / 1e12 for layout in layouts)

    return {"float32": tflops(torch.float32), "bfloat16": tflops(torch.bfloat16) if precision == "bfloat16" else None}


def _seconds(torch: Any, device: str, left: Any, right: Any) -> float:
    """The median seconds of several products; the first is not counted."""
    product = left @ right
    times = []
    for _ in range(REPEATS):
        _wait(torch, device)
        started = time.perf_counter()
        torch.matmul(left, right, out=product)
        _wait(torch, device)
        times.append(time.perf_counter() - started)
    return median(times)


def _wait(torch: Any, device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
