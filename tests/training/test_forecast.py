"""The forecast: it counts the steps and sizes that a run will have, and leaves no trace in the run itself."""

import numpy as np
import pytest
from softmax_regression import SoftmaxRegression

from mlpconv.training import forecast as module
from mlpconv.training.forecast import forecast
from mlpconv.training.recipe import Augmentation, Recipe

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
LABELS = np.arange(50) % 3


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when a model works: a step costs its size in seconds, an evaluation 0.5 an image."""

    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


class Costly(SoftmaxRegression):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def train_step(self, plan):
        super().train_step(plan)
        # The first step of a size compiles, or fills a cache.
        first = sum(other.image_size == plan.image_size for other in self.plans) == 1
        self.clock.now += plan.image_size * (100 if first else 1)

    def logits(self, images):
        self.clock.now += 0.5 * len(images)
        return super().logits(images)


def test_every_step_of_every_size_is_counted_once(clock):
    recipe = Recipe(epochs=3, batch_size=20, image_sizes=((0, 8), (1, 16), (2.5, 32)))
    found = forecast(lambda: Costly(clock), recipe, IMAGES, LABELS, 100, 4)
    # Three steps an epoch; the third epoch begins at 16 and takes 32 from its middle on, which is its third step.
    assert found.seconds == pytest.approx(3 * 8 + 3 * 16 + (2 * 16 + 32) + 3 * 100 * 0.5)
    assert found.images_per_second == pytest.approx(20 / 32)


def test_without_sizes_it_is_the_models(clock):
    found = forecast(lambda: Costly(clock), Recipe(epochs=2, batch_size=25), IMAGES, LABELS, 10, 4)
    assert found.seconds == pytest.approx(2 * (2 * 4 + 5))
    assert found.images_per_second == pytest.approx(25 / 4)


def test_a_batch_is_never_more_than_all_images(clock):
    found = forecast(lambda: Costly(clock), Recipe(epochs=1, batch_size=512), IMAGES, LABELS, 10, 4)
    assert found.images_per_second == pytest.approx(50 / 4)


def test_only_whole_batches_are_timed(clock):
    models = []

    def make():
        models.append(Costly(clock))
        return models[-1]

    forecast(make, Recipe(epochs=1, batch_size=20), IMAGES, LABELS, 10, 4)
    assert {len(plan.indices) for plan in models[0].plans} == {20}
    assert len(models) == 1


def test_the_real_model_is_what_it_would_have_been():
    pytest.importorskip("torch")
    from mlpconv.arch.network import Preprocess
    from mlpconv.backends.base import Optimizer, get_backend
    from mlpconv.backends.weights import INITIALIZERS, initialize
    from mlpconv.models import create_model
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
                found = forecast(make, recipe, IMAGES, LABELS, 10, 8)
                assert found.seconds > 0
                assert found.images_per_second > 0
            model.train_step(plan_step(recipe, 50, (4, 4), 8, 0, step))
        results.append(model.training_state())
    for name, value in results[0].items():
        np.testing.assert_array_equal(value, results[1][name], err_msg=name)
