"""Cases 1 to 11 and 18: a run that is killed, stopped, starved or disturbed goes on as if nothing had happened."""

import contextlib
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from timeless import timeless
from world import (
    INTERRUPTED,
    KILL_SELF,
    KILLED,
    LONG,
    SIGTERM_SELF,
    STEPS,
    TERMINATED,
    at_step,
    training,
)

from mlpconv.runs.checkpoint import load
from mlpconv.runs.run import Run


def goes_on(world, path, whole, **options):
    """Resume to the end; the run is then as if it had never been interrupted. Returns what the resume said."""
    done = world.run("train", "--resume", "--out", path, **options)
    assert done.code == 0, done.err
    assert timeless(path) == timeless(whole)
    # A lock that its holder left is nobody's, and so is what a forecast was killed at.
    left = {each.name for each in path.iterdir() if not each.name.startswith(".")}
    assert left == {each.name for each in whole.iterdir() if not each.name.startswith(".")}
    return done


def begin(world, command, path, stop_at=5, how=SIGTERM_SELF, **options):
    """A run that has been stopped at a step."""
    done = world.run(*command, "--out", path, program=at_step(stop_at, how), **options)
    assert done.code == (TERMINATED if how == SIGTERM_SELF else KILLED), done.err
    return path


def checkpoints(path):
    return sorted(each.name for each in (path / "checkpoint").iterdir())


# 1: killed during a save. What is patched only says when; the kill is a real one.

KILLS = {
    "a half written file": ("os.fsync", "os.ftruncate(a[0], os.fstat(a[0]).st_size // 2); die()", "regular(a[0])"),
    "a file that has no name yet": ("os.replace", "die()", "named(a[1])"),
    "a file that has just got its name": ("os.replace", "real(*a, **k); die()", "named(a[1])"),
    "old ones being removed": ("os.unlink", "die()", "named(a[0])"),
    "the weights": ("os.replace", "die()", "'weights.safetensors' in str(a[1])"),
    "the history": ("os.replace", "die()", "'history.jsonl' in str(a[1])"),
    "the result": ("os.replace", "die()", "'result.json' in str(a[1])"),
    "the report": ("os.replace", "real(*a, **k); die()", "'report.html' in str(a[1])"),
}


def killed_at(call, then, when, count):
    return f"""
import os, signal, stat
from pathlib import Path
real, calls = {call}, 0
def die():
    os.kill(os.getpid(), signal.SIGKILL)
def regular(handle):
    return stat.S_ISREG(os.fstat(handle).st_mode) and "/checkpoint/.epoch-" in os.readlink(f"/proc/self/fd/{{handle}}")
def named(path):
    return Path(path).parent.name == "checkpoint" and Path(path).name.startswith("epoch-")
def replaced(*a, **k):
    global calls
    if {when}:
        calls += 1
        if calls == {count}:
            {then}
    return real(*a, **k)
{call} = replaced
"""


@pytest.mark.parametrize("what", KILLS)
def test_01_kill_during_a_save(world, command, whole, tmp_path, what):
    path = tmp_path / "run"
    once = what in ("the result", "the report")
    program = killed_at(*KILLS[what], count=1 if once else 2)
    done = world.run(*command, "--out", path, "--checkpoint-every", "3steps", program=program)
    assert done.code == KILLED
    last = max(each for each in checkpoints(path) if each.startswith("epoch-"))
    done = goes_on(world, path, whole)
    if what == "the report":
        assert "finished" in done.out
        return
    assert f"going on behind epoch {int(last[6:10])}, step {int(last[16:22])}\n" in done.out
    if what == "a half written file":
        assert last == "epoch-0000-step-000003.safetensors"


def test_01_kill_before_there_is_a_checkpoint(world, command, whole, tmp_path):
    path = begin(world, command, tmp_path / "run", stop_at=3, how=KILL_SELF)
    assert checkpoints(path) == []
    done = goes_on(world, path, whole)
    assert "going on behind" not in done.out


def test_01_kill_while_the_run_begins(world, command, whole, tmp_path):
    path = tmp_path / "run"
    program = killed_at("os.replace", "die()", "'config.json' in str(a[1])", 1)
    assert world.run(*command, "--out", path, program=program).code == KILLED
    done = world.run("train", "--resume", "--out", path)
    assert (done.code, done.err.split("; ")[0]) == (2, f"error: {path}: not a run directory: it has no config.json")
    assert world.run(*command, "--out", path).code == 0
    assert timeless(path) == timeless(whole)


# 2: a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of a megabyte, and what fills it; where none may be made, a limit to files that does as it does."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", place], capture_output=True, check=False)
    if made.returncode:
        yield place, lambda: "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2048, -1))", lambda: None
        return

    def fill():
        with (place / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        return ""

    yield place, fill, lambda: (place / "filler").unlink()
    subprocess.run(["umount", "--lazy", place], check=True)


def test_02_full_disk(world, command, whole, tmp_path, small_disk):
    place, fill, clear = small_disk
    path = begin(world, command, place / "run")
    before = checkpoints(path)
    full = fill()
    done = world.run("train", "--resume", "--out", path, "--json", program=full)
    assert done.code == 2
    assert done.err.startswith(f"error: {path}: cannot be written: ")
    assert done.err.endswith(f"make room, then mlpconv train --out {path} --resume\n")
    assert done.out == ""
    assert checkpoints(path) == before
    assert load(path / "checkpoint" / before[-1]).step == 5
    clear()
    goes_on(world, path, whole)


def test_02_full_disk_before_it_begins(world, command, small_disk):
    place, fill, _ = small_disk
    done = world.run(*command, "--out", place / "other", program=fill())
    assert done.code == 2
    assert done.err.startswith(f"error: {place / 'other'}: cannot be written: ")
    assert "Traceback" not in done.err


# 3: no right to write


def test_03_folder_not_writable(world, command, tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o555)
    nobody = "import os; os.getuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))"
    # Data that are not there would be missed if any work began.
    other = ("--data", "fashion-mnist", "--data-dir", tmp_path / "no-data")
    for out in (folder / "run", folder):
        done = world.run(*command, *other, "--out", out, program=nobody, MLPCONV_CACHE=str(tmp_path / "cache"))
        assert done.code == 2
        assert done.err.startswith(f"error: {out}: cannot be written: ")
        assert "Permission denied" in done.err
        assert done.err.count("\n") == 1
    assert list(folder.iterdir()) == []


def test_03_what_is_no_folder(world, command, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        done = world.run(*command, "--data", "nothing", "--out", out)
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert done.err.startswith(f"error: {out}: ")
    assert (tmp_path / "file").read_text() == "mine"


# 4, 5: signals

SLEEP = "print('slow', file=sys.stderr, flush=True); time.sleep(600)"


def impatient():
    """The patience of `mlpconv train` is 20 s; the long run waits for them."""
    return "" if LONG else "import mlpconv.runs.stop; mlpconv.runs.stop.PATIENCE = 0.5\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)])
def test_04_sigterm_and_ctrl_c_save(world, command, whole, tmp_path, number, code):
    path = tmp_path / "run"
    slow = at_step(5, "print('slow', file=sys.stderr, flush=True); time.sleep(0.5)")
    process = world.start(*command, "--out", path, program=slow)
    process.wait_for("slow")
    process.send(number)
    done = process.wait()
    assert (done.code, done.out) == (code, "")
    assert done.err == f"slow\nstopped and saved; go on with: mlpconv train --out {path} --resume\n"
    # The step during which the signal came is done.
    assert checkpoints(path) == ["epoch-0000-step-000005.safetensors"]
    goes_on(world, path, whole)


def test_04_sigterm_in_a_step_that_does_not_end(world, command, whole, tmp_path):
    from mlpconv.runs.stop import PATIENCE

    assert PATIENCE < 30 - 5
    path = tmp_path / "run"
    slow = "import mlpconv.runs.recorder; mlpconv.runs.recorder.SLOW_STEP = 0.2\n" + impatient()
    # A step that takes a while is saved, so that of one that takes for ever only itself is lost.
    slow += at_step(6, SLEEP, before="time.sleep(0.3)")
    process = world.start(*command, "--out", path, program=slow)
    process.wait_for("slow")
    process.send(signal.SIGTERM)
    began = time.monotonic()
    done = process.wait()
    assert time.monotonic() - began < 30
    assert done.code == TERMINATED
    assert done.err == "slow\nstopped in the middle of a step; what was saved before is whole\n"
    assert checkpoints(path) == ["epoch-0000-step-000005.safetensors"]
    goes_on(world, path, whole)


def test_04_sigterm_while_it_evaluates(world, command, whole, tmp_path):
    path = tmp_path / "run"
    slow = """
import sys, time
from mlpconv.backends.torch_model import TorchModel
real = TorchModel.logits
def logits(self, images):
    print("evaluating", len(images), file=sys.stderr, flush=True)
    time.sleep(0.5)
    return real(self, images)
TorchModel.logits = logits
"""
    process = world.start(*command, "--out", path, program=slow)
    process.wait_for("evaluating 256")
    process.send(signal.SIGTERM)
    done = process.wait()
    assert done.code == TERMINATED
    assert "evaluating 104" not in done.err
    assert checkpoints(path) == [f"epoch-0000-step-{STEPS:06d}.safetensors"]
    goes_on(world, path, whole)


@pytest.mark.parametrize("pause", [0.05, 0.3])
def test_05_a_second_ctrl_c_stops_at_once_and_loses_nothing_older(world, command, whole, tmp_path, pause):
    path = tmp_path / "run"
    process = world.start(*command, "--out", path, "--checkpoint-every", "2steps", program=at_step(6, SLEEP))
    process.wait_for("slow")
    process.send(signal.SIGINT)
    time.sleep(pause)
    process.send(signal.SIGINT)
    began = time.monotonic()
    done = process.wait()
    assert time.monotonic() - began < 10
    assert (done.code, done.out) == (INTERRUPTED, "")
    assert "stopped and saved" not in done.err
    assert "Traceback" not in done.err
    assert checkpoints(path) == ["epoch-0000-step-000002.safetensors", "epoch-0000-step-000004.safetensors"]
    goes_on(world, path, whole)


def test_05_the_clock_stops_in_good_order(world, command, whole, tmp_path):
    path = tmp_path / "run"
    done = world.run(*command, "--out", path, "--max-time", "0.3s", program=at_step(4, "time.sleep(0.5)"))
    assert (done.code, done.out) == (0, "")
    assert done.err == f"stopped and saved; go on with: mlpconv train --out {path} --resume\n"
    goes_on(world, path, whole)


# 6: a checkpoint that is no longer what was written


@pytest.mark.parametrize("how", ["cut", "flipped", "emptied", "swapped"])
def test_06_damaged_checkpoint(world, command, whole, tmp_path, how):
    path = begin(world, command, tmp_path / "run", stop_at=STEPS + 4)
    older, newest = (path / "checkpoint" / name for name in checkpoints(path))
    content = bytearray(newest.read_bytes())
    if how == "cut":
        newest.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[-100] ^= 1
        newest.write_bytes(content)
    elif how == "emptied":
        newest.write_bytes(b"")
    else:
        shutil.copy(path / "weights.safetensors", newest)
    done = goes_on(world, path, whole) if how != "swapped" else world.run("train", "--resume", "--out", path)
    assert done.code == 0
    assert done.err.startswith(f"{newest}: ")
    assert f"set aside as {newest.name}.damaged, going on from {older.name}\n" in done.err
    assert "going on behind epoch 1, step 0\n" in done.out


def test_06_no_silent_restart_where_all_are_damaged(world, command, tmp_path):
    path = begin(world, command, tmp_path / "run", stop_at=STEPS + 4)
    for each in (path / "checkpoint").iterdir():
        each.write_bytes(each.read_bytes()[:-1])
    done = world.run("train", "--resume", "--out", path)
    assert done.code == 2
    for name in checkpoints(path):
        assert name in done.err
    assert "start again with another --out" in done.err


# 7: exact resume

KINDS = {
    "adamw": {},
    "momentum": {"optimizer": "sgd", "set": "optimizer.momentum=0.9"},
    "sgd": {"optimizer": "sgd"},
    "enlarged on the way": {"image-size": 16, "set": "image_sizes=[[0, 8], [1.5, 16]]"},
    "bfloat16": {"precision": "bfloat16"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_07_resume_in_mid_epoch(world, tmp_path, kind):
    command = training(tmp_path, **KINDS[kind])
    assert world.run(*command, "--out", tmp_path / "whole").code == 0
    path = begin(world, command, tmp_path / "run", stop_at=STEPS + 4, how=SIGTERM_SELF)
    goes_on(world, path, tmp_path / "whole")


# 8, 9: another network, other settings


def refused(world, path, *arguments, **options):
    before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    done = world.run("train", "--resume", "--out", path, *arguments, **options)
    assert done.code == 2
    assert "Traceback" not in done.err
    assert before == {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
    return done.err


def test_08_another_network_or_classes(world, command, tmp_path):
    path = begin(world, command, tmp_path / "run")
    said = refused(world, path, "--model", "lenet", "--image-size", "28")
    assert 'model: "' in said
    assert '", now "lenet"' in said
    model = Path(Run(path).config.recipe.model)
    before = model.read_text()
    try:
        model.write_text(before.replace('"out_channels": 8', '"out_channels": 12'))
        said = refused(world, path)
    finally:
        model.write_text(before)
    assert "network.block1.conv: Conv2d(out_channels=8" in said
    assert "now Conv2d(out_channels=12" in said
    classes = """
import mlpconv.data.digits as digits
real = digits.load_digits
import mlpconv.data.sources as sources
def fewer(*a):
    from mlpconv.data import ImageDataset, Splits
    return Splits(*(ImageDataset(d.images, d.labels, (*d.class_names[:-1], "NINE"), d.name) for d in real(*a)))
sources.load_digits = fewer
"""
    said = refused(world, path, program=classes)
    assert '"9"], now [' in said
    assert '"NINE"]' in said


def test_09_other_settings_are_refused_without_their_flag(world, command, tmp_path):
    path = begin(world, command, tmp_path / "run")
    said = refused(world, path, "--batch-size", "90", "--lr", "0.001", "--deterministic")
    assert "\n  batch_size: 180, now 90\n  learning_rate: 0.002, now 0.001\n  deterministic: False, now True\n" in said
    assert "--resume-with batch_size=90 --resume-with learning_rate=0.001" in said
    said = refused(world, path, "--resume-with", "model=lenet")
    assert "--resume-with model: a run goes on with its own" in said

    changes = ("--resume-with", "batch_size=90", "--resume-with", "learning_rate=0.001", "--resume-with", "epochs=3")
    done = world.run("train", "--out", path, *changes)
    assert done.code == 0, done.err
    # Five batches of 180 are ten of 90.
    assert "going on behind epoch 0, step 10\n" in done.out
    config = Run(path).config
    assert (config.recipe.batch_size, config.recipe.learning_rate, config.recipe.epochs) == (90, 0.001, 3)
    assert config.resumed_with == (
        "epoch 0, step 5: epochs: 2, now 3", "epoch 0, step 5: batch_size: 180, now 90",
        "epoch 0, step 5: learning_rate: 0.002, now 0.001",
    )  # fmt: skip
    assert Run(path).result.epochs == 3


# 10: finished


def test_10_finished(world, whole, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    before = {each: each.stat().st_mtime_ns for each in path.rglob("*") if each.is_file()}
    done = world.run("train", "--resume", "--out", path)
    assert (done.code, done.err) == (0, "")
    assert f"{path}: this run is finished; nothing is left to do" in done.out
    assert before == {each: each.stat().st_mtime_ns for each in path.rglob("*") if each.is_file()}

    done = world.run("train", "--out", path, "--resume-with", "epochs=3")
    assert done.code == 0, done.err
    assert "going on behind epoch 2, step 0\n" in done.out
    assert Run(path).result.epochs == 3
    said = refused(world, path, "--resume-with", "epochs=1")
    assert "epochs 1: 3 are done already; give more" in said


# 11: two runs in one folder


def test_11_two_runs_in_one_folder(world, command, whole, tmp_path):
    path = tmp_path / "run"
    first = world.start(*command, "--out", path, program=at_step(5, SLEEP))
    first.wait_for("slow")
    said = refused(world, path)
    assert said.startswith(f"error: {path}: process {first.pid} on ")
    assert said.endswith("is training in it; wait for it, or choose another --out\n")
    assert world.run(*command, "--out", path).code == 2
    first.send(signal.SIGKILL)
    assert first.wait().code == KILLED
    assert (path / ".lock").exists()  # a dead holder's
    goes_on(world, path, whole)


# 18: out of memory


def test_18_out_of_memory(world, command, whole, tmp_path):
    path = tmp_path / "run"
    starve = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))"
    starve += "; big = bytearray(1 << 40)"
    done = world.run(*command, "--out", path, "--checkpoint-every", "2steps", program=at_step(6, starve))
    assert done.code not in (0, TERMINATED)
    newest = checkpoints(path)[-1]
    assert newest == "epoch-0000-step-000004.safetensors"
    assert load(path / "checkpoint" / newest).step == 4
    goes_on(world, path, whole)
