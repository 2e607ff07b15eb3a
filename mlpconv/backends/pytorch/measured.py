"""What PyTorch itself counts of a network: its parameters, FLOPs and memory."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from mlpconv import hardware


def count_parameters(module: Any) -> int:
    """The parameters of a ``Model.native``."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_flops(module: Any, input_shape: tuple[int, int, int], device: str) -> int:
    """The FLOPs of one image's forward pass through a ``Model.native``.

    Args:
        module: The module; it is set to evaluation mode.
        input_shape: (channels, height, width) of the image.
        device: The device of the module.
    """
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module.eval()(torch.zeros(1, *input_shape, device=device))
    return counter.get_total_flops()


def warm_up(device: str) -> None:
    """Run a convolution, so that the memory that PyTorch takes at its first one does not count for a network."""
    x = torch.zeros(1, 3, 8, 8, device=device, requires_grad=True)
    torch.nn.functional.conv2d(x, torch.zeros(4, 3, 3, 3, device=device)).sum().backward()


def memory_in_use(device: str) -> int | None:
    """The bytes in use now, from which a peak is counted.

    On a GPU they are what PyTorch's allocator gave out, else what is resident; None if the system does not report it.
    """
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    return hardware.resident_bytes()


def peak_memory(device: str) -> int | None:
    """The most bytes in use, counted as in ``memory_in_use``: on a GPU since that call, else in the process's life."""
    return torch.cuda.max_memory_allocated(device) if device.startswith("cuda") else hardware.peak_resident_bytes()
