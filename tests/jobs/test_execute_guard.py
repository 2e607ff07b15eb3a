"""Problems in real training: each is recognized, repaired and recorded; a resumed run repairs in the same way."""

import json

import numpy as np
import pytest

from mlpconv.backends.weights import initialize
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import TrainingFailed
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.runs.run import Run
from mlpconv.training.trainer import EpochEnded, Repaired
from support import tiny_training
from support.run_contents import contents_without_times

torch = pytest.importorskip("torch")
DATA = tiny_training.splits(train=600, test=60)
STEPS = 60
LABELS = np.arange(660) % 5
PIXELS = np.random.default_rng(1).integers(0, 120, (660, 6, 6, 1), dtype=np.uint8)
for k in range(5):  # each class is a bright square of another size
    PIXELS[k == LABELS, : k + 2, : k + 2] += 120
SQUARES = Splits(
    ImageDataset(PIXELS[:600], LABELS[:600], tuple("abcde"), "squares/train"),
    ImageDataset(PIXELS[600:], LABELS[600:], tuple("abcde"), "squares/test"),
)
CALM = {"epochs": 3, "batch_size": 10, "learning_rate": 0.02, "augmentation": {"mixup": 0.0}, "initializer": "open"}


def job(**changes):
    return tiny_training.prepared(DATA, **{**CALM, **changes})


class Put:
    """A job whose model meets trouble: ``trouble(model, step)`` is called before each step, counted from 0."""

    def __init__(self, prepared, trouble):
        self.job, self.trouble, self.count = prepared, trouble, 0
        make = prepared.make_model

        def made():
            model = make()
            step = model.train_step

            def train_step(plan):
                trouble(model, self.count)
                self.count += 1
                step(plan)
                model._mean.nan_to_num_(nan=DATA.train.mean[0])

            model.train_step = train_step
            return model

        prepared.make_model = made


def nan_at(*steps):
    """NaN in the batches of these steps: their pixels are compared with a mean that is none."""

    def trouble(model, step):
        if step in steps:
            model._mean.fill_(float("nan"))

    return trouble


def shut(at, *classes):
    def trouble(model, step):
        if step == at:
            with torch.no_grad():
                model.native.get_submodule("block2.conv").bias[list(classes)] = -100.0

    return trouble


def go(path, prepared, trouble=None, **options):
    if trouble is not None:
        Put(prepared, trouble)
    execution = execute(prepared, path, ExecuteOptions(**options))
    events = list(execution)
    return execution.run, [event.event for event in events if isinstance(event, Repaired)]


def written(run):
    return [event for line in run.history for event in line["repairs"]]


def test_without_problems_the_guard_changes_nothing(tmp_path):
    run, met = go(tmp_path / "run", job())
    assert met == []
    assert run.result.repairs == 0
    assert run.result.dead_classes == []
    assert run.result.test_accuracy > 0.9


def test_a_nan_in_one_batch_skips_one_update(tmp_path):
    run, (met,) = go(tmp_path / "run", job(), nan_at(30))
    assert (met.trouble, met.action, met.epoch, met.step) == ("update-left-out", "went on", 1, 36)
    assert "in 1 step the loss or a gradient was not finite" in met.what
    assert run.history[0]["skipped"] == 1
    assert run.result.repairs == 0
    assert run.result.test_accuracy > 0.9
    assert all(np.isfinite(value).all() for value in run.weights().values())


def test_nan_in_many_batches_causes_a_rollback_and_a_lower_rate(tmp_path):
    """Case 15."""
    run, (met,) = go(tmp_path / "run", job(), nan_at(*range(80, 84)))
    assert (met.trouble, met.action) == ("not-finite", "rolled back")
    assert met.what == "the loss or a gradient was not finite in 4 of 12 steps"
    assert met.rate == 0.5
    assert met.back_to == 1
    assert run.history[1]["learning_rate"] < job().recipe.learning_rate
    (said,) = written(run)
    assert said["done"] == "back to epoch 2, step 0; learning rate × 0.5"
    report = (run.path / "report.html").read_text()
    assert "Training problems" in report
    assert '<g class="note"><title>epoch 1.4: the loss or a gradient' in report
    assert run.result.repairs == 1
    assert [point[0] for point in run.history[1]["curve"]] == sorted({point[0] for point in run.history[1]["curve"]})
    assert len(run.history[1]["curve"]) == 5


def test_nan_on_every_retry_ends_with_the_best_weights(tmp_path):
    """Case 16."""
    prepared = job()
    with pytest.raises(TrainingFailed) as caught:
        go(tmp_path / "run", prepared, nan_at(*range(70, 9999)))
    said = str(caught.value)
    assert caught.value.exit_code == 3
    assert "epoch 2, step 12: the loss or a gradient was not finite in" in said
    assert said.count("rolled back at epoch 2") == 8
    assert "next: a lower learning rate (--lr" in said
    assert f"the best weights are kept in {tmp_path / 'run' / 'weights.safetensors'}" in said
    run = Run(tmp_path / "run")
    assert run.failure.message == said
    assert [event["action"] for event in run.failure.repairs] == ["went on"] + ["rolled back"] * 8
    assert run.result is None
    assert len(run.history) == 1
    assert all(np.isfinite(value).all() for value in run.weights().values())
    assert "Training failed: epoch 2" in (run.path / "report.html").read_text()


def test_a_run_that_fails_in_its_first_epoch_keeps_weights_too(tmp_path):
    with pytest.raises(TrainingFailed, match=r"weights\.safetensors"):
        go(tmp_path / "run", job(on_trouble="repair"), nan_at(*range(40, 9999)))
    assert Run(tmp_path / "run").weights()


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_learning_rate_of_100(tmp_path, optimizer):
    run, met = go(tmp_path / "run", job(learning_rate=100.0, optimizer=optimizer, schedule="constant"))
    assert met
    assert run.result.repairs == len([event for event in met if event.action != "went on"])
    assert met[-1].rate < 0.1
    assert run.result.test_accuracy > 0.6
    assert len(run.history) == 3


def test_two_dead_classes_are_reopened(tmp_path):
    """Case 17."""
    run, found = go(tmp_path / "run", prepare(Request(recipe=job().recipe, device="cpu"), SQUARES), shut(0, 1, 3))
    met = found[0]  # where one dies once more, it is opened once more
    assert (met.trouble, met.action, met.epoch) == ("dead-class", "reopened", 1)
    assert {1, 3} <= set(met.classes)  # by a processor's rounding, another may die with them
    assert met.what.startswith(f"{len(met.classes)} classes are dead: no position of the map is open (b, d")
    assert [line["dead_classes"] for line in run.history] == [[], [], []]
    assert run.result.test_accuracy > 0.8


def test_classes_that_die_after_they_were_learned_cause_a_rollback(tmp_path):
    run, (met,) = go(tmp_path / "run", job(), shut(70, 0, 2))
    assert (met.trouble, met.action, met.rate) == ("loss-spike", "rolled back", 0.5)
    assert run.result.test_accuracy > 0.9


def test_a_repaired_state_that_fails_its_evaluation_is_never_restored(tmp_path):
    prepared = job()
    Put(prepared, shut(118, 1))
    make = prepared.make_model

    def made():
        model = make()
        logits, bad = model.logits, []

        def failing(images):
            bias = model.weights()["block2.conv.bias"].tolist()
            if not bad and bias[1] == np.float32(0.1):
                bad.append(bias)
            return logits(images) * np.float32(np.nan if bias in bad else 1)

        model.logits = failing
        return model

    prepared.make_model = made
    run, met = go(tmp_path / "run", prepared)
    assert [(each.trouble, each.action) for each in met] == [("dead-class", "reopened"), ("not-finite", "rolled back")]
    assert (met[0].epoch, met[0].step) == (2, STEPS)
    assert 1 <= met[1].back_to < 2
    assert run.result.test_accuracy > 0.9


def test_one_dead_class_is_reopened_only_in_its_weights(tmp_path):
    prepared = job()
    execution = execute(prepared, tmp_path / "run")
    Put(prepared, shut(62, 1))
    before = {}
    for event in execution:
        if isinstance(event, EpochEnded) and event.epoch == 0:
            before = execution.guard.model.weights()
        if isinstance(event, Repaired):
            after, met = execution.guard.model.training_state(), event.event
            break
    assert (met.trouble, met.action, met.classes) == ("dead-class", "reopened", (1,))
    assert met.done == "block2.conv: the class's channel 1 initialized again"
    assert before
    assert after["weights/block2.conv.bias"][1] == np.float32(0.1)
    row = after["weights/block2.conv.weight"][1]
    assert row.min() >= 0
    assert row.max() < 0.06
    moments = [value for key, value in after.items() if key.startswith("optimizer/block2.conv.weight/exp")]
    assert len(moments) == 2
    assert all((value[1] == 0).all() and (value[0] != 0).any() for value in moments)
    assert execution.guard.model.class_maps(DATA.train.images)[:, 1].min() > 0


def test_a_constant_network_is_restarted(tmp_path, monkeypatch):
    prepared = job()

    def weights(self, seed, initializer=None):
        found = initialize(self.network, initializer or self.recipe.initializer, seed)
        if seed == self.recipe.seed:
            found["block2.conv.bias"] = np.full(3, -100, np.float32)
        return found

    monkeypatch.setattr(PreparedJob, "first_weights", weights)
    run, (met,) = go(tmp_path / "run", prepared)
    assert (met.trouble, met.action, met.classes) == ("dead-class", "started again", (0, 1, 2))
    assert met.done == "from new weights, seed 1000003; learning rate × 0.5"
    assert met.back_to == 0
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    assert run.result.test_accuracy > 0.9


def test_a_run_that_learns_nothing_is_restarted_with_open_classes(tmp_path, monkeypatch):
    """Each class is open, but the layers before say the same of every image."""

    def weights(self, seed, initializer=None):
        found = initialize(self.network, initializer or self.recipe.initializer, seed)
        if seed == self.recipe.seed:
            found["block1.conv.weight"] = np.zeros_like(found["block1.conv.weight"])
            found["block1.conv.bias"] = np.full_like(found["block1.conv.bias"], -1)
            found["block2.conv.bias"] = np.full(3, 0.1, np.float32)
        return found

    monkeypatch.setattr(PreparedJob, "first_weights", weights)
    run, (met,) = go(tmp_path / "run", job(epochs=20, initializer="xavier"))
    assert (met.trouble, met.action, met.rate, met.back_to) == ("nothing-learned", "started again", 1.0, 0)
    assert met.done == "from new weights with every class open, seed 1000003"
    assert run.result.test_accuracy > 0.9


@pytest.mark.parametrize("trouble", [nan_at(*range(80, 90)), shut(70, 1)], ids=["nan", "dead"])
def test_stop_ends_training_and_ignore_continues(tmp_path, trouble):
    with pytest.raises(TrainingFailed, match="tried: nothing, since on_trouble is stop; next: --on-trouble repair"):
        go(tmp_path / "stop", job(on_trouble="stop"), trouble)
    assert Run(tmp_path / "stop").weights()
    run, met = go(tmp_path / "ignore", job(on_trouble="ignore"), trouble)
    assert {event.action for event in met} == {"ignored"}
    assert len({(event.trouble, event.classes) for event in met}) == len(met)
    assert run.result.repairs == 0
    assert len(run.history) == 3


def test_a_dead_class_that_is_not_repaired_is_reported(tmp_path):
    run, _ = go(tmp_path / "run", job(on_trouble="ignore"), shut(130, 1))
    assert run.result.dead_classes == ["down"]
    assert "Dead classes: down." in (run.path / "report.html").read_text()


# What training does in trouble is a function of the run, so that a resume does it too.
WILD = {"learning_rate": 100.0, "optimizer": "sgd", "schedule": "constant", "epochs": 2}


@pytest.fixture(scope="module")
def wild(tmp_path_factory):
    path = tmp_path_factory.mktemp("wild") / "run"
    run, met = go(path, job(**WILD))
    assert len(met) > 1
    return contents_without_times(run.path)


@pytest.mark.parametrize("stops", [[5], [20, 40], [61, 3, 30], [13, 12, 11], [90], [119]])
def test_a_resumed_run_with_repairs_equals_one_without_interruption(wild, tmp_path, stops):
    path = tmp_path / "run"
    for index, count in enumerate(stops):
        tiny_training.train(path, job=job(**WILD), stop_after=count, resume=index > 0)
    tiny_training.train(path, job=job(**WILD), resume=True)
    assert contents_without_times(path) == wild


# Validation images


def test_the_best_epoch_on_validation_images_is_kept(tmp_path):
    prepared = job(validation=0.1, epochs=4)
    assert (len(prepared.data.train), len(prepared.validation)) == (540, 60)
    assert np.bincount(prepared.validation.labels).tolist() == [20, 20, 20]
    weights = []
    execution = execute(prepared, tmp_path / "run")
    for event in execution:
        if isinstance(event, EpochEnded):
            weights.append(execution.guard.model.weights())
    run = execution.run
    accuracies = [line["validation_accuracy"] for line in run.history]
    best = accuracies.index(max(accuracies))
    assert run.result.best_epoch == best + 1
    assert run.result.validation_accuracy == max(accuracies)
    assert run.result.test_accuracy == run.history[best]["test_accuracy"]
    assert all((run.weights()[name] == value).all() for name, value in weights[best].items())
    assert np.trace(run.result.confusion) / 60 == pytest.approx(run.result.test_accuracy)
    assert run.config.data.validation == 60
    assert job(validation=0.1, seed=9).validation.fingerprint() == prepared.validation.fingerprint()


def test_a_run_ends_with_the_epoch_that_reaches_the_target(tmp_path):
    run, _ = go(tmp_path / "run", job(validation=0.1, target_accuracy=0.8, epochs=9))
    accuracies = [line["validation_accuracy"] for line in run.history]
    assert len(accuracies) < 9
    assert accuracies[-1] >= 0.8
    assert all(value < 0.8 for value in accuracies[:-1])
    assert run.result.epochs == len(accuracies)
    _, events = tiny_training.train(
        tmp_path / "run", job=job(validation=0.1, target_accuracy=0.8, epochs=9), resume=True
    )
    assert events == []


def test_patience_ends_a_run_with_the_best_weights_however_often_it_is_stopped(tmp_path):
    def prepared():
        return job(validation=0.1, patience=2, epochs=40)

    run, _ = go(tmp_path / "whole", prepared())
    accuracies = [line["validation_accuracy"] for line in run.history]
    best = int(np.argmax(accuracies))
    assert len(accuracies) == best + 3 < 40
    assert (run.result.epochs, run.result.best_epoch) == (best + 3, best + 1)
    assert run.result.test_accuracy == run.history[best]["test_accuracy"]
    page = (run.path / "report.html").read_text()
    assert f"are those of epoch {best + 1}, the best on the validation images: validation accuracy" in page
    assert f"training ended early, after {best + 3} of 40 epochs: no better validation accuracy for 2 epochs." in page

    cut, _ = tiny_training.train(tmp_path / "cut", job=prepared(), stop_after=(best + 1) * STEPS + 5)
    assert cut.result is None
    cut, _ = tiny_training.train(tmp_path / "cut", job=prepared(), resume=True)
    assert [line["validation_accuracy"] for line in cut.history] == accuracies
    (cut.path / "result.json").unlink()  # as if it had been killed before its last file
    again, events = tiny_training.train(tmp_path / "cut", job=prepared(), resume=True)
    assert [type(event).__name__ for event in events] == ["Resumed"]
    assert again.result.epochs == best + 3


def test_few_images_get_more_epochs_unless_epochs_are_given():
    assert tiny_training.prepared(min_steps=100).recipe.epochs == 12  # of 9 steps
    assert job(min_steps=100).recipe.epochs == 3
    # 3 epochs with a patience of 2 become 12 with a patience of 8.
    patient = tiny_training.prepared(min_steps=100, validation=0.1, patience=2).recipe
    assert (patient.epochs, patient.patience) == (12, 8)
    growing = tiny_training.prepared(min_steps=100, image_size=6, image_sizes=[[0, 6], [1.5, 12]]).recipe
    assert (growing.epochs, growing.image_sizes) == (12, ((0.0, 6), (6.0, 12)))
    assert tiny_training.recipe(epochs=2).min_steps == 0


def test_guard_events_are_recorded_as_json(tmp_path):
    run, met = go(tmp_path / "run", job(), nan_at(30))
    line = json.loads((run.path / "history.jsonl").read_text().splitlines()[0])
    assert line["repairs"] == [
        {
            "epoch": 1,
            "step": 36,
            "place": 0.6,
            "trouble": "update-left-out",
            "classes": [],
            "action": "went on",
            "what": met[0].what,
            "done": "the update was left out",
            "back_to": 0.6,
            "rate": 1.0,
            "loss": met[0].loss,
        }
    ]
