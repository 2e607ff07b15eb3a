"""Learning rate and image size over a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.training.recipe import Recipe
from mlpconv.training.schedules import START_SHARE, image_size, learning_rate


@given(st.integers(1, 500), st.data())
def test_constant_is_constant(steps, data):
    assert learning_rate(Recipe(learning_rate=0.3), data.draw(st.integers(0, steps - 1)), steps) == 0.3


def rates(schedule, warmup, steps, peak=0.5):
    recipe = Recipe(schedule=schedule, warmup=warmup, learning_rate=peak)
    return [learning_rate(recipe, step, steps) for step in range(steps)]


cycles = pytest.mark.parametrize("schedule", ["one-cycle", "linear"])


@cycles
@given(warmup=st.floats(0, 1), steps=st.integers(1, 400))
def test_a_cycle_rises_to_its_peak_and_falls(schedule, warmup, steps):
    found = rates(schedule, warmup, steps)
    assert min(found) >= 0
    assert max(found) <= 0.5
    top = found.index(max(found))
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    # Rates are those of the middles of the steps.
    assert abs((top + 0.5) / steps - warmup) <= 1 / steps


@cycles
def test_a_cycle_starts_low_peaks_after_the_warmup_and_ends_at_zero(schedule):
    found = rates(schedule, 0.25, 1000)
    assert found[0] == pytest.approx(0.5 * START_SHARE, rel=0.1)
    assert max(found) == pytest.approx(0.5, rel=0.01)
    assert found.index(max(found)) in (249, 250)
    assert found[-1] < 0.5 * 0.001


def test_the_schedules_that_only_fall():
    cosine, straight = rates("one-cycle", 0.0, 1000, 1.0), rates("linear", 0.0, 1000, 1.0)
    assert cosine[250] == pytest.approx(0.8536, abs=0.001)  # (1 + cos(π/4)) / 2
    assert cosine[500] == pytest.approx(0.5, abs=0.001)
    assert straight[250] == pytest.approx(0.75, abs=0.001)


@pytest.mark.parametrize(("epoch", "size"), [(0, 80), (0.99, 80), (1, 32), (1.9, 32), (2.5, 64), (9, 64)])
def test_image_sizes_apply_from_their_epoch_on(epoch, size):
    assert image_size(Recipe(image_sizes=((1, 32), (2.5, 64))), epoch, 80) == size


def test_without_image_sizes_the_size_of_the_model_is_used():
    assert image_size(Recipe(), 3, 80) == 80
