# pyright: reportMissingImports=false
"""Requests that arrive while others are computed are computed together, as one batch."""

import asyncio
import time
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import numpy as np
from starlette.exceptions import HTTPException

from mlpconv.backends.base import Floats, Images
from mlpconv.serve.metrics import BATCH_SIZE, WAITING
from mlpconv.serve.model import ServedModel

MAX_BATCH = 32
"""The most images of several requests that are computed together."""
SHORT_SECONDS = 0.005
"""What is expected to take less is computed between the reading of requests; a thread would take longer to answer."""
_ENOUGH = 16
"""With so many requests, more in a batch hardly make it faster."""


class _Item(NamedTuple):
    images: Images
    outputs: Sequence[str]
    result: asyncio.Future[dict[str, Floats]]


_Result = dict[str, Floats] | Exception


class Batcher:
    """Computes requests in the order in which they came. No request waits for one that has not arrived.

    Args:
        model: What computes them.
        max_waiting: The most requests that wait; others are refused with status 503.
    """

    def __init__(self, model: ServedModel, max_waiting: int) -> None:
        self._model, self._max_waiting = model, max_waiting
        self._waiting: list[_Item] = []
        self._busy = False  # requests are being computed, or will be in this turn of the event loop
        self._shape: tuple[int, ...] = ()
        self._seconds = inf  # the least that an image of this shape has taken

    async def compute(self, images: Images, outputs: Sequence[str]) -> dict[str, Floats]:
        """`ServedModel.compute`, together with other requests for images of the same shape."""
        if len(self._waiting) >= self._max_waiting:
            raise HTTPException(
                503, f"{self._max_waiting} requests are waiting already; try again later", {"Retry-After": "1"}
            )
        loop = asyncio.get_running_loop()
        item = _Item(images, outputs, loop.create_future())
        self._waiting.append(item)
        if not self._busy:
            self._busy = True
            loop.call_soon(self._start, 1)
        return await item.result

    def _start(self, known: int) -> None:
        """Compute requests that wait. ``known`` is how many there were a turn of the event loop ago: as long as more
        arrive with every turn, they are read first."""
        loop = asyncio.get_running_loop()
        if known < len(self._waiting) < _ENOUGH:
            loop.call_soon(self._start, len(self._waiting))
            return
        self._busy = bool(self._waiting)
        if not self._busy:
            return
        batch = self._next_batch()
        if self._is_short(batch):
            _answer(batch, self._compute(batch))
            loop.call_soon(self._start, len(self._waiting))
            return

        def finish(computed: asyncio.Future[_Result]) -> None:
            self._start(len(self._waiting))
            _answer(batch, computed.result())

        loop.run_in_executor(None, self._compute, batch).add_done_callback(finish)

    def _is_short(self, batch: Sequence[_Item]) -> bool:
        if batch[0].images.shape[1:] != self._shape:
            self._shape, self._seconds = batch[0].images.shape[1:], inf
        return self._seconds * sum(len(item.images) for item in batch) < SHORT_SECONDS

    def _compute(self, batch: Sequence[_Item]) -> _Result:
        try:
            images = np.concatenate([item.images for item in batch]) if len(batch) > 1 else batch[0].images
            wanted = list(dict.fromkeys(name for item in batch for name in item.outputs))
            BATCH_SIZE.observe(len(images))
            WAITING.set(len(self._waiting))
            start = time.perf_counter()
            values = self._model.compute(images, wanted)
            self._seconds = min(self._seconds, (time.perf_counter() - start) / len(images))
        except Exception as error:  # belongs to each of the requests, which report it
            return error
        return values

    def _next_batch(self) -> list[_Item]:
        """The first request, and those after it that can be computed with it."""
        batch, rest, total = [self._waiting[0]], [], len(self._waiting[0].images)
        for item in self._waiting[1:]:
            fits = item.images.shape[1:] == batch[0].images.shape[1:] and total + len(item.images) <= MAX_BATCH
            (batch if fits else rest).append(item)
            total += len(item.images) if fits else 0
        self._waiting = rest
        return batch


def _answer(batch: Sequence[_Item], result: _Result) -> None:
    start = 0
    for item in batch:
        stop = start + len(item.images)
        if item.result.done():  # the client has gone
            pass
        elif isinstance(result, Exception):
            item.result.set_exception(result)
        else:
            item.result.set_result({name: value[start:stop] for name, value in result.items()})
        start = stop
