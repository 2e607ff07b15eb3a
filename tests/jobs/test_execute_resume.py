"""A run that was stopped resumes as if it had not been, and refuses to resume with other settings."""

import msgspec
import numpy as np
import pytest

from mlpconv.errors import RecipeError, RunError, WeightsError
from mlpconv.jobs.execute import Resumed, execute
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.jobs.request import CheckpointPolicy, ExecuteOptions
from mlpconv.runs.run import Run
from mlpconv.training.trainer import EpochEnded, Progress, Stopped
from support import tiny_training
from support.precision import needs_bfloat16
from support.run_contents import contents_without_times
from support.tiny_training import STEPS, file_names

pytest.importorskip("torch")


@pytest.mark.parametrize(
    "stops",
    [
        [0],
        [1],
        [5],
        [STEPS],
        [STEPS + 4],
        [2 * STEPS],
        [3 * STEPS - 1],
        [3, 3, 0, 10, 2],
    ],
)
def test_a_resumed_run_equals_one_without_interruption(whole, tmp_path, stops):
    path = tmp_path / "run"
    done = 0
    for index, count in enumerate(stops):
        run, events = tiny_training.train(path, stop_after=count, resume=index > 0)
        assert events[-1] == Stopped((done + count) // STEPS, (done + count) % STEPS)
        assert (isinstance(events[0], Resumed)) is (done > 0)
        done += count
        assert run.result is None
        assert len(run.history) == done // STEPS
    _, events = tiny_training.train(path, resume=True)
    if done:
        assert events[0] == Resumed(done // STEPS, done % STEPS)
    assert contents_without_times(path) == contents_without_times(whole[0])
    assert file_names(path) == file_names(whole[0])


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": {"name": "sgd", "momentum": 0.9}},
        {"optimizer": "sgd"},
        pytest.param({"precision": "bfloat16"}, marks=needs_bfloat16),
        {"image_sizes": [[0, 6], [1.5, 12]]},
    ],
)
def test_every_kind_of_training_resumes_exactly(tmp_path, settings):
    tiny_training.train(tmp_path / "whole", job=tiny_training.prepared(**settings))
    tiny_training.train(tmp_path / "run", job=tiny_training.prepared(**settings), stop_after=13)
    tiny_training.train(tmp_path / "run", job=tiny_training.prepared(**settings), resume=True)
    assert contents_without_times(tmp_path / "run") == contents_without_times(tmp_path / "whole")


def test_checkpoints_can_be_saved_by_time(whole, tmp_path):
    path = tmp_path / "run"
    execution = execute(
        tiny_training.prepared(), path, ExecuteOptions(checkpoints=CheckpointPolicy(0), report_seconds=0)
    )
    events = iter(execution)
    for event in events:
        if isinstance(event, Progress) and (event.epoch, event.step) == (1, 4):
            break
    events.close()  # as a killed process: what was done since is lost
    assert file_names(path / "checkpoint") == [
        "epoch-0001-step-000000.safetensors",  # the best so far
        "epoch-0001-step-000003.safetensors",
        "epoch-0001-step-000004.safetensors",
    ]
    _, events = tiny_training.train(path, resume=True)
    assert events[0] == Resumed(1, 4)
    assert contents_without_times(path) == contents_without_times(whole[0])


def test_an_epochs_last_step_is_saved_once_with_its_evaluation(tmp_path):
    seen = set()
    options = ExecuteOptions(checkpoints=CheckpointPolicy(0), report_seconds=0)
    for _ in execute(tiny_training.prepared(), tmp_path / "run", options):
        seen.update(file_names(tmp_path / "run" / "checkpoint"))
    steps = {int(name[16:22]) for name in seen}
    assert steps == set(range(STEPS))


@pytest.mark.parametrize(
    ("epoch", "last"),
    [
        (1, "write_history"),
        (1, "write_weights"),
        (3, "write_history"),
        (3, "write_weights"),
        (3, "write_result"),
    ],
)
def test_a_run_killed_while_it_recorded_an_epoch_is_completed(whole, tmp_path, monkeypatch, epoch, last):
    path = tmp_path / "run"
    real = getattr(Run, last)

    def die(run, *arguments):
        if len(run.history) + (last == "write_history") >= epoch:
            raise KeyboardInterrupt
        real(run, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Run, last, die)
        with pytest.raises(KeyboardInterrupt):
            tiny_training.train(path)
    tiny_training.train(path, resume=True, stop_after=0)
    assert len(Run(path).history) == epoch
    found = Run(path).weights()
    if epoch == 1:
        tiny_training.train(tmp_path / "one", stop_after=STEPS)
        expected = Run(tmp_path / "one").weights()
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
        tiny_training.train(path, resume=True)
    assert contents_without_times(path) == contents_without_times(whole[0])
    assert (path / "curves.png").exists()


def test_a_finished_run_is_not_changed(whole, monkeypatch):
    path, _ = whole
    before = {name: (path / name).stat().st_mtime_ns for name in file_names(path)}
    monkeypatch.setattr(PreparedJob, "make_model", lambda *_: pytest.fail("nothing is left to train"))
    run, events = tiny_training.train(path, resume=True)
    assert events == []
    assert run.result.epochs == 3
    assert {name: (path / name).stat().st_mtime_ns for name in file_names(path) if name != ".lock"} == before


def test_the_speed_of_an_interrupted_run_is_that_of_its_timed_images(tmp_path):
    # 8 of 9 steps were done in another process; this one times the rest alone.
    settings = {"epochs": 1}
    tiny_training.train(tmp_path / "run", job=tiny_training.prepared(**settings), stop_after=8)
    run, events = tiny_training.train(tmp_path / "run", job=tiny_training.prepared(**settings), resume=True)
    end = events[-1]
    assert isinstance(end, EpochEnded)
    assert run.result.examples_per_second == pytest.approx((70 - 8 * 8) / end.seconds)


# What is refused


OTHER_DATA = tiny_training.splits(seed=1)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (lambda: tiny_training.prepared(learning_rate=0.02), r"\n  learning_rate: 0\.05, now 0\.02\n"),
        (lambda: tiny_training.prepared(seed=5, epochs=9), r"\n  epochs: 3, now 9\n  seed: 0, now 5\n"),
        (
            lambda: tiny_training.prepared(model="nin_28", image_size=8),
            r'\n  model: "support.tiny_training:tiny_network", now "nin_28"\n',
        ),
        (lambda: tiny_training.prepared(image_size=12), "\n  image_size: none, now 12\n"),
        pytest.param(
            lambda: tiny_training.prepared(precision="bfloat16"),
            '\n  precision: "float32", now "bfloat16"\n',
            marks=needs_bfloat16,
        ),
        (lambda: tiny_training.prepared(data=OTHER_DATA), r'\n  data\.fingerprint: "\w{64}", now "\w{64}"\n'),
    ],
)
def test_resuming_another_job_is_refused_with_the_differences(tmp_path, other, message):
    tiny_training.train(tmp_path / "run", stop_after=3)
    before = file_names(tmp_path / "run" / "checkpoint")
    with pytest.raises(
        RunError, match=f"(?s)cannot be resumed with other settings:.*{message}.*leave them out"
    ) as caught:
        tiny_training.train(tmp_path / "run", job=other(), resume=True)
    lines = [line.partition(":")[0] for line in str(caught.value).splitlines()]
    assert len(lines) == len(set(lines))  # each is said once
    assert file_names(tmp_path / "run" / "checkpoint") == before


def test_a_network_that_changed_under_its_name_is_refused(tmp_path, monkeypatch):
    tiny_training.train(tmp_path / "run", stop_after=3)
    monkeypatch.setattr(
        tiny_training,
        "NETWORK",
        tiny_training.NETWORK.named({**tiny_training.NETWORK.layers, "dropout1": tiny_training.Dropout(0.4)}),
    )
    with pytest.raises(RunError, match=r"\n  network\.dropout1: Dropout\(p=0\.2\), now Dropout\(p=0\.4\)\n"):
        tiny_training.train(tmp_path / "run", resume=True)
    # Confirming another change does not allow it either.
    with pytest.raises(RunError, match=r"settings:\n  network\.dropout1: "):
        tiny_training.train(
            tmp_path / "run", job=tiny_training.prepared(epochs=5), resume=True, allowed_changes=["epochs"]
        )


@needs_bfloat16
def test_another_default_device_or_precision_is_refused(tmp_path):
    made = tiny_training.prepared(request={"precision": "bfloat16"}, precision=None)
    run = execute(made, tmp_path / "run").run
    assert run.config.precision == "bfloat16"
    other = tiny_training.prepared(request={"precision": "float32"}, precision=None)
    with pytest.raises(RunError, match="\n  precision: bfloat16, now float32\n"):
        execute(other, tmp_path / "run", ExecuteOptions(resume=True))
    other = tiny_training.prepared(request={"precision": "bfloat16"}, precision=None)
    other.job = msgspec.structs.replace(other.job, deterministic=True)
    with pytest.raises(RunError, match="\n  deterministic: False, now True\n"):
        execute(other, tmp_path / "run", ExecuteOptions(resume=True))


def test_checkpoints_can_be_saved_by_steps(whole, tmp_path):
    seen = set()
    for _ in execute(tiny_training.prepared(), tmp_path / "run", ExecuteOptions(checkpoints=CheckpointPolicy(steps=4))):
        seen.update(file_names(tmp_path / "run" / "checkpoint"))
    assert {(int(name[6:10]), int(name[16:22])) for name in seen} == {
        (epoch, step) for epoch in range(3) for step in (4, 8)
    } | {(epoch, 0) for epoch in (1, 2, 3)}
    assert contents_without_times(tmp_path / "run") == contents_without_times(whole[0])


def test_confirmed_changes_are_allowed_and_recorded(tmp_path):
    path = tmp_path / "run"
    tiny_training.train(path, stop_after=STEPS + 3)
    changed = tiny_training.prepared(learning_rate=0.01, epochs=2, batch_size=4)
    with pytest.raises(RunError, match="cannot be resumed") as caught:
        tiny_training.train(path, job=changed, resume=True, allowed_changes=["epochs", "batch_size"])
    assert "epochs" not in str(caught.value)
    assert str(caught.value).endswith("changes: --resume-override learning_rate=0.01")
    with pytest.raises(RecipeError, match="epochs 1: 1 are done already; give more"):
        tiny_training.train(path, job=tiny_training.prepared(epochs=1), resume=True, allowed_changes=["epochs"])
    run, events = tiny_training.train(
        path, job=changed, resume=True, allowed_changes=["learning_rate", "epochs", "batch_size"]
    )
    assert events[0] == Resumed(1, 6)
    assert run.result.epochs == 2
    assert Run(path).config.resumed_with == (
        "epoch 1, step 3: epochs: 3, now 2",
        "epoch 1, step 3: batch_size: 8, now 4",
        "epoch 1, step 3: learning_rate: 0.05, now 0.01",
    )
    assert run.history[0]["learning_rate"] != run.history[1]["learning_rate"]
    # Later resumes use the changed settings.
    tiny_training.train(path, job=changed, resume=True)
    with pytest.raises(
        RecipeError, match="--resume-override model: a resumed run keeps its own; what may change: epochs, "
    ):
        tiny_training.train(path, job=changed, resume=True, allowed_changes=["model"])
    longer = tiny_training.prepared(learning_rate=0.01, epochs=4, batch_size=4)
    run, _ = tiny_training.train(path, job=longer, resume=True, allowed_changes=["epochs"])
    assert run.result.epochs == 4


def test_another_optimizer_cannot_resume(tmp_path):
    path = tmp_path / "run"
    tiny_training.train(path, stop_after=3)
    before = (path / "config.json").read_bytes()
    with pytest.raises(WeightsError, match="another optimizer"):
        tiny_training.train(
            path, job=tiny_training.prepared(optimizer="sgd"), resume=True, allowed_changes=["optimizer"]
        )
    assert (path / "config.json").read_bytes() == before
