"""The forecast: it counts the steps and sizes that a run will have, and leaves no trace in the run itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.training import forecast as module
from mlpconv.training.forecast import Saving, fit, forecast
from mlpconv.training.recipe import Augmentation, Recipe
from mlpconv.training.training_data import LabelledImages, Position, TrainingData
from support.softmax_regression import SoftmaxRegression

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
LABELS = np.arange(50) % 3


def data(evaluated, image_size):
    """The images above, and as many test images as are to be evaluated."""
    test = LabelledImages(np.zeros((evaluated, 4, 4, 1), np.uint8), np.zeros(evaluated, int))
    return TrainingData(LabelledImages(IMAGES, LABELS), test, image_size)


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when a model works: a step costs an eighth of its size for each image and what the test
    says for itself, an evaluation 0.5 an image."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Costly(SoftmaxRegression):
    def __init__(self, clock, own=0.0):
        super().__init__()
        self.clock, self.own = clock, own

    def train_step(self, plan):
        super().train_step(plan)
        self.clock.now += self.own + plan.image_size * len(plan.indices) / 8

    def logits(self, images):
        self.clock.now += 0.5 * len(images)
        return super().logits(images)


def test_every_step_of_every_size_is_counted_once(clock):
    recipe = Recipe(epochs=3, batch_size=20, image_sizes=((0, 8), (1, 16), (2.5, 32)))
    found = forecast(lambda: Costly(clock), recipe, data(100, 4))
    # Three steps an epoch, of 20, 20 and 10 images; the third epoch takes 32 from its middle on: its third step.
    assert found.seconds == pytest.approx(50 * 1 + 50 * 2 + (40 * 2 + 10 * 4) + 3 * 100 * 0.5)
    assert found.images_per_second == pytest.approx(1 / 4)


def test_without_image_sizes_the_size_of_the_model_is_used(clock):
    found = forecast(lambda: Costly(clock), Recipe(epochs=2, batch_size=25), data(10, 4))
    assert found.seconds == pytest.approx(2 * (50 * 0.5 + 5))
    assert found.images_per_second == pytest.approx(2)


def test_finished_steps_are_not_forecast(clock):
    recipe = Recipe(epochs=3, batch_size=20, image_sizes=((0, 8), (1, 16), (2.5, 32)))
    found = forecast(lambda: Costly(clock), recipe, data(100, 4), start=Position(1, 2))
    # The last step of the second epoch, and the third epoch as above.
    assert found.seconds == pytest.approx(10 * 2 + (40 * 2 + 10 * 4) + 2 * 100 * 0.5)
    # All steps are done, and the result is not written yet.
    over = forecast(lambda: Costly(clock), recipe, data(100, 4), start=Position(3, 0))
    assert over.seconds == 0
    assert over.images_per_second == found.images_per_second == pytest.approx(1 / 4)


def test_checkpoints_take_time_after_every_epoch_and_by_the_clock(clock):
    def save(model):
        clock.now += 7

    def seconds(**options):
        return forecast(lambda: Costly(clock), Recipe(epochs=2, batch_size=25), data(10, 4), **options).seconds

    bare = seconds()
    assert seconds(saving=Saving(save)) - bare == pytest.approx(2 * 7)
    # Training is 2·50·0.5 = 50 s.
    assert seconds(saving=Saving(save, 15.0)) - bare == pytest.approx((2 + 3) * 7)


def test_the_fixed_cost_of_a_step_is_separated_from_the_cost_of_images(clock):
    found = forecast(lambda: Costly(clock, own=100.0), Recipe(epochs=1, batch_size=50), data(10, 4))
    assert found.seconds == pytest.approx(100 + 50 * 0.5 + 5)


class Compiled(Costly):
    """A model that takes a minute more for the first step, and half a minute for the first evaluation, of a shape."""

    def __init__(self, clock):
        super().__init__(clock)
        self.shapes = set()

    def compile(self, shape, seconds):
        if shape not in self.shapes:
            self.shapes.add(shape)
            self.clock.now += seconds

    def train_step(self, plan):
        self.compile(("train", plan.image_size, len(plan.indices)), 60)
        super().train_step(plan)

    def logits(self, images):
        self.compile(("evaluate", len(images)), 30)
        return super().logits(images)


def test_the_first_step_of_a_shape_is_not_taken_for_the_time_of_a_step(clock):
    found = forecast(lambda: Compiled(clock), Recipe(epochs=2, batch_size=20), data(10, 4))
    # Whole batches of 20 images and a last one of 10 are compiled once each; evaluation compiles two shapes.
    assert found.images_per_second == pytest.approx(2)
    assert found.seconds == pytest.approx(2 * (50 * 0.5 + 5) + 2 * 60 + 2 * 30)


def test_slow_steps_are_timed_with_few_images_and_fast_ones_with_whole_batches(clock):
    models = []

    def make():
        models.append(Costly(clock))
        return models[-1]

    forecast(make, Recipe(epochs=1, batch_size=40), data(10, 400))
    assert {len(plan.indices) for plan in models[0].plans} == {8, 16}
    forecast(make, Recipe(epochs=1, batch_size=40), data(10, 0.01))
    assert max(len(plan.indices) for plan in models[1].plans) == 40
    # A warm-up and two for the small ones, and never without end.
    assert len(models[1].plans) <= 6 + 21


def test_a_batch_is_never_more_than_all_images(clock):
    found = forecast(lambda: Costly(clock), Recipe(epochs=1, batch_size=512), data(10, 4))
    assert found.images_per_second == pytest.approx(2)


@given(st.integers(1, 500), st.integers(1, 300), st.integers(0, 10**9), st.integers(1, 10**6))
def test_the_largest_batch_fits_and_the_next_does_not(batch, most, available, each):
    room = fit(lambda size: 10**6 + size * each, batch, most, available, apart=1000)

    def fits(size):
        return fit(lambda size: 10**6 + size * each, size, most, available, apart=1000).fits

    assert room.tensor_bytes == 10**6 + batch * each
    assert room.needed_bytes > room.tensor_bytes
    assert 0 <= room.largest_batch <= most
    assert room.largest_batch == 0 or fits(room.largest_batch)
    assert room.largest_batch == most or not fits(room.largest_batch + 1)
    assert room.fits == fits(batch)


def test_if_the_memory_is_unknown_everything_fits():
    room = fit(lambda size: 10**15, 1, 10, None)
    assert room.fits
    assert room.largest_batch is None


def test_a_forecast_leaves_the_model_unchanged():
    pytest.importorskip("torch")
    from mlpconv.arch.network import Preprocess
    from mlpconv.backends.registry import get_backend
    from mlpconv.backends.weights import INITIALIZERS, initialize
    from mlpconv.models import create_model
    from mlpconv.optimizers import Optimizer
    from mlpconv.training.plan import plan_step

    network = create_model("nin_28", num_classes=3).replace(input_size=8)
    recipe = Recipe(epochs=1, batch_size=16, augmentation=Augmentation(flip=True, mixup=0.3))

    def make():
        model = get_backend("torch").build(network, Preprocess(8), optimizer=Optimizer(momentum=0.9))
        model.load_weights(initialize(network, INITIALIZERS["he"], 0))
        return model

    results = []
    for ahead in (False, True):
        model = make()
        model.attach(IMAGES, LABELS)
        for step in range(2):
            if ahead:
                found = forecast(make, recipe, data(10, 8))
                assert found.seconds > 0
                assert found.images_per_second > 0
            model.train_step(plan_step(recipe, 50, (4, 4), 8, 0, step))
        results.append(model.training_state())
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)
