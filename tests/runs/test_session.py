"""A session from recipe to run directory: it learns, it stops and goes on without a trace, it refuses in words."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys

import msgspec
import numpy as np
import pytest
import tiny
from tiny import names

import mlpconv
from mlpconv.data import ImageDataset, Splits, load_dataset
from mlpconv.errors import DataError, MlpconvError, NetworkError, RecipeError, RunError, TrainingFailed, WeightsError
from mlpconv.runs import place
from mlpconv.runs.recorder import Resumed
from mlpconv.runs.run import Run
from mlpconv.runs.session import REPORT_SECONDS, Session
from mlpconv.training.forecast import Fit, Forecast
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe
from mlpconv.training.trainer import EpochEnded, Progress, Stopped

pytest.importorskip("torch")
STEPS = 9  # 70 images in batches of 8


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing has interrupted."""
    path = tmp_path_factory.mktemp("whole") / "run"
    _, events = tiny.run(path)
    return path, events


def test_it_learns_real_digits(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    recipe = change(
        get_recipe("quick"),
        {"model": "nin_28", "data": "digits", "epochs": 1, "batch_size": 32, "initializer": "he",
         "augmentation": {"flip": False}, "precision": "float32"},
    )  # fmt: skip
    data = load_dataset("digits")
    session = Session(recipe, recipe_name="quick")
    assert session.config.data.fingerprint == data.train.fingerprint()
    assert session.network.input_size == (28, 28)
    recorder = session.run(tmp_path / "run")
    events = [event for event in recorder if isinstance(event, EpochEnded)]
    assert events[-1].test.accuracy > 0.8
    assert recorder.run.result.test_accuracy == events[-1].test.accuracy


def test_it_learns_fashion(tmp_path):
    try:
        train, test = load_dataset("fashion-mnist", download=False)
    except DataError as error:
        pytest.skip(f"Fashion-MNIST is not on this machine: {str(error).splitlines()[0]}")
    data = Splits(train.subset(range(1500), name=train.name), test.subset(range(400), name=test.name))
    recipe = change(
        get_recipe("quick"),
        {
            "model": "nin_28",
            "image_size": 14,
            "epochs": 2,
            "batch_size": 50,
            "initializer": "he",
            "precision": "float32",
        },
    )
    recorder = Session(recipe, data=data).run(tmp_path / "run")
    list(recorder)
    assert recorder.run.result.test_accuracy > 0.6


def test_a_run_leaves_everything(whole):
    path, events = whole
    assert names(path) == [
        "checkpoint", "class_maps.safetensors", "config.json", "curves.png", "environment.json",
        "evaluation.safetensors", "history.jsonl", "report.html", "result.json", "weights.safetensors",
    ]  # fmt: skip
    assert names(path / "checkpoint") == [
        "epoch-0002-step-000000.safetensors", "epoch-0003-step-000000.safetensors",
    ]  # fmt: skip
    ends = [event for event in events if isinstance(event, EpochEnded)]
    run = Run(path)
    assert [line["epoch"] for line in run.history] == [1, 2, 3]
    for line, event in zip(run.history, ends, strict=True):
        assert line["loss"] == event.loss
        assert line["test_accuracy"] == event.test.accuracy
        assert line["class_accuracy"] == dict(zip(tiny.NAMES, event.test.class_accuracy, strict=True))
        assert [point[0] for point in line["curve"]] == [event.epoch + step / STEPS for step in range(1, STEPS + 1)]
        assert line["curve"][-1][1:] == [event.loss, event.accuracy]
    result = run.result
    assert (result.loss, result.test_accuracy) == (ends[-1].loss, ends[-1].test.accuracy)
    assert result.confusion == ends[-1].test.confusion.tolist()
    assert result.epochs == 3
    assert result.seconds > sum(event.seconds for event in ends)
    timed = sum(event.seconds for event in ends)
    assert result.examples_per_second == pytest.approx(3 * 70 / timed)
    assert result.loss < run.history[0]["loss"]
    config = run.config
    assert (config.backend, config.device, config.precision) == ("torch", "cpu", "float32")
    assert config.data.name == "stripes"
    assert (config.data.train, config.data.test, config.data.class_names) == (70, 30, tiny.NAMES)
    assert config.preprocess.mean == tiny.DATA.train.mean
    assert config.preprocess.source_size == (6, 6)


def test_the_same_session_gives_the_same_run(whole, tmp_path):
    tiny.run(tmp_path / "again")
    assert tiny.timeless(tmp_path / "again") == tiny.timeless(whole[0])


def test_another_seed_gives_another(whole, tmp_path):
    tiny.run(tmp_path / "again", session=tiny.session(seed=1))
    assert tiny.timeless(tmp_path / "again")["weights"] != tiny.timeless(whole[0])["weights"]


# Stopping and going on


@pytest.mark.parametrize("stops", [
    [0], [1], [5], [STEPS], [STEPS + 4], [2 * STEPS], [3 * STEPS - 1], [3, 3, 0, 10, 2],
])  # fmt: skip
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(whole, tmp_path, stops):
    path = tmp_path / "run"
    done = 0
    for index, count in enumerate(stops):
        run, events = tiny.run(path, stop_after=count, resume=index > 0)
        assert events[-1] == Stopped((done + count) // STEPS, (done + count) % STEPS)
        assert (isinstance(events[0], Resumed)) is (done > 0)
        done += count
        assert run.result is None
        assert len(run.history) == done // STEPS
    _, events = tiny.run(path, resume=True)
    if done:
        assert events[0] == Resumed(done // STEPS, done % STEPS)
    assert tiny.timeless(path) == tiny.timeless(whole[0])
    assert names(path) == names(whole[0])


@pytest.mark.parametrize("settings", [
    {"optimizer": {"name": "sgd", "momentum": 0.9}}, {"optimizer": "sgd"}, {"precision": "bfloat16"},
    {"image_sizes": [[0, 6], [1.5, 12]]},
])  # fmt: skip
def test_every_kind_of_training_goes_on_exactly(tmp_path, settings):
    tiny.run(tmp_path / "whole", session=tiny.session(**settings))
    tiny.run(tmp_path / "run", session=tiny.session(**settings), stop_after=13)
    tiny.run(tmp_path / "run", session=tiny.session(**settings), resume=True)
    assert tiny.timeless(tmp_path / "run") == tiny.timeless(tmp_path / "whole")


def test_checkpoints_come_by_the_clock_too(whole, tmp_path):
    path = tmp_path / "run"
    recorder = tiny.session().run(path, checkpoint_every=0, report_every=0)
    events = iter(recorder)
    for event in events:
        if isinstance(event, Progress) and (event.epoch, event.step) == (1, 4):
            break
    events.close()  # as a killed process: what was done since is lost
    assert names(path / "checkpoint") == [
        "epoch-0001-step-000000.safetensors",  # the best so far
        "epoch-0001-step-000003.safetensors", "epoch-0001-step-000004.safetensors",
    ]  # fmt: skip
    _, events = tiny.run(path, resume=True)
    assert events[0] == Resumed(1, 4)
    assert tiny.timeless(path) == tiny.timeless(whole[0])


def test_an_epochs_last_step_is_saved_once_with_its_evaluation(tmp_path):
    seen = set()
    for _ in tiny.session().run(tmp_path / "run", checkpoint_every=0, report_every=0):
        seen.update(names(tmp_path / "run" / "checkpoint"))
    steps = {int(name[16:22]) for name in seen}
    assert steps == set(range(STEPS))


@pytest.mark.parametrize(("epoch", "last"), [
    (1, "write_history"), (1, "write_weights"), (3, "write_history"), (3, "write_weights"), (3, "write_result"),
])  # fmt: skip
def test_a_run_that_died_while_it_wrote_an_epoch_down_is_completed(whole, tmp_path, monkeypatch, epoch, last):
    path = tmp_path / "run"
    real = getattr(Run, last)

    def die(run, *arguments):
        if len(run.history) + (last == "write_history") >= epoch:
            raise KeyboardInterrupt
        real(run, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Run, last, die)
        with pytest.raises(KeyboardInterrupt):
            tiny.run(path)
    tiny.run(path, resume=True, stop_after=0)
    assert len(Run(path).history) == epoch
    found = Run(path).weights()
    if epoch == 1:
        tiny.run(tmp_path / "one", stop_after=STEPS)
        expected = Run(tmp_path / "one").weights()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
        tiny.run(path, resume=True)
    assert tiny.timeless(path) == tiny.timeless(whole[0])
    assert (path / "curves.png").exists()


def test_a_finished_run_is_left_as_it_is(whole, monkeypatch):
    path, _ = whole
    before = {name: (path / name).stat().st_mtime_ns for name in names(path)}
    monkeypatch.setattr(Session, "make_model", lambda *_: pytest.fail("nothing is left to train"))
    run, events = tiny.run(path, resume=True)
    assert events == []
    assert run.result.epochs == 3
    assert {name: (path / name).stat().st_mtime_ns for name in names(path) if name != ".lock"} == before


def test_the_speed_of_an_interrupted_run_is_that_of_its_timed_images(tmp_path):
    # 8 of 9 steps were done in another process; this one times the rest alone.
    settings = {"epochs": 1}
    tiny.run(tmp_path / "run", session=tiny.session(**settings), stop_after=8)
    run, events = tiny.run(tmp_path / "run", session=tiny.session(**settings), resume=True)
    end = events[-1]
    assert isinstance(end, EpochEnded)
    assert run.result.examples_per_second == pytest.approx((70 - 8 * 8) / end.seconds)


# What is refused


OTHER_DATA = tiny.splits(seed=1)


@pytest.mark.parametrize(("other", "message"), [
    (lambda: tiny.session(learning_rate=0.02), r"\n  learning_rate: 0\.05, now 0\.02\n"),
    (lambda: tiny.session(seed=5, epochs=9), r"\n  epochs: 3, now 9\n  seed: 0, now 5\n"),
    (lambda: tiny.session(model="nin_28", image_size=8), r'\n  model: "tiny:tiny", now "nin_28"\n'),
    (lambda: tiny.session(image_size=12), "\n  image_size: none, now 12\n"),
    (lambda: tiny.session(precision="bfloat16"), '\n  precision: "float32", now "bfloat16"\n'),
    (lambda: tiny.session(data=OTHER_DATA), r'\n  data\.fingerprint: "\w{64}", now "\w{64}"\n'),
])  # fmt: skip
def test_going_on_with_something_else_is_refused_with_the_differences(tmp_path, other, message):
    tiny.run(tmp_path / "run", stop_after=3)
    before = names(tmp_path / "run" / "checkpoint")
    with pytest.raises(RunError, match=f"(?s)cannot go on with other settings:.*{message}.*leave them out") as caught:
        tiny.run(tmp_path / "run", session=other(), resume=True)
    lines = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert len(lines) == len(set(lines))  # each is said once
    assert names(tmp_path / "run" / "checkpoint") == before


def test_a_network_that_changed_under_its_name_is_refused(tmp_path, monkeypatch):
    tiny.run(tmp_path / "run", stop_after=3)
    monkeypatch.setattr(tiny, "NETWORK", tiny.NETWORK.named({**tiny.NETWORK.layers, "dropout1": tiny.Dropout(0.4)}))
    with pytest.raises(RunError, match=r"\n  network\.dropout1: Dropout\(p=0\.2\), now Dropout\(p=0\.4\)\n"):
        tiny.run(tmp_path / "run", resume=True)
    # Neither does another change that is meant let it through.
    with pytest.raises(RunError, match=r"settings:\n  network\.dropout1: "):
        tiny.run(tmp_path / "run", session=tiny.session(epochs=5), resume=True, resume_with=["epochs"])


def test_another_device_or_precision_of_the_machine_is_refused(tmp_path):
    recipe = tiny.recipe(precision=None)
    run = Session(recipe, data=tiny.DATA, device="cpu", precision="bfloat16").run(tmp_path / "run")
    assert run.run.config.precision == "bfloat16"
    other = Session(recipe, data=tiny.DATA, device="cpu", precision="float32")
    with pytest.raises(RunError, match="\n  precision: bfloat16, now float32\n"):
        other.run(tmp_path / "run", resume=True)
    other = Session(recipe, data=tiny.DATA, device="cpu", precision="bfloat16")
    other.config = msgspec.structs.replace(other.config, deterministic=True)
    with pytest.raises(RunError, match="\n  deterministic: False, now True\n"):
        other.run(tmp_path / "run", resume=True)


def test_deterministic_algorithms_are_the_back_ends_to_switch_on(monkeypatch):
    import torch

    assert not torch.are_deterministic_algorithms_enabled()
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    try:
        session = Session(tiny.recipe(), data=tiny.DATA, device="cpu", deterministic=True)
        assert session.config.deterministic
        assert torch.are_deterministic_algorithms_enabled()
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    finally:
        torch.use_deterministic_algorithms(False)
    assert not tiny.session().config.deterministic


def test_checkpoints_come_by_steps_too(whole, tmp_path):
    seen = set()
    for _ in tiny.session().run(tmp_path / "run", checkpoint_steps=4):
        seen.update(names(tmp_path / "run" / "checkpoint"))
    assert {(int(name[6:10]), int(name[16:22])) for name in seen} == {
        (epoch, step) for epoch in range(3) for step in (4, 8)
    } | {(epoch, 0) for epoch in (1, 2, 3)}  # fmt: skip
    assert tiny.timeless(tmp_path / "run") == tiny.timeless(whole[0])


def test_what_is_meant_may_change_and_is_written_down(tmp_path):
    path = tmp_path / "run"
    tiny.run(path, stop_after=STEPS + 3)
    changed = tiny.session(learning_rate=0.01, epochs=2, batch_size=4)
    with pytest.raises(RunError, match="cannot go on") as caught:
        tiny.run(path, session=changed, resume=True, resume_with=["epochs", "batch_size"])
    assert "epochs" not in str(caught.value)
    assert str(caught.value).endswith("meant: --resume-with learning_rate=0.01")
    with pytest.raises(RecipeError, match="epochs 1: 1 are done already; give more"):
        tiny.run(path, session=tiny.session(epochs=1), resume=True, resume_with=["epochs"])
    run, events = tiny.run(path, session=changed, resume=True, resume_with=["learning_rate", "epochs", "batch_size"])
    assert events[0] == Resumed(1, 6)
    assert run.result.epochs == 2
    assert Run(path).config.resumed_with == (
        "epoch 1, step 3: epochs: 3, now 2", "epoch 1, step 3: batch_size: 8, now 4",
        "epoch 1, step 3: learning_rate: 0.05, now 0.01",
    )  # fmt: skip
    assert run.history[0]["learning_rate"] != run.history[1]["learning_rate"]
    # From here on that is what it was told.
    tiny.run(path, session=changed, resume=True)
    with pytest.raises(RecipeError, match="--resume-with model: a run goes on with its own; what may change: epochs, "):
        tiny.run(path, session=changed, resume=True, resume_with=["model"])
    longer = tiny.session(learning_rate=0.01, epochs=4, batch_size=4)
    run, _ = tiny.run(path, session=longer, resume=True, resume_with=["epochs"])
    assert run.result.epochs == 4


def test_an_optimiser_of_another_kind_cannot_go_on(tmp_path):
    path = tmp_path / "run"
    tiny.run(path, stop_after=3)
    before = (path / "config.json").read_bytes()
    with pytest.raises(WeightsError, match="another optimiser"):
        tiny.run(path, session=tiny.session(optimizer="sgd"), resume=True, resume_with=["optimizer"])
    assert (path / "config.json").read_bytes() == before


def test_a_recipes_own_precision_comes_first():
    assert tiny.session(precision="float32").config.precision == "float32"
    session = Session(tiny.recipe(precision="float32"), data=tiny.DATA, device="cpu", precision="bfloat16")
    assert session.config.precision == "float32"


def test_a_directory_that_is_taken_is_refused(tmp_path, whole):
    with pytest.raises(RunError, match="holds a run; --resume goes on with it; choose another --out"):
        tiny.run(whole[0])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="own: is not empty; choose another --out"):
        tiny.run(tmp_path / "own")
    with pytest.raises(RunError, match=r"thesis\.tex: is a file; choose another --out"):
        tiny.run(tmp_path / "own" / "thesis.tex")
    with pytest.raises(RunError, match="cannot be written: Not a directory; choose another --out"):
        tiny.run(tmp_path / "own" / "thesis.tex" / "run")
    assert names(tmp_path / "own") == ["thesis.tex"]
    with pytest.raises(RunError, match=r"own: not a run directory: it has no config\.json"):
        tiny.run(tmp_path / "own", resume=True)
    with pytest.raises(RunError, match="there is no such directory"):
        tiny.run(tmp_path / "nowhere", resume=True)


def test_an_empty_directory_is_taken(tmp_path):
    run, _ = tiny.run(tmp_path, stop_after=0)
    assert run.path == tmp_path


def test_two_recorders_never_write_into_one_directory(tmp_path, whole):
    path = tmp_path / "run"
    first = tiny.session().run(path)
    events = iter(first)
    next(events)
    second = tiny.session().run(path, resume=True)
    with pytest.raises(RunError, match=r"process .* is training in it; wait for it, or choose another --out"):
        next(iter(second))
    program = """
import sys, tiny
from mlpconv.errors import RunError
try:
    tiny.run(__import__("pathlib").Path(sys.argv[1]), resume=True)
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    assert f"process {os.getpid()} on " in done.stdout, done.stderr
    list(events)
    assert tiny.timeless(path) == tiny.timeless(whole[0])
    assert not (path / ".lock").exists()


def test_without_a_place_each_run_finds_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Both look before either has begun, as two processes may.
    real, seen = place.new_path, []

    def look(*arguments):
        seen.append(real(*arguments))
        return seen[0] if len(seen) < 3 else seen[-1]

    monkeypatch.setattr(place, "new_path", look)
    paths = [tiny.run(None, stop_after=0)[0].path for _ in range(2)]
    assert [str(path) for path in paths] == ["runs/custom-tiny-1", "runs/custom-tiny-2"]


@pytest.fixture
def small_files():
    """No file may grow past 2 KiB: the kernel refuses as on a full disk. Configs are smaller, tensors larger."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limit[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_full_disk_leaves_the_checkpoint_before(whole, tmp_path, small_files):
    path = tmp_path / "run"
    tiny.run(path, stop_after=3)
    small_files()
    with pytest.raises(RunError, match=f"cannot be written: File too large; .*mlpconv train --out {path} --resume"):
        tiny.run(path, resume=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert names(path / "checkpoint") == ["epoch-0000-step-000003.safetensors"]
    _, events = tiny.run(path, resume=True)
    assert events[0] == Resumed(0, 3)
    assert tiny.timeless(path) == tiny.timeless(whole[0])


@pytest.mark.parametrize("what", ["write_history", "write_weights", "write_result"])
def test_a_disk_that_fills_at_the_end_is_told_in_words(tmp_path, monkeypatch, what):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Run, what, full)
    with pytest.raises(RunError, match=r"cannot be written: No space left on device; .*--resume"):
        tiny.run(tmp_path / "run", session=tiny.session(epochs=1))


def test_a_damaged_checkpoint_is_named_and_the_one_before_goes_on(whole, tmp_path, caplog):
    path = tmp_path / "run"
    tiny.run(path, stop_after=STEPS)
    newest = tiny.run(path, resume=True, stop_after=2)[0].path / "checkpoint" / "epoch-0001-step-000002.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    _, events = tiny.run(path, resume=True)
    assert events[0] == Resumed(1, 0)
    assert f"{newest}: damaged" in caplog.text
    assert "set aside as epoch-0001-step-000002.safetensors.damaged, going on from epoch-0001-step-0000" in caplog.text
    assert tiny.timeless(path) == tiny.timeless(whole[0])


def test_training_that_fails_leaves_what_it_had(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(TrainingFailed, match="not finite") as caught:
        tiny.run(path, session=tiny.session(learning_rate=1e30, optimizer="sgd", schedule="constant"))
    assert caught.value.exit_code == 3
    assert not (path / "result.json").exists()
    for line in Run(path).history:
        json.dumps(line, allow_nan=False)


# What a session takes


def test_classes_and_channels_are_the_datas(tmp_path):
    classes = ("é", "b ", "$c", "空")
    draw = np.random.default_rng(1)
    parts = [
        ImageDataset(draw.integers(0, 256, (n, 5, 9, 3), dtype=np.uint8), np.arange(n) % 3, classes, f"x/{n}")
        for n in (20, 7)
    ]
    run, events = tiny.run(tmp_path / "run", session=tiny.session(data=Splits(*parts), epochs=1))
    assert run.config.make_network().input_channels == 3
    assert run.weights()["block2.conv.weight"].shape == (4, 8, 3, 3)
    assert run.config.preprocess.mode == "RGB"
    assert events[-1].test.confusion.shape == (4, 4)
    assert run.result.class_accuracy["空"] is None  # there is no image of it
    assert list(run.result.class_accuracy) == list(classes)


def test_images_of_one_value_train(tmp_path):
    parts = [ImageDataset(np.full((9, 6, 6, 1), 7, np.uint8), np.arange(9) % 3, tiny.NAMES, "flat") for _ in "ab"]
    run, _ = tiny.run(tmp_path / "run", session=tiny.session(data=Splits(*parts), epochs=1))
    assert run.config.preprocess.std == (1.0,)
    assert np.isfinite(run.result.loss)


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"model": "nim"}, NetworkError, "unknown model 'nim'; did you mean 'nin'"),
    ({"model": "nin", "image_size": 20}, RecipeError, r"image_size 20: .*pool"),
    ({"model": "lenet", "image_sizes": [[0, 14]]}, RecipeError, "image_size 14: .*layers fix the images at 28"),
    ({"image_sizes": [[0, 1]]}, RecipeError, "image_size 1: "),
])  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_before_anything_is_written(changes, error, message):
    with pytest.raises(error, match=message):
        tiny.session(**changes)


def test_a_network_with_linear_layers_is_built_for_the_size_asked_for():
    session = tiny.session(model="lenet", image_size=32)
    assert session.make_model().weights()["fc1.weight"].shape == (120, 16 * 6 * 6)


def test_an_unknown_data_set_and_device_are_named():
    with pytest.raises(DataError, match="unknown data set 'fashion-mnits'"):
        Session(tiny.recipe(data="fashion-mnits"), device="cpu")
    with pytest.raises(MlpconvError, match="unknown device 'gpu'"):
        Session(tiny.recipe(), data=tiny.DATA, device="gpu")
    grey_alpha = ImageDataset(np.zeros((3, 6, 6, 2), np.uint8), np.arange(3), tiny.NAMES, "two")
    with pytest.raises(DataError, match="two: images have 2 channels"):
        tiny.session(data=Splits(grey_alpha, grey_alpha))


def test_a_forecast_changes_nothing(whole, tmp_path):
    session = tiny.session()
    recorder = session.run(tmp_path / "run")
    ahead = recorder.forecast()
    assert isinstance(ahead, Forecast)
    assert 0 < ahead.seconds < 60
    assert set(names(tmp_path / "run")) == {"checkpoint", "config.json", "environment.json"}
    for _ in recorder:
        pass
    assert tiny.timeless(tmp_path / "run") == tiny.timeless(whole[0])
    assert recorder.run.forecast == ahead


def test_a_resumed_run_forecasts_what_is_left_and_keeps_the_forecast_of_all(tmp_path, monkeypatch):
    asked = []

    def forecast(*given, epoch, step, **options):
        asked.append((epoch, step))
        return Forecast(float(len(asked)), 1.0)

    monkeypatch.setattr("mlpconv.runs.session.forecast", forecast)
    tiny.run(tmp_path / "run", session=(session := tiny.session()), stop_after=0)
    recorder = session.run(tmp_path / "run", resume=True, should_stop=iter([False] * (STEPS + 4) + [True]).__next__)
    recorder.forecast()
    for _ in recorder:
        pass
    left = tiny.session().run(tmp_path / "run", resume=True)
    left.forecast()
    for _ in left:
        pass
    assert asked == [(0, 0), (1, 4)]
    assert left.run.forecast.seconds == 1.0 + REPORT_SECONDS


def has_left(monkeypatch, available):
    monkeypatch.setattr("mlpconv.backends.hardware.available_memory", lambda: available)


def test_a_run_without_room_is_refused_before_anything_is_written_with_the_batch_that_has(tmp_path, monkeypatch):
    needed = {batch: tiny.session(batch_size=batch).fit().needed_bytes for batch in (8, 20, 21, 64)}
    assert needed[8] < needed[20] < needed[21] < needed[64]
    has_left(monkeypatch, needed[20])
    with pytest.raises(
        MlpconvError, match=r"batch size 64: tiny needs about .* of memory .*--batch-size 20; --force"
    ) as told:
        tiny.session(batch_size=64).run(tmp_path / "run")
    assert told.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []
    tiny.run(tmp_path / "fits", session=tiny.session(batch_size=20, epochs=1))
    tiny.run(tmp_path / "forced", session=tiny.session(batch_size=64, epochs=1), force=True)
    has_left(monkeypatch, 1000)
    with pytest.raises(MlpconvError, match="not even one image a step fits"):
        tiny.session().run(tmp_path / "none")
    has_left(monkeypatch, None)
    assert tiny.session().fit().largest_batch is None


def test_python_programs_can_force_too(tmp_path, monkeypatch):
    has_left(monkeypatch, 1000)
    with pytest.raises(MlpconvError, match="force=True"):
        mlpconv.train(tiny.recipe(), data=tiny.DATA, out=tmp_path / "run", device="cpu", epochs=1)
    run = mlpconv.train(tiny.recipe(), data=tiny.DATA, out=tmp_path / "run", device="cpu", epochs=1, force=True)
    assert run.result.epochs == 1


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
import tiny
from mlpconv.backends import hardware
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import MlpconvError
from mlpconv.training.trainer import EpochEnded

limited = sys.argv[2] == "limited"
session = tiny.session(epochs=2, batch_size=64, image_size=128)
recorder = session.run(sys.argv[1], resume=sys.argv[3] == "resume", force=True)
try:
    for event in recorder:
        if limited and isinstance(event, EpochEnded):
            now = hardware._field(hardware._STATUS, "VmSize")
            resource.setrlimit(resource.RLIMIT_AS, (now + 2**24, now + 2**24))
except MlpconvError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_memory_that_ends_in_training_is_told_and_the_checkpoint_goes_on(tmp_path):
    def train(run, limited, how):
        # Threads take room as they start; there is one, and it has started before the limit.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / run), limited, how]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    failed = train("run", "limited", "new")
    assert failed.returncode == 3, failed.stderr
    assert "no memory left in training with batch size 64" in failed.stdout
    assert "--batch-size 32" in failed.stdout
    assert f"mlpconv train --out {tmp_path / 'run'} --resume" in failed.stdout
    assert names(tmp_path / "run" / "checkpoint") == ["epoch-0001-step-000000.safetensors"]
    for run, how in (("run", "resume"), ("other", "new")):
        went = train(run, "free", how)
        assert went.returncode == 0, went.stderr
    assert tiny.timeless(tmp_path / "run") == tiny.timeless(tmp_path / "other")


@pytest.mark.parametrize(("batch", "largest", "remedy"), [
    (64, 20, "--batch-size 20"), (64, 200, "--batch-size 32"), (64, None, "--batch-size 32"),
    (1, 5, "not even one image"),
])  # fmt: skip
def test_the_batch_to_try_where_memory_ended(tmp_path, monkeypatch, batch, largest, remedy):
    session = tiny.session(batch_size=batch)

    def ended(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr(session, "fit", lambda: Fit(1, 1, 10, largest))
    monkeypatch.setattr(session, "make_model", ended)
    with pytest.raises(TrainingFailed, match=remedy) as told:
        tiny.run(tmp_path / "run", session=session)
    assert "--resume" not in str(told.value)  # there is no checkpoint


def test_other_errors_are_as_they_were(tmp_path, monkeypatch):
    session = tiny.session()

    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(session, "make_model", broken)
    with pytest.raises(RuntimeError, match="something else"):
        tiny.run(tmp_path / "run", session=session)


def test_a_network_without_weights_is_refused():
    with pytest.raises(RecipeError, match="no weights, so there is nothing to train"):
        tiny.session(model="tiny:weightless")


def test_a_run_begins_with_the_weights_of_another(whole, tmp_path):
    start, _ = whole
    prepared = Session(tiny.recipe(epochs=1), data=tiny.DATA, device="cpu", start=start)
    weights, model = Run(start).weights(), prepared.make_model()
    assert all(np.array_equal(model.weights()[name], weights[name]) for name in weights)
    again = Session(tiny.recipe(epochs=1), data=tiny.DATA, device="cpu", start=start / "weights.safetensors")
    assert again.config.start == str(start / "weights.safetensors")
    tiny.run(tmp_path / "run", session=prepared, stop_after=2)
    with pytest.raises(RunError, match=r"start: .*, now None"):
        tiny.run(tmp_path / "run", session=tiny.session(epochs=1), resume=True)


@pytest.mark.parametrize("begun", ["before the first checkpoint", "at a checkpoint"])
def test_a_run_that_began_with_weights_goes_on_without_where_they_came_from(whole, tmp_path, begun):
    source = tmp_path / "source"
    shutil.copytree(whole[0], source)
    recipe = tiny.recipe(epochs=1)
    for name, steps in (("straight", None), ("stopped", 2)):
        session = Session(recipe, recipe_name="custom", data=tiny.DATA, device="cpu", start=source)
        tiny.run(tmp_path / name, session=session, stop_after=steps)
    if begun == "before the first checkpoint":
        for file in (tmp_path / "stopped" / "checkpoint").iterdir():
            file.unlink()
    shutil.rmtree(source)
    ended = mlpconv.train(recipe, data=tiny.DATA, device="cpu", out=tmp_path / "stopped", resume=True)
    assert ended.result is not None
    expected, found = Run(tmp_path / "straight").weights(), ended.weights()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_a_pretrained_run_goes_on_without_where_it_began(whole, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(whole[0], source)
    recipe = tiny.recipe(epochs=1, pretrained=str(source), model="auto")
    session = Session(recipe, data=tiny.DATA, device="cpu")
    assert session.recipe.model == "tiny:tiny"
    tiny.run(tmp_path / "run", session=session, stop_after=2)
    shutil.rmtree(source)
    assert mlpconv.train(recipe, data=tiny.DATA, device="cpu", out=tmp_path / "run", resume=True).result is not None


def test_a_run_begins_with_the_weights_of_one_other(whole):
    recipe = tiny.recipe(pretrained=str(whole[0]))
    with pytest.raises(RecipeError, match=r"--weights .* and --pretrained .*: both say"):
        Session(recipe, data=tiny.DATA, device="cpu", start=whole[0])


def test_the_weights_of_another_network_are_refused_before_anything_begins(whole):
    start, _ = whole
    with pytest.raises(WeightsError, match=r"--weights .*belong to another network"):
        Session(tiny.recipe(model="nin_28"), data=load_dataset("digits"), device="cpu", start=start)
