"""The parts of a batch: together they are the batch, each image with its own augmentation."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.backends import processes
from mlpconv.backends.base import StepPlan
from mlpconv.backends.common.batch_parts import bounds, part_of
from mlpconv.errors import MlpconvError


@st.composite
def plans(draw):
    size = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    whether = st.booleans()
    return StepPlan(
        indices=rng.permutation(100)[:size],
        image_size=28,
        learning_rate=0.1,
        dropout_seed=3,
        flip=rng.random(size) < 0.5 if draw(whether) else None,
        shift=rng.integers(-2, 3, (size, 2)) if draw(whether) else None,
        erase=rng.integers(0, 9, (size, 4)) if draw(whether) else None,
        partner=rng.permutation(size) if draw(whether) else None,
        mix=0.3,
    )


@given(plans(), st.integers(1, 50))
def test_parts_are_the_batch(plan, count):
    total = len(plan.indices)
    parts = [part_of(plan, rank, count) for rank in range(count)]
    own = [len(part.indices if part.partner is None else part.partner) for part, _ in parts]
    for name in ("indices", "flip", "shift", "erase"):
        whole = getattr(plan, name)
        values = [getattr(part, name) for part, _ in parts]
        if whole is None:
            assert values == [None] * count
            continue
        counted = [value[:size] for value, size, (_, at) in zip(values, own, parts, strict=True) if at.counted]
        np.testing.assert_array_equal(np.concatenate(counted), whole)
        if plan.partner is not None:
            mixed = [value[part.partner] for value, (part, at) in zip(values, parts, strict=True) if at.counted]
            np.testing.assert_array_equal(np.concatenate(mixed), whole[plan.partner])
    for rank, ((part, at), size) in enumerate(zip(parts, own, strict=True)):
        first, end = bounds(total, rank, count)
        assert (at.counted, at.total, size) == (end > first, total, max(end - first, 1))
        assert 0 <= at.before <= total - size
        if at.counted:
            assert at.before == first
        assert (part.mix, part.dropout_seed, part.learning_rate) == (plan.mix, 3, 0.1)


@given(st.integers(1, 10**6), st.integers(1, 1000))
def test_parts_differ_by_one_image_at_most(total, count):
    sizes = {end - first for first, end in (bounds(total, rank, count) for rank in range(count))}
    assert max(sizes) - min(sizes) <= 1
    assert bounds(total, 0, count)[0] == 0
    assert bounds(total, count - 1, count)[1] == total


VARIABLES = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1234"}


@pytest.fixture
def place(monkeypatch):
    monkeypatch.setattr(processes, "_place", processes.Place())
    for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_the_environment_states_the_place(place):
    assert processes.join() == (0, 1, 1)
    for name, value in VARIABLES.items():
        assert processes.join() == (0, 1, 1)
        place.setenv(name, value)
    assert processes.join() == processes.place() == (1, 2, 2)
    place.setenv("LOCAL_WORLD_SIZE", "1")
    assert processes.join() == (1, 2, 1)


@pytest.mark.parametrize("change", [{"RANK": "2"}, {"RANK": "-1"}, {"WORLD_SIZE": "two"}, {"LOCAL_WORLD_SIZE": "x"}])
def test_an_impossible_place_is_refused(place, change):
    for name, value in (VARIABLES | change).items():
        place.setenv(name, value)
    with pytest.raises(MlpconvError, match=r"is no place among several processes; start them with torchrun"):
        processes.join()


def test_back_ends_and_devices_that_do_not_fit_are_refused():
    with pytest.raises(MlpconvError, match=r"backend jax: trains a run in one process, not in 1; .* --backend torch"):
        processes.check("jax", "cpu")
    for device in ("cuda:1", "mps", "xpu"):
        with pytest.raises(MlpconvError, match=f"device {device}: several processes train on cpu, or on cuda"):
            processes.check("torch", device)
    processes.check("torch", "cpu")
    processes.check("torch", "cuda")
