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

MAX_BATCH = 64
"""The most images of requests that are computed together."""
SHORT_SECONDS = 0.002
"""What is expected to take less is computed between the reading of requests; a thread would take longer to answer."""


class _Item(NamedTuple):
    images: Images
    outputs: Sequence[str]
    result: asyncio.Future[dict[str, Floats]]


class Batcher:
    """Computes requests in the order in which they came. No request waits for others to come.

    Args:
        model: What computes them.
        max_waiting: The most requests that wait; others are refused with status 503.
    """

    def __init__(self, model: ServedModel, max_waiting: int) -> None:
        self._model, self._max_waiting = model, max_waiting
        self._waiting: list[_Item] = []
        self._task: asyncio.Task[None] | None = None
        self._shape: tuple[int, ...] = ()
        self._seconds = inf  # the least that an image of this shape has taken

    async def compute(self, images: Images, outputs: Sequence[str]) -> dict[str, Floats]:
        """`ServedModel.compute`, together with other requests for images of the same shape."""
        if len(self._waiting) >= self._max_waiting:
            raise HTTPException(
                503, f"{self._max_waiting} requests are waiting already; try again later", {"Retry-After": "1"}
            )
        item = _Item(images, outputs, asyncio.get_running_loop().create_future())
        self._waiting.append(item)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await item.result

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next_batch()
            images = np.concatenate([item.images for item in batch]) if len(batch) > 1 else batch[0].images
            wanted = list(dict.fromkeys(name for item in batch for name in item.outputs))
            BATCH_SIZE.observe(len(images))
            WAITING.set(len(self._waiting))
            try:
                values = await self._compute(images, wanted)
            except Exception as error:  # belongs to each of the requests, which report it
                for item in batch:
                    if not item.result.done():
                        item.result.set_exception(error)
                continue
            start = 0
            for item in batch:
                stop = start + len(item.images)
                if not item.result.done():  # else the client has gone
                    item.result.set_result({name: value[start:stop] for name, value in values.items()})
                start = stop
            await asyncio.sleep(0)  # what arrived meanwhile is read, to be computed together

    async def _compute(self, images: Images, outputs: Sequence[str]) -> dict[str, Floats]:
        if images.shape[1:] != self._shape:
            self._shape, self._seconds = images.shape[1:], inf
        if self._seconds * len(images) < SHORT_SECONDS:
            values, seconds = self._timed(images, outputs)
        else:
            values, seconds = await asyncio.to_thread(self._timed, images, outputs)
        self._seconds = min(self._seconds, seconds / len(images))
        return values

    def _timed(self, images: Images, outputs: Sequence[str]) -> tuple[dict[str, Floats], float]:
        start = time.perf_counter()
        return self._model.compute(images, outputs), time.perf_counter() - start

    def _next_batch(self) -> list[_Item]:
        """The first request, and those after it that can be computed with it."""
        batch, rest, total = [self._waiting[0]], [], len(self._waiting[0].images)
        for item in self._waiting[1:]:
            fits = item.images.shape[1:] == batch[0].images.shape[1:] and total + len(item.images) <= MAX_BATCH
            (batch if fits else rest).append(item)
            total += len(item.images) if fits else 0
        self._waiting = rest
        return batch
