"""Memory in PyTorch: the peak of a step, predicted without computing it, and the free memory of the device.

The step runs on fake tensors, which have shapes but no values, and every storage counts from the operation that creates
it until its last reference is gone. The prediction therefore follows the program, with all its fast paths. Memory that
an operation allocates and frees internally is not seen, unless it is announced to ``mlpconv.backends.pytorch.scratch``.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from mlpconv import errors, hardware
from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Images, Precision, StepPlan
from mlpconv.backends.pytorch import private_api
from mlpconv.backends.pytorch.model import EVALUATION_BATCH, TorchModel
from mlpconv.backends.pytorch.scratch import ScratchBytes, in_use
from mlpconv.optimizers import Optimizer

SMALL_BATCH, LARGE_BATCH = 4, 8
"""The two batch sizes that are run; in a batch of one, PyTorch confuses memory layouts."""
_ATTEMPTS = 3


class _MemoryHistory(private_api.TorchDispatchMode):
    """The bytes of all storages that exist after each operation, and the memory that it used while it ran."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[tuple[int, tuple[ScratchBytes, ...]]] = []
        self._alive = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        # Decompose composite operations, such as max pooling in inference, so that their intermediate tensors are seen.
        if private_api.decomposes(func):
            with self:
                return private_api.decomposition(func)(*args, **kwargs)
        result = func(*args, **kwargs)
        # A view creates no storage, and the images' storage existed before.
        for tensor in () if func.is_view else private_api.tree_iter(result):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.history.append((self._alive, in_use()))
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        identity, size = private_api.storage_identity(storage), storage.nbytes()
        if identity not in self._counted:
            self._counted.add(identity)
            self._alive += size
            weakref.finalize(storage, self._release, identity, size).atexit = False

    def _release(self, identity: int, size: int) -> None:
        self._counted.discard(identity)
        self._alive -= size


def peak_bytes(work: Callable[[int], object]) -> Callable[[int], int]:
    """A function from a batch size to the peak bytes of the tensors that ``work(batch size)`` has at the same time.

    Args:
        work: Creates all its tensors itself, reads no values, and performs the same operations for every batch size, so
            that the bytes after each operation are a linear function of the batch size.
    """
    # Something that runs only once, such as the finalizer of an object that is collected meanwhile, may add operations.
    for _ in range(_ATTEMPTS - 1):
        small_history, large_history = _history(work, SMALL_BATCH), _history(work, LARGE_BATCH)
        if len(small_history) == len(large_history):
            break
    else:
        small_history, large_history = _history(work, SMALL_BATCH), _history(work, LARGE_BATCH)
    assert len(small_history) == len(large_history), (len(small_history), len(large_history))
    lines = {
        ((large - small) // (LARGE_BATCH - SMALL_BATCH), small, scratch)
        for (small, scratch), (large, _) in zip(small_history, large_history, strict=True)
    }

    def peak(batch: int) -> int:
        return max(
            small + per_image * (batch - SMALL_BATCH) + sum(used(batch) for used in scratch)
            for per_image, small, scratch in lines
        )

    return peak


def _history(work: Callable[[int], object], batch: int) -> list[tuple[int, tuple[ScratchBytes, ...]]]:
    with private_api.FakeTensorMode(allow_non_fake_inputs=True), _MemoryHistory() as memory:
        result = work(batch)
    del result
    return memory.history


def available_memory(device: str) -> int | None:
    """Bytes that are free on the device now; None where that is not known."""
    return torch.cuda.mem_get_info(device)[0] if device.startswith("cuda") else hardware.available_memory()


def training_bytes(
    network: Network,
    preprocess: Preprocess,
    source: tuple[int, int],
    plan: Callable[[int], StepPlan],
    *,
    optimizer: Optimizer,
    precision: Precision,
    device: str = "cpu",
) -> Callable[[int], int]:
    """See ``Backend.training_bytes``: runs the step itself on tensors without values."""

    def step(batch: int) -> object:
        model = TorchModel(network, preprocess, optimizer, precision, device)
        model.attach(_blank(network, source, batch), np.zeros(batch, np.int64))
        model.train_step(plan(batch))
        return model

    return peak_bytes(step)


def prediction_bytes(
    network: Network,
    preprocess: Preprocess,
    source: tuple[int, int],
    *,
    optimizer: Optimizer | None = None,
    precision: Precision,
    device: str = "cpu",
) -> Callable[[int], int]:
    """See ``Backend.prediction_bytes``; a model evaluates at most EVALUATION_BATCH images at once."""

    def predict(batch: int) -> object:
        model = TorchModel(network, preprocess, optimizer, precision, device)
        model.evaluated(_blank(network, source, batch))
        return model

    peak = peak_bytes(predict)
    return lambda images: peak(min(images, EVALUATION_BATCH))


def _blank(network: Network, source: tuple[int, int], count: int) -> Images:
    return np.zeros((count, *source, network.input_channels), np.uint8)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; on a CPU, PyTorch has no error type for it."""
    return isinstance(error, torch.OutOfMemoryError) or errors.is_out_of_memory(error)


def watch_memory(device: str) -> Callable[[], int | None]:
    """See ``Backend.watch_memory``: CUDA's allocator measures it; on other devices nothing does."""
    if not device.startswith("cuda"):
        return lambda: None
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: torch.cuda.max_memory_allocated(device)
