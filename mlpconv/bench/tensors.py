"""The peak of the bytes of tensors, as PyTorch itself counts them."""

from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile


def peak_tensor_bytes(work: Callable[[], object], device: str = "cpu") -> int:
    """The peak of the bytes of all tensors that a function creates; those that existed before do not count.

    The profiler counts them, or CUDA's allocator.

    Args:
        work: The function.
        device: The device of the tensors.
    """
    if device.startswith("cuda"):
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        work()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        kept = work()  # until the profiler has ended, or its end would count as freed
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    events: list[Any] = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    del kept
    return peak
