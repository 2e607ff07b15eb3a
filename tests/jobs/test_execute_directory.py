"""An execution and its run directory: no other process writes there; a full or damaged disk loses nothing older."""

import errno
import json
import os
import resource
import subprocess
import sys

import pytest

from mlpconv.errors import RunError, TrainingFailed
from mlpconv.jobs.execute import Resumed, execute
from mlpconv.jobs.request import ExecuteOptions
from mlpconv.runs import directory
from mlpconv.runs.run import Run
from support import tiny_training
from support.run_contents import contents_without_times
from support.tiny_training import STEPS, file_names

pytest.importorskip("torch")


def test_an_existing_directory_is_refused(tmp_path, whole):
    with pytest.raises(RunError, match="holds a run; continue it with --resume, or choose another --out"):
        tiny_training.train(whole[0])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match="own: is not empty; choose another --out"):
        tiny_training.train(tmp_path / "own")
    with pytest.raises(RunError, match=r"thesis\.tex: is a file; choose another --out"):
        tiny_training.train(tmp_path / "own" / "thesis.tex")
    with pytest.raises(RunError, match="cannot be written: Not a directory; choose another --out"):
        tiny_training.train(tmp_path / "own" / "thesis.tex" / "run")
    assert file_names(tmp_path / "own") == ["thesis.tex"]
    with pytest.raises(RunError, match=r"own: not a run directory: it has no config\.json"):
        tiny_training.train(tmp_path / "own", resume=True)
    with pytest.raises(RunError, match="there is no such directory"):
        tiny_training.train(tmp_path / "nowhere", resume=True)


def test_an_empty_directory_is_accepted(tmp_path):
    run, _ = tiny_training.train(tmp_path, stop_after=0)
    assert run.path == tmp_path


def test_two_executions_never_write_into_one_directory(tmp_path, whole):
    path = tmp_path / "run"
    first = execute(tiny_training.prepared(), path)
    events = iter(first)
    next(events)
    second = execute(tiny_training.prepared(), path, ExecuteOptions(resume=True))
    with pytest.raises(RunError, match=r"process .* is training in it; wait for it, or choose another --out"):
        next(iter(second))
    program = """
import pathlib, sys
from mlpconv.errors import RunError
from support import tiny_training
try:
    tiny_training.train(pathlib.Path(sys.argv[1]), resume=True)
except RunError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert f"process {os.getpid()} on " in done.stdout, done.stderr
    list(events)
    assert contents_without_times(path) == contents_without_times(whole[0])
    assert not (path / ".lock").exists()


def test_without_a_path_each_run_gets_a_new_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Both look for a path before either starts, as two processes may.
    real, seen = directory.new_path, []

    def look(*arguments):
        seen.append(real(*arguments))
        return seen[0] if len(seen) < 3 else seen[-1]

    monkeypatch.setattr(directory, "new_path", look)
    paths = [tiny_training.train(None, stop_after=0)[0].path for _ in range(2)]
    assert [str(path) for path in paths] == ["runs/custom-tiny_network-1", "runs/custom-tiny_network-2"]


@pytest.fixture
def small_files():
    """No file may grow past 2 KiB: the kernel refuses as on a full disk. Configs are smaller, tensors larger."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, limit[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_full_disk_leaves_the_previous_checkpoint(whole, tmp_path, small_files):
    path = tmp_path / "run"
    tiny_training.train(path, stop_after=3)
    small_files()
    with pytest.raises(RunError, match=f"cannot be written: File too large; .*mlpconv train --out {path} --resume"):
        tiny_training.train(path, resume=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert file_names(path / "checkpoint") == ["epoch-0000-step-000003.safetensors"]
    _, events = tiny_training.train(path, resume=True)
    assert events[0] == Resumed(0, 3)
    assert contents_without_times(path) == contents_without_times(whole[0])


@pytest.mark.parametrize("what", ["write_history", "write_weights", "write_result"])
def test_a_disk_that_is_full_at_the_end_is_reported(tmp_path, monkeypatch, what):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Run, what, full)
    with pytest.raises(RunError, match=r"cannot be written: No space left on device; .*--resume"):
        tiny_training.train(tmp_path / "run", job=tiny_training.prepared(epochs=1))


def test_a_damaged_checkpoint_is_named_and_the_previous_one_resumed(whole, tmp_path, caplog):
    path = tmp_path / "run"
    tiny_training.train(path, stop_after=STEPS)
    newest = (
        tiny_training.train(path, resume=True, stop_after=2)[0].path
        / "checkpoint"
        / "epoch-0001-step-000002.safetensors"
    )
    newest.write_bytes(newest.read_bytes()[:-9])
    _, events = tiny_training.train(path, resume=True)
    assert events[0] == Resumed(1, 0)
    assert f"{newest}: damaged" in caplog.text
    assert "renamed to epoch-0001-step-000002.safetensors.damaged, resuming from epoch-0001-step-0000" in caplog.text
    assert contents_without_times(path) == contents_without_times(whole[0])


def test_failed_training_leaves_its_results(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(TrainingFailed, match="not finite") as caught:
        tiny_training.train(path, job=tiny_training.prepared(learning_rate=1e30, optimizer="sgd", schedule="constant"))
    assert caught.value.exit_code == 3
    assert not (path / "result.json").exists()
    for line in Run(path).history:
        json.dumps(line, allow_nan=False)
