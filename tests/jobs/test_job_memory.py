"""Time and memory of a job are forecast; where the memory is not enough, the batch that fits is named."""

import os
import subprocess
import sys

import pytest

import mlpconv
from mlpconv.errors import MlpconvError, TrainingFailed
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepared import REPORT_SECONDS
from mlpconv.jobs.request import ExecuteOptions
from mlpconv.training.forecast import Fit, Forecast
from support import tiny_training
from support.run_contents import contents_without_times
from support.tiny_training import STEPS, file_names

pytest.importorskip("torch")


def test_a_forecast_changes_nothing(whole, tmp_path):
    prepared = tiny_training.prepared()
    execution = execute(prepared, tmp_path / "run")
    ahead = execution.forecast()
    assert isinstance(ahead, Forecast)
    assert 0 < ahead.seconds < 60
    assert set(file_names(tmp_path / "run")) == {"checkpoint", "config.json", "environment.json"}
    for _ in execution:
        pass
    assert contents_without_times(tmp_path / "run") == contents_without_times(whole[0])
    assert execution.run.forecast == ahead


def test_a_resumed_run_forecasts_the_rest_and_keeps_the_whole_forecast(tmp_path, monkeypatch):
    asked = []

    def forecast(*given, start, **options):
        asked.append(start)
        return Forecast(float(len(asked)), 1.0)

    monkeypatch.setattr("mlpconv.jobs.prepared.forecast", forecast)
    tiny_training.train(tmp_path / "run", job=(prepared := tiny_training.prepared()), stop_after=0)
    should_stop = iter([False] * (STEPS + 4) + [True]).__next__
    execution = execute(prepared, tmp_path / "run", ExecuteOptions(resume=True), should_stop=should_stop)
    execution.forecast()
    for _ in execution:
        pass
    left = execute(tiny_training.prepared(), tmp_path / "run", ExecuteOptions(resume=True))
    left.forecast()
    for _ in left:
        pass
    assert asked == [(0, 0), (1, 4)]
    assert left.run.forecast.seconds == prepared.seconds + 1.0 + REPORT_SECONDS


def has_left(monkeypatch, available):
    monkeypatch.setattr("mlpconv.hardware.available_memory", lambda: available)


def test_without_enough_memory_a_run_is_refused_with_a_batch_size_that_fits(tmp_path, monkeypatch):
    needed = {batch: tiny_training.prepared(batch_size=batch).fit().needed_bytes for batch in (8, 20, 21, 64)}
    assert needed[8] < needed[20] < needed[21] < needed[64]
    has_left(monkeypatch, needed[20])
    with pytest.raises(
        MlpconvError, match=r"batch size 64: tiny needs about .* of memory .*--batch-size 20; --force"
    ) as told:
        execute(tiny_training.prepared(batch_size=64), tmp_path / "run")
    assert told.value.exit_code == 2
    assert list(tmp_path.iterdir()) == []
    tiny_training.train(tmp_path / "fits", job=tiny_training.prepared(batch_size=20, epochs=1))
    tiny_training.train(tmp_path / "forced", job=tiny_training.prepared(batch_size=64, epochs=1), force=True)
    has_left(monkeypatch, 1000)
    with pytest.raises(MlpconvError, match="not even one image a step fits"):
        execute(tiny_training.prepared(), tmp_path / "none")
    has_left(monkeypatch, None)
    assert tiny_training.prepared().fit().largest_batch is None


def test_force_skips_the_check_in_python(tmp_path, monkeypatch):
    has_left(monkeypatch, 1000)
    with pytest.raises(MlpconvError, match=r"TrainOptions\(force=True\)"):
        mlpconv.train(tiny_training.recipe(), data=tiny_training.DATA, out=tmp_path / "run", device="cpu", epochs=1)
    options = mlpconv.TrainOptions(force=True)
    run = mlpconv.train(
        tiny_training.recipe(), data=tiny_training.DATA, out=tmp_path / "run", device="cpu", epochs=1, options=options
    )
    assert run.result.epochs == 1


OUT_OF_MEMORY = """
import resource, sys
import numpy as np
from support import tiny_training
from mlpconv import hardware
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import MlpconvError
from mlpconv.jobs.execute import execute
from mlpconv.jobs.request import ExecuteOptions
from mlpconv.training.trainer import EpochEnded

limited = sys.argv[2] == "limited"
prepared = tiny_training.prepared(epochs=2, batch_size=64, image_size=128)
execution = execute(prepared, sys.argv[1], ExecuteOptions(resume=sys.argv[3] == "resume", force=True))
try:
    for event in execution:
        if limited and isinstance(event, EpochEnded):
            now = hardware._field(hardware._STATUS, "VmSize")
            resource.setrlimit(resource.RLIMIT_AS, (now + 2**24, now + 2**24))
except MlpconvError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")
def test_out_of_memory_in_training_is_reported_and_the_checkpoint_can_be_resumed(tmp_path):
    def train(run, limited, how):
        # Starting a thread needs memory; there is only one, started before the limit.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", OUT_OF_MEMORY, str(tmp_path / run), limited, how]
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    failed = train("run", "limited", "new")
    assert failed.returncode == 3, failed.stderr
    assert "no memory left in training with batch size 64" in failed.stdout
    assert "--batch-size 32" in failed.stdout
    assert f"mlpconv train --out {tmp_path / 'run'} --resume" in failed.stdout
    assert file_names(tmp_path / "run" / "checkpoint") == ["epoch-0001-step-000000.safetensors"]
    for run, how in (("run", "resume"), ("other", "new")):
        went = train(run, "free", how)
        assert went.returncode == 0, went.stderr
    assert contents_without_times(tmp_path / "run") == contents_without_times(tmp_path / "other")


@pytest.mark.parametrize(
    ("batch", "largest", "remedy"),
    [
        (64, 20, "--batch-size 20"),
        (64, 200, "--batch-size 32"),
        (64, None, "--batch-size 32"),
        (1, 5, "not even one image"),
    ],
)
def test_the_proposed_batch_size_after_out_of_memory(tmp_path, monkeypatch, batch, largest, remedy):
    prepared = tiny_training.prepared(batch_size=batch)

    def ended(*_):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes.")

    monkeypatch.setattr(prepared, "fit", lambda: Fit(1, 1, 10, largest))
    monkeypatch.setattr(prepared, "make_model", ended)
    with pytest.raises(TrainingFailed, match=remedy) as told:
        tiny_training.train(tmp_path / "run", job=prepared)
    assert "--resume" not in str(told.value)  # there is no checkpoint


def test_other_errors_are_raised_unchanged(tmp_path, monkeypatch):
    prepared = tiny_training.prepared()

    def broken(*_):
        raise RuntimeError("something else")

    monkeypatch.setattr(prepared, "make_model", broken)
    with pytest.raises(RuntimeError, match="something else"):
        tiny_training.train(tmp_path / "run", job=prepared)
