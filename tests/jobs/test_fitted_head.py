"""Training that starts from a fit of the last block on frozen features, or does nothing else."""

import msgspec
import numpy as np
import pytest

from mlpconv.arch.head import find_head
from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.errors import RecipeError
from mlpconv.jobs.execute import Resumed
from mlpconv.runs.run import Run
from mlpconv.training.recipe import change
from mlpconv.training.trainer import EpochEnded, Stopped
from support import tiny_training
from support.run_contents import contents_without_times
from support.tiny_training import file_names

pytest.importorskip("torch")

NEW = tiny_training.splits(train=50, test=24, names=("a", "b", "c"), seed=1)


def deep_head(num_classes=3, input_channels=1):
    """The tiny network with the chapter's last block: three convolutions, each with a ReLU."""
    layers = {
        "conv": Conv2d(num_classes, 3, padding=1),
        "relu": ReLU(),
        "mlp1": Conv2d(num_classes, 1),
        "relu1": ReLU(),
        "mlp2": Conv2d(num_classes, 1),
        "relu2": ReLU(),
    }
    return Network(
        Block(conv=Conv2d(8, 3, padding=1), norm=BatchNorm2d(), relu=ReLU()),
        Block(**layers),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=input_channels,
        input_size=6,
        name="deep",
    )


def prepared(source, data=NEW, **changes):
    return tiny_training.prepared(data, pretrained=str(source), model="auto", **changes)


def body(weights):
    return {name: value for name, value in weights.items() if name.startswith("block1")}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def accuracy(model, data):
    return float((model.logits(data.images).argmax(1) == data.labels).mean())


def _die(*_):
    raise KeyboardInterrupt


def test_the_fit_recognizes_classes_before_the_first_step(whole):
    source = whole[0]
    job = prepared(source)
    random = prepared(source, fit_head=False)
    assert same(body(job.make_model().weights()), body(Run(source).weights()))
    assert accuracy(job.make_model(), NEW.test) > 0.8
    assert accuracy(job.make_model(), NEW.test) > accuracy(random.make_model(), NEW.test) + 0.2


def test_pretrained_asks_for_a_fit_and_a_tenth_of_the_learning_rate(whole):
    usual = tiny_training.recipe()
    found = tiny_training.recipe(pretrained=str(whole[0]))
    assert found.fit_head
    assert found.learning_rate == pytest.approx(0.05)  # which this recipe gives
    tuned = change(usual, {"pretrained": str(whole[0])})
    assert (tuned.fit_head, tuned.learning_rate) == (True, pytest.approx(usual.learning_rate / 10))
    assert change(tuned, {"pretrained": "other"}).learning_rate == tuned.learning_rate  # not a tenth of the tenth
    assert not change(tuned, {"pretrained": ""}).fit_head


@pytest.mark.parametrize("settings", [{}, {"precision": "float32", "augmentation": {"flip": False}}])
def test_frozen_layers_are_bit_for_bit_those_of_the_source(whole, tmp_path, settings):
    run, events = tiny_training.train(tmp_path / "run", job=prepared(whole[0], epochs=1, freeze=True, **settings))
    assert [type(event) for event in events] == [EpochEnded]
    assert same(body(run.weights()), body(Run(whole[0]).weights()))
    assert run.result.epochs == 1
    assert run.result.test_accuracy > 0.8
    assert run.result.test_accuracy == events[0].test.accuracy
    assert (run.path / "report.html").exists()


def test_fine_tuning_changes_all_layers_and_their_statistics(whole, tmp_path):
    run, _ = tiny_training.train(tmp_path / "run", job=prepared(whole[0], epochs=1))
    before = Run(whole[0]).weights()
    assert not any(np.array_equal(value, before[name]) for name, value in body(run.weights()).items())


@pytest.mark.parametrize("killed", ["before the fit is recorded", "after the epoch"])
def test_a_frozen_run_resumes_exactly(whole, tmp_path, monkeypatch, killed):
    job = {"epochs": 1, "freeze": True}
    tiny_training.train(tmp_path / "whole", job=prepared(whole[0], **job))
    path = tmp_path / "run"
    if killed == "before the fit is recorded":
        _, events = tiny_training.train(path, job=prepared(whole[0], **job), stop_after=0)
        assert events == [Stopped(0, 0)]
    else:
        with monkeypatch.context() as patch:
            patch.setattr(Run, "write_result", _die)
            with pytest.raises(KeyboardInterrupt):
                tiny_training.train(path, job=prepared(whole[0], **job))
    run, events = tiny_training.train(path, job=prepared(whole[0], **job), resume=True)
    assert isinstance(events[0], EpochEnded if killed == "before the fit is recorded" else Resumed)
    assert run.result is not None
    assert contents_without_times(path) == contents_without_times(tmp_path / "whole")
    assert file_names(path) == file_names(tmp_path / "whole")


def test_the_head_of_the_chapters_kind_keeps_every_class_alive(tmp_path):
    model = f"{__name__}:deep_head"
    tiny_training.train(tmp_path / "source", job=tiny_training.prepared(model=model, epochs=2))
    job = tiny_training.prepared(NEW, pretrained=str(tmp_path / "source"), model=model, epochs=1, freeze=True)
    trained = job.make_model()
    maps = trained.class_maps(NEW.train.images)
    assert maps.min() > 0
    # The ReLUs are all open, so the logits are those of the fit up to a constant.
    fitted = job.head
    head = find_head(job.network)
    features = trained.outputs(NEW.train.images, head.features).mean((2, 3))
    weight = fitted.weights[f"{head.first}.weight"][:, :, 1, 1]
    expected = features @ weight.T + fitted.weights[f"{head.first}.bias"]
    assert np.allclose(trained.logits(NEW.train.images), expected, atol=1e-3)


def test_the_head_is_fitted_on_training_images_alone(whole):
    other = NEW._replace(test=tiny_training.splits(train=3, test=24, names=("a", "b", "c"), seed=9).test)
    first, second = (prepared(whole[0], data).head for data in (NEW, other))
    assert same(first.weights, second.weights)


def test_a_frozen_run_holds_out_no_validation_images_unless_asked(whole):
    changes = {"validation": 0.2, "patience": 2}
    base = tiny_training.recipe(**changes)
    frozen = change(base, {"pretrained": str(whole[0]), "freeze": True})
    assert (frozen.validation, frozen.patience, frozen.epochs) == (0, 0, 1)
    asked = change(base, {"pretrained": str(whole[0]), "freeze": True, "validation": 0.2})
    assert asked.validation == 0.2


def test_freezing_is_refused_where_it_is_impossible(whole, tmp_path):
    with pytest.raises(RecipeError, match=r"--freeze trains the last block of a trained network; name it"):
        tiny_training.prepared(epochs=1, freeze=True)
    with pytest.raises(RecipeError, match=r"leave epochs out"):
        tiny_training.prepared(epochs=3, freeze=True, pretrained=str(whole[0]))
    flat = {"model": "support.tiny_training:flat_with_hidden", "epochs": 1}
    tiny_training.train(tmp_path / "flat", job=tiny_training.prepared(**flat))
    with pytest.raises(RecipeError, match=r"does not end in a convolution and global average pooling"):
        tiny_training.prepared(NEW, **flat, pretrained=str(tmp_path / "flat"), freeze=True)
    tuned = tiny_training.prepared(NEW, **flat, pretrained=str(tmp_path / "flat"))
    assert not tuned.recipe.fit_head
    assert tuned.head is None


def test_the_forecast_of_a_frozen_run_does_not_fit_its_head(whole):
    job = prepared(whole[0], epochs=1, freeze=True)
    assert 0 < job.forecast().seconds < 60
    assert "head" not in vars(job)


def test_what_is_frozen_is_stored_in_the_run(whole, tmp_path):
    run, _ = tiny_training.train(tmp_path / "run", job=prepared(whole[0], epochs=1, freeze=True))
    stored = msgspec.json.decode((run.path / "config.json").read_bytes())["recipe"]
    assert (stored["freeze"], stored["fit_head"], stored["pretrained"]) == (True, True, str(whole[0]))
