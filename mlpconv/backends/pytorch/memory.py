"""Memory in PyTorch: what a step will have alive at its peak, found without doing it; what the device has left.

The step is carried out on fake tensors, which have shapes and no values, and every storage is counted from the
operation that makes it until its last owner lets it go. So it is the program itself that says what it needs, whatever
its fast paths are. Memory that an operation takes and gives back within itself is not seen.
"""

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from mlpconv.arch.network import Network, Preprocess
from mlpconv.backends import hardware
from mlpconv.backends.base import Images, Optimizer, Precision, StepPlan
from mlpconv.backends.pytorch.model import EVALUATION_BATCH, TorchModel

FEW, MORE = 4, 8
"""Images in the two batches that are carried out; in a batch of one, PyTorch takes some layouts for others."""


class _Ledger(TorchDispatchMode):
    """Bytes alive after each operation."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[int] = []
        self._alive = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        composite = torch._C.DispatchKey.CompositeImplicitAutograd
        # What is made of others, as in inference max pooling is, whose indices are tensors too.
        if func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), composite):
            with self:
                return func._op_dk(composite, *args, **kwargs)
        found = func(*args, **kwargs)
        # A view makes no storage, and that of the images was there before.
        for tensor in () if func.is_view else tree_iter(found):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        self.history.append(self._alive)
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place not in self._counted:
            self._counted.add(place)
            self._alive += size
            weakref.finalize(storage, self._release, place, size).atexit = False

    def _release(self, place: int, size: int) -> None:
        self._counted.discard(place)
        self._alive -= size


def peak_bytes(work: Callable[[int], object]) -> Callable[[int], int]:
    """A function from a batch's images to the most bytes of tensors that ``work`` of so many has alive at once.

    work: makes all its tensors itself, reads no value of any, and does the same whatever the batch, so that after each
    operation what is alive grows by the same for every image.
    """
    few, more = _history(work, FEW), _history(work, MORE)
    assert len(few) == len(more), (len(few), len(more))
    moments = {((large - small) // (MORE - FEW), small) for small, large in zip(few, more, strict=True)}

    def at(batch: int) -> int:
        return max(small + each * (batch - FEW) for each, small in moments)

    return at


def _history(work: Callable[[int], object], batch: int) -> list[int]:
    with FakeTensorMode(allow_non_fake_inputs=True), _Ledger() as ledger:
        kept = work(batch)
    del kept
    return ledger.history


def available_memory(device: str) -> int | None:
    """Bytes that are free on the device now; None where that cannot be known."""
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
    """As Backend.training_bytes says: the step itself is carried out, on tensors without values."""

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
    """As Backend.prediction_bytes says, for at most EVALUATION_BATCH images at once."""

    def predict(batch: int) -> object:
        model = TorchModel(network, preprocess, optimizer, precision, device)
        model.evaluated(_blank(network, source, batch))
        return model

    most, at = EVALUATION_BATCH, peak_bytes(predict)
    return lambda images: at(min(images, most))


def _blank(network: Network, source: tuple[int, int], count: int) -> Images:
    return np.zeros((count, *source, network.input_channels), np.uint8)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether it says that memory could not be had: PyTorch has no kind of its own for this on a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def watch_memory(device: str) -> Callable[[], int | None]:
    """Count anew; a function that says the peak of tensors' bytes since, as CUDA's allocator counts them."""
    if not device.startswith("cuda"):
        return lambda: None
    torch.cuda.reset_peak_memory_stats(device)
    return lambda: torch.cuda.max_memory_allocated(device)
