"""The batcher: what takes long is computed in a thread, what does not is computed at once, together with what waits."""

import asyncio
import threading
import time

import numpy as np
import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
from mlpconv.serve import batching
from mlpconv.serve.batching import Batcher


class Sums:
    """A model whose output is the sum of an image. Images of more than 9 rows take longer than is short."""

    def __init__(self):
        self.calls = []

    def compute(self, images, outputs):
        self.calls.append((len(images), threading.current_thread() is threading.main_thread()))
        if images.shape[1] > 9:
            time.sleep(1.5 * batching.SHORT_SECONDS)
        return {name: images.sum((1, 2, 3)).astype(np.float32) for name in outputs}


@pytest.fixture(autouse=True)
def _slow_machine(monkeypatch):
    """What is short is far more than a busy machine takes for a sum."""
    monkeypatch.setattr(batching, "SHORT_SECONDS", 0.2)


def images(rows, *values):
    return np.stack([np.full((rows, 1, 1), value, np.uint8) for value in values])


def test_only_short_computations_are_done_in_the_thread_of_the_event_loop():
    model = Sums()

    async def ask():
        batcher = Batcher(model, 9)
        for rows in (4, 4, 4, 20, 20, 4, 4):
            await batcher.compute(images(rows, 1), ["logits"])

    asyncio.run(ask())
    # The first of each shape is not known to be short.
    assert [here for _, here in model.calls] == [False, True, True, False, False, False, True]


@pytest.mark.parametrize("rows", [4, 20])
def test_requests_that_wait_are_computed_together_and_get_their_own_answers(rows):
    model = Sums()

    async def ask():
        batcher = Batcher(model, 99)
        await batcher.compute(images(rows, 0), ["logits"])
        return await asyncio.gather(*(batcher.compute(images(rows, k, k + 1), ["logits"]) for k in range(40)))

    answers = asyncio.run(ask())
    assert [list(answer["logits"]) for answer in answers] == [[rows * k, rows * (k + 1)] for k in range(40)]
    assert [count for count, _ in model.calls] == [1, 32, 32, 16]


async def ask_after(turns, batcher, values):
    """Ask after some turns of the event loop."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return await batcher.compute(values, ["logits"])


@pytest.mark.parametrize(("turns", "counts"), [((0, 0, 1, 2, 3), [5]), ((0, 0, 9), [2, 1]), ((0, 1, 9), [1, 1, 1])])
def test_requests_that_follow_each_other_in_turns_of_the_event_loop_are_computed_together(turns, counts):
    model = Sums()

    async def ask():
        batcher = Batcher(model, 99)
        await batcher.compute(images(4, 0), ["logits"])
        return await asyncio.gather(*(ask_after(turn, batcher, images(4, turn)) for turn in turns))

    answers = asyncio.run(ask())
    assert [list(answer["logits"]) for answer in answers] == [[4 * turn] for turn in turns]
    assert [count for count, _ in model.calls] == [1, *counts]


@pytest.mark.parametrize("rows", [4, 20])
def test_a_client_that_has_gone_does_not_keep_others_from_their_answers(rows):
    async def ask():
        batcher = Batcher(Sums(), 99)
        await batcher.compute(images(rows, 0), ["logits"])
        tasks = [asyncio.create_task(batcher.compute(images(rows, k), ["logits"])) for k in range(3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, gone, last = asyncio.run(ask())
    assert (list(first["logits"]), list(last["logits"])) == ([0], [2 * rows])
    assert isinstance(gone, asyncio.CancelledError)


def test_an_error_is_that_of_its_requests_only():
    class Fails(Sums):
        def compute(self, images, outputs):
            if images.max() == 7:
                raise ValueError("seven")
            return super().compute(images, outputs)

    async def ask():
        batcher = Batcher(Fails(), 9)
        for value in (1, 1):
            await batcher.compute(images(4, value), ["logits"])
        failed = await asyncio.gather(batcher.compute(images(4, 7), ["logits"]), return_exceptions=True)
        return failed, await batcher.compute(images(4, 2), ["logits"])

    (failed,), answer = asyncio.run(ask())
    assert str(failed) == "seven"
    assert list(answer["logits"]) == [8]
