"""Memory that an operation uses while it runs, for predictions of the peak, in which it is one operation."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

ScratchBytes = Callable[[int], int]
"""Bytes by the number of images of a batch."""

_running: list[ScratchBytes] = []


@contextmanager
def uses(scratch: ScratchBytes) -> Iterator[None]:
    """Operations within also use this memory, besides the tensors that they create."""
    _running.append(scratch)
    try:
        yield
    finally:
        _running.pop()


def in_use() -> tuple[ScratchBytes, ...]:
    """The memory that the operations that are running use."""
    return tuple(_running)
