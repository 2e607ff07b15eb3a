"""Cases 7 to 11 and 18: an exact resume, refused with other settings; one process per directory; no memory left."""

import shutil
import signal
from pathlib import Path

import pytest

from mlpconv.runs.checkpoint import load
from mlpconv.runs.run import Run
from support.command_processes import KILLED, SIGTERM_SELF, STEPS, TERMINATED, program_at_step, training_arguments
from support.interrupted_runs import SLEEP, checkpoints, resume_and_compare, start_and_stop
from support.precision import needs_bfloat16

# 7: exact resume

KINDS = {
    "adamw": {},
    "momentum": {"optimizer": "sgd", "set": "optimizer.momentum=0.9"},
    "sgd": {"optimizer": "sgd"},
    "enlarged on the way": {"image-size": 16, "set": "image_sizes=[[0, 8], [1.5, 16]]"},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=needs_bfloat16) if kind == "bfloat16" else kind for kind in KINDS]
)
def test_07_resume_in_mid_epoch(processes, tmp_path, kind):
    command = training_arguments(tmp_path, **KINDS[kind])
    assert processes.run(*command, "--out", tmp_path / "whole").code == 0
    path = start_and_stop(processes, command, tmp_path / "run", stop_at=STEPS + 4, how=SIGTERM_SELF)
    resume_and_compare(processes, path, tmp_path / "whole")


# 8, 9: another network, other settings


def refused(processes, path, *arguments, **options):
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    done = processes.run("train", "--resume", "--out", path, *arguments, **options)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert before == {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    return done.err


def test_08_another_network_or_classes(processes, command, tmp_path):
    path = start_and_stop(processes, command, tmp_path / "run")
    said = refused(processes, path, "--model", "lenet", "--image-size", "28")
    assert 'model: "' in said
    assert '", now "lenet"' in said
    model = Path(Run(path).config.recipe.model)
    before = model.read_text()
    try:
        model.write_text(before.replace('"out_channels": 8', '"out_channels": 12'))
        said = refused(processes, path)
    finally:
        model.write_text(before)
    assert "network.block1.conv: Conv2d(out_channels=8" in said
    assert "now Conv2d(out_channels=12" in said
    classes = """
import mlpconv.data.known.digits as digits
real = digits.load_digits
import mlpconv.data.known.registry as sources
def fewer(*a):
    from mlpconv.data import ImageDataset, Splits
    return Splits(*(ImageDataset(d.images, d.labels, (*d.class_names[:-1], "NINE"), d.name) for d in real(*a)))
sources.load_digits = fewer
"""
    said = refused(processes, path, program=classes)
    assert '"9"], now [' in said
    assert '"NINE"]' in said


def test_09_other_settings_are_refused_without_their_flag(processes, command, tmp_path):
    path = start_and_stop(processes, command, tmp_path / "run")
    said = refused(processes, path, "--batch-size", "90", "--lr", "0.001", "--deterministic")
    assert "\n  batch_size: 180, now 90\n  learning_rate: 0.003, now 0.001\n  deterministic: False, now True\n" in said
    assert "--resume-override batch_size=90 --resume-override learning_rate=0.001" in said
    said = refused(processes, path, "--resume-override", "model=lenet")
    assert "--resume-override model: a resumed run keeps its own" in said

    settings = ("batch_size=90", "learning_rate=0.001", "epochs=3")
    changes = [part for setting in settings for part in ("--resume-override", setting)]
    done = processes.run("train", "--out", path, *changes)
    assert done.code == 0, done.err
    # Five batches of 180 are ten of 90.
    assert "resuming from epoch 0, step 10\n" in done.out
    config = Run(path).config
    assert (config.recipe.batch_size, config.recipe.learning_rate, config.recipe.epochs) == (90, 0.001, 3)
    assert config.resumed_with == (
        "epoch 0, step 5: epochs: 2, now 3",
        "epoch 0, step 5: batch_size: 180, now 90",
        "epoch 0, step 5: learning_rate: 0.003, now 0.001",
    )
    assert Run(path).result.epochs == 3


# 10: finished


def test_10_a_finished_run_is_not_changed(processes, whole, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    before = {each: each.stat().st_mtime_ns for each in path.rglob("*") if each.is_file()}
    done = processes.run("train", "--resume", "--out", path)
    assert (done.code, done.err) == (0, "")
    assert f"{path}: this run is finished; nothing is left to do" in done.out
    assert before == {each: each.stat().st_mtime_ns for each in path.rglob("*") if each.is_file()}

    done = processes.run("train", "--out", path, "--resume-override", "epochs=3")
    assert done.code == 0, done.err
    assert "resuming from epoch 2, step 0\n" in done.out
    assert Run(path).result.epochs == 3
    said = refused(processes, path, "--resume-override", "epochs=1")
    assert "epochs 1: 3 are done already; give more" in said


# 11: two runs in one folder


def test_11_two_runs_in_one_folder(processes, command, whole, tmp_path):
    path = tmp_path / "run"
    first = processes.start(*command, "--out", path, program=program_at_step(5, SLEEP))
    first.wait_for("slow")
    said = refused(processes, path)
    assert said.startswith(f"error: {path}: process {first.pid} on ")
    assert said.endswith("is training in it; wait for it, or choose another --out\n")
    assert processes.run(*command, "--out", path).code == 2
    first.send(signal.SIGKILL)
    assert first.wait().code == KILLED
    assert (path / ".lock").exists()  # a dead holder's
    resume_and_compare(processes, path, whole)


# 18: out of memory


def test_18_out_of_memory(processes, command, whole, tmp_path):
    path = tmp_path / "run"
    starve = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))"
    starve += "; big = bytearray(1 << 40)"
    done = processes.run(*command, "--out", path, "--checkpoint-every", "2steps", program=program_at_step(6, starve))
    assert done.code not in (0, TERMINATED)
    newest = checkpoints(path)[-1]
    assert newest == "epoch-0000-step-000004.safetensors"
    assert load(path / "checkpoint" / newest).step == 4
    resume_and_compare(processes, path, whole)
