"""Cases 1, 4 and 5: a run that is killed or stopped resumes and ends as one without interruption."""

import signal
import time

import pytest

from support.command_processes import INTERRUPTED, KILL_SELF, KILLED, LONG, STEPS, TERMINATED, program_at_step
from support.interrupted_runs import SLEEP, checkpoints, resume_and_compare, start_and_stop
from support.run_contents import contents_without_times

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
def test_01_kill_during_a_save(processes, command, whole, tmp_path, what):
    path = tmp_path / "run"
    once = what in ("the result", "the report")
    program = killed_at(*KILLS[what], count=1 if once else 2)
    done = processes.run(*command, "--out", path, "--checkpoint-every", "3steps", program=program)
    assert done.code == KILLED
    last = max(each for each in checkpoints(path) if each.startswith("epoch-"))
    done = resume_and_compare(processes, path, whole)
    if what == "the report":
        assert "finished" in done.out
        return
    assert f"resuming from epoch {int(last[6:10])}, step {int(last[16:22])}\n" in done.out
    if what == "a half written file":
        assert last == "epoch-0000-step-000003.safetensors"


def test_01_kill_before_there_is_a_checkpoint(processes, command, whole, tmp_path):
    path = start_and_stop(processes, command, tmp_path / "run", stop_at=3, how=KILL_SELF)
    assert checkpoints(path) == []
    done = resume_and_compare(processes, path, whole)
    assert "resuming from" not in done.out


def test_01_kill_while_the_run_starts(processes, command, whole, tmp_path):
    path = tmp_path / "run"
    program = killed_at("os.replace", "die()", "'config.json' in str(a[1])", 1)
    assert processes.run(*command, "--out", path, program=program).code == KILLED
    done = processes.run("train", "--resume", "--out", path)
    assert (done.code, done.err.split("; ")[0]) == (2, f"error: {path}: not a run directory: it has no config.json")
    assert processes.run(*command, "--out", path).code == 0
    assert contents_without_times(path) == contents_without_times(whole)


# 4, 5: signals


def impatient():
    """The patience of `mlpconv train` is 20 s; the long run waits for them."""
    return "" if LONG else "import mlpconv.jobs.stop; mlpconv.jobs.stop.GRACE_SECONDS = 0.5\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)])
def test_04_sigterm_and_ctrl_c_save(processes, command, whole, tmp_path, number, code):
    path = tmp_path / "run"
    slow = program_at_step(5, "print('slow', file=sys.stderr, flush=True); time.sleep(0.5)")
    process = processes.start(*command, "--out", path, program=slow)
    process.wait_for("slow")
    process.send(number)
    done = process.wait()
    assert (done.code, done.out) == (code, "")
    assert done.err == f"slow\nstopped and saved; to continue: mlpconv train --out {path} --resume\n"
    # The step during which the signal came is done.
    assert checkpoints(path) == ["epoch-0000-step-000005.safetensors"]
    resume_and_compare(processes, path, whole)


def test_04_sigterm_in_a_step_that_does_not_end(processes, command, whole, tmp_path):
    from mlpconv.jobs.stop import GRACE_SECONDS

    assert GRACE_SECONDS < 30 - 5
    path = tmp_path / "run"
    slow = "import mlpconv.jobs.execute; mlpconv.jobs.execute.SLOW_STEP = 0.2\n" + impatient()
    # A step that takes a while is saved, so that of one that takes for ever only itself is lost.
    slow += program_at_step(6, SLEEP, before="time.sleep(0.3)")
    process = processes.start(*command, "--out", path, program=slow)
    process.wait_for("slow")
    process.send(signal.SIGTERM)
    began = time.monotonic()
    done = process.wait()
    assert time.monotonic() - began < 30
    assert done.code == TERMINATED
    assert done.err == "slow\nstopped in the middle of a step; what was saved before is complete\n"
    assert checkpoints(path) == ["epoch-0000-step-000005.safetensors"]
    resume_and_compare(processes, path, whole)


def test_04_sigterm_while_it_evaluates(processes, command, whole, tmp_path):
    path = tmp_path / "run"
    slow = """
import sys, time
from mlpconv.backends.pytorch.model import TorchModel
real = TorchModel.logits
def logits(self, images):
    print("evaluating", len(images), file=sys.stderr, flush=True)
    time.sleep(0.5)
    return real(self, images)
TorchModel.logits = logits
"""
    process = processes.start(*command, "--out", path, program=slow)
    process.wait_for("evaluating 256")
    process.send(signal.SIGTERM)
    done = process.wait()
    assert done.code == TERMINATED
    assert "evaluating 104" not in done.err
    assert checkpoints(path) == [f"epoch-0000-step-{STEPS:06d}.safetensors"]
    resume_and_compare(processes, path, whole)


@pytest.mark.parametrize("pause", [0.05, 0.3])
def test_05_a_second_ctrl_c_stops_at_once_and_loses_nothing_older(processes, command, whole, tmp_path, pause):
    path = tmp_path / "run"
    process = processes.start(
        *command, "--out", path, "--checkpoint-every", "2steps", program=program_at_step(6, SLEEP)
    )
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
    resume_and_compare(processes, path, whole)


def test_05_max_time_saves_and_stops(processes, command, whole, tmp_path):
    path = tmp_path / "run"
    done = processes.run(*command, "--out", path, "--max-time", "0.3s", program=program_at_step(4, "time.sleep(0.5)"))
    assert (done.code, done.out) == (0, "")
    assert done.err == f"stopped and saved; to continue: mlpconv train --out {path} --resume\n"
    resume_and_compare(processes, path, whole)
