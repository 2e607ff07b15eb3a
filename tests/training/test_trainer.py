"""The loop: which events come, in which order, with which numbers; where it stops, where it gives up."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.errors import TrainingFailed
from mlpconv.training.metrics import evaluate
from mlpconv.training.plan import plan_step
from mlpconv.training.recipe import Recipe
from mlpconv.training.trainer import EpochEnded, Loop, Progress, Repaired, ReportEvery, Stopped
from mlpconv.training.training_data import LabelledImages, Position, TrainingData
from support.softmax_regression import SoftmaxRegression

LABELS = np.arange(46) % 3
# A class is a bright row.
IMAGES = np.random.default_rng(0).integers(0, 60, (46, 4, 4, 1), dtype=np.uint8)
IMAGES[np.arange(46), LABELS] += 180
RECIPE = Recipe(epochs=2, batch_size=4, learning_rate=0.5, schedule="one-cycle", seed=3)
STEPS = 12


NINE = LabelledImages(IMAGES[:9], LABELS[:9])
DATA = TrainingData(LabelledImages(IMAGES, LABELS), NINE, image_size=4)


def events(model, recipe=RECIPE, report_every=1e9, data=DATA, **options):
    model.attach(IMAGES[:46], LABELS)
    return Loop(model, recipe, data, report_every=ReportEvery(report_every), **options)


def test_progress_is_reported_at_each_fifth_and_at_the_end_of_an_epoch():
    model = SoftmaxRegression()
    found = list(events(model))
    marks = [(event.epoch, event.step) for event in found if isinstance(event, Progress)]
    assert marks == [(epoch, step) for epoch in (0, 1) for step in (2, 4, 6, 8, 10, 12)]
    assert all(event.mark and event.steps == STEPS for event in found if isinstance(event, Progress))
    assert [type(event) for event in found] == ([Progress] * 6 + [EpochEnded]) * 2
    assert [(plan.dropout_seed, plan.learning_rate) for plan in model.plans] == [
        (plan.dropout_seed, plan.learning_rate)
        for epoch in (0, 1)
        for step in range(STEPS)
        for plan in [plan_step(RECIPE, 46, (4, 4), 4, epoch, step)]
    ]


@pytest.mark.parametrize(("batch", "count"), [(46, 1), (20, 3), (8, 6), (1, 5)])
def test_progress_marks_of_epochs_of_any_length(batch, count):
    found = list(events(SoftmaxRegression(), Recipe(epochs=1, batch_size=batch)))
    marks = [event.step for event in found if isinstance(event, Progress)]
    assert len(marks) == count
    assert isinstance(found[-1], EpochEnded)


def test_the_metrics_of_an_epoch_are_its_means():
    model = SoftmaxRegression()
    found = list(events(model))
    first, second = (event for event in found if isinstance(event, EpochEnded))
    model = SoftmaxRegression()
    model.attach(IMAGES, LABELS)
    for step in range(STEPS):
        model.train_step(plan_step(RECIPE, 46, (4, 4), 4, 0, step))
    loss, correct, examples, _ = model.read_metrics()
    assert (first.epoch, second.epoch) == (0, 1)
    assert first.loss == pytest.approx(loss / examples)
    assert first.accuracy == correct / 46
    test = evaluate(model.logits(IMAGES[:9]), LABELS[:9])
    assert (first.test.loss, first.test.accuracy) == (test.loss, test.accuracy)
    assert first.learning_rate == model.plans[-1].learning_rate
    assert second.loss < first.loss
    assert second.test.accuracy == 1
    assert first.image_size == 4
    assert first.skipped == 0
    assert first.images_per_second == pytest.approx(46 / first.seconds)
    assert 0 < first.evaluation_seconds < 60
    last_mark = [event for event in found if isinstance(event, Progress)][5]
    assert (last_mark.loss, last_mark.accuracy) == (first.loss, first.accuracy)


def test_the_clock_adds_progress_between_the_marks():
    found = list(events(SoftmaxRegression(), report_every=0))
    steps = [(event.epoch, event.step, event.mark) for event in found if isinstance(event, Progress)]
    assert steps == [(epoch, step, step % 2 == 0) for epoch in (0, 1) for step in range(1, STEPS + 1)]


@given(st.integers(0, 2 * STEPS))
def test_a_loop_that_was_stopped_continues_as_if_it_had_not_been(at):
    whole = SoftmaxRegression()
    expected = list(events(whole))
    model = SoftmaxRegression()
    found = list(events(model, should_stop=lambda: len(model.plans) == at))
    assert len(model.plans) == at
    stopped = found[-1]
    if at == 2 * STEPS:  # everything is done: there is nothing left to stop
        assert isinstance(stopped, EpochEnded)
        return
    assert stopped == Stopped(at // STEPS, at % STEPS)

    second = SoftmaxRegression()
    second.load_training_state(model.training_state())
    rest = list(events(second, start=Position(*stopped)))
    np.testing.assert_array_equal(second.matrix, whole.matrix)
    assert [timeless(event) for event in found[:-1] + rest] == [timeless(event) for event in expected]


@given(st.integers(0, 4 * STEPS))
def test_patience_counts_the_epochs_before_a_resume(at):
    recipe = Recipe(epochs=50, batch_size=4, learning_rate=0.5, validation=0.1, patience=3)
    options = {"recipe": recipe, "data": DATA._replace(validation=NINE)}
    expected = [event for event in events(SoftmaxRegression(), **options) if isinstance(event, EpochEnded)]
    accuracies = [event.validation.accuracy for event in expected]
    assert accuracies.index(max(accuracies)) == len(accuracies) - 1 - 3
    assert len(expected) < 50

    model = SoftmaxRegression()
    first = list(events(model, should_stop=lambda: len(model.plans) == at, **options))
    stopped = first[-1]
    if not isinstance(stopped, Stopped):
        return
    second = SoftmaxRegression()
    second.load_training_state(model.training_state())
    held = accuracies[: stopped.epoch]
    rest = list(events(second, start=Position(*stopped), validation_accuracies=held, **options))
    ended = [event for event in first + rest if isinstance(event, EpochEnded)]
    assert [timeless(event) for event in ended] == [timeless(event) for event in expected]


def timeless(event):
    event = event._asdict()
    test = event.pop("test", None)
    event.pop("validation", None)
    for name in ("seconds", "evaluation_seconds", "images_per_second"):
        event.pop(name, None)
    return event, test and (test.loss, test.accuracy, test.confusion.tolist())


def test_an_epoch_whose_steps_are_all_done_is_only_evaluated():
    model = SoftmaxRegression()
    list(events(model, Recipe(epochs=1, batch_size=4)))
    second = SoftmaxRegression()
    model.attach(IMAGES, LABELS)
    for step in range(STEPS):
        second.attach(IMAGES, LABELS)
        second.train_step(plan_step(RECIPE, 46, (4, 4), 4, 0, step))
    (event,) = events(second, Recipe(epochs=1, batch_size=4), start=Position(0, STEPS))
    assert isinstance(event, EpochEnded)
    assert event.loss > 0
    assert len(second.plans) == STEPS


def test_a_few_steps_that_are_not_finite_are_reported():
    model = SoftmaxRegression(bad_steps=[1, 3, 14])
    ends = [event for event in events(model) if isinstance(event, EpochEnded)]
    assert [event.skipped for event in ends] == [2, 1]
    assert ends[0].loss > 0


def test_with_ignore_twenty_steps_that_are_not_finite_end_training():
    model = SoftmaxRegression(bad_steps=range(3, 99))
    recipe = Recipe(epochs=9, batch_size=1, on_trouble="ignore")
    with pytest.raises(TrainingFailed, match=r"epoch 1, step 27: .*not finite in 9 of 9 steps.*a lower learning rate"):
        list(events(model, recipe))
    assert len(model.plans) == 27  # found at the next mark


def test_an_epoch_without_a_finite_step_is_rolled_back():
    model = SoftmaxRegression(bad_steps=range(STEPS, STEPS + 2))
    found = list(events(model))
    (repaired,) = (event for event in found if isinstance(event, Repaired))
    assert (repaired.event.trouble, repaired.event.action, repaired.to) == ("not-finite", "rolled back", (1, 0))
    again = model.plans[STEPS + 2]
    np.testing.assert_array_equal(again.indices, model.plans[STEPS].indices)
    assert again.learning_rate == model.plans[STEPS].learning_rate / 2
    assert isinstance(found[-1], EpochEnded)


def test_steps_that_are_never_finite_end_training():
    with pytest.raises(TrainingFailed, match="epoch 2, step 2: the loss or a gradient was not finite in 2 of 2 steps"):
        list(events(SoftmaxRegression(bad_steps=range(STEPS, 9999))))


def test_weights_that_grow_without_bounds_end_training():
    model = SoftmaxRegression()
    model.on_step = lambda: model.matrix.fill(1e300)
    model.train_step = lambda plan: (model.on_step(), setattr(model, "sums", model.sums._replace(examples=1)))
    with (
        pytest.warns(RuntimeWarning, match="overflow"),  # the test model's own
        pytest.raises(TrainingFailed, match="epoch 1, step 12: the loss of the evaluation is not finite"),
    ):
        list(events(model))


def test_a_real_network_with_a_huge_learning_rate_fails_with_a_message():
    pytest.importorskip("torch")
    from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d, ReLU
    from mlpconv.arch.network import Block, Network
    from mlpconv.arch.preprocess import Preprocess
    from mlpconv.backends.registry import get_backend
    from mlpconv.backends.weights import Initializer, initialize
    from mlpconv.optimizers import Optimizer

    network = Network(
        Block(conv=Conv2d(8, 3), relu=ReLU(), mlp1=Conv2d(3, 1)), GlobalAvgPool2d(), Flatten(), input_size=4
    )
    model = get_backend("torch").build(network, Preprocess(4), optimizer=Optimizer())
    model.load_weights(initialize(network, Initializer("he"), 0))
    with pytest.raises(TrainingFailed, match="not finite"):
        list(events(model, Recipe(epochs=20, batch_size=1, learning_rate=1e30)))
    assert all(np.isfinite(value).all() for value in model.weights().values())


def test_weights_that_grow_once_are_rolled_back():
    model = SoftmaxRegression()
    real, grown = model.logits, []

    def logits(images):
        found = real(images)
        if model.evaluations == 2 and not grown:  # after the second epoch
            grown.append(model.matrix.copy())
            return np.full_like(found, np.nan)
        return found

    model.logits = logits
    found = list(events(model))
    (repaired,) = (event for event in found if isinstance(event, Repaired))
    assert (repaired.event.trouble, repaired.moved) == ("not-finite", True)
    assert repaired.to < (1, STEPS)
    assert [event.epoch for event in found if isinstance(event, EpochEnded)] == [0, 1]


def test_the_steps_of_a_loop_can_be_executed_one_by_one():
    whole, model = SoftmaxRegression(), SoftmaxRegression()
    expected = list(events(whole))
    loop = events(model)
    loop.guard.start(0, 0)
    found = []
    for _ in range(2):
        while loop.step < loop.steps:
            loop.train_step()
            found += loop.report()
        found += loop.end_epoch()
    np.testing.assert_array_equal(model.matrix, whole.matrix)
    assert [timeless(event) for event in found] == [timeless(event) for event in expected]
