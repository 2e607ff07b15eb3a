"""Several processes train one run: resumed with another number of them, and with one of them killed or stuck."""

import signal
import time
from collections import Counter

import pytest

from mlpconv.runs.run import Run
from support.command_processes import KILL_SELF, KILLED, STEPS, TERMINATED, program_at_step
from support.interrupted_runs import checkpoints
from support.run_contents import contents_without_times
from support.several_processes import COUNTED, assert_same_training, images_taken, run_ranks, start_ranks

IMAGES = 1437
QUIET = ("--set", "augmentation.mixup=0", "--optimizer", "sgd", "--lr", "0.5")
"""Without mixup, in which a step takes an image twice, and with an optimizer that does not magnify rounding."""


STOP_AFTER = """
import os, signal
from mlpconv.training.trainer import Loop
real_step, count = Loop.train_step, 0
def train_step(self):
    global count
    real_step(self)
    count += 1
    if count == {}:
        os.kill(os.getpid(), signal.SIGTERM)
Loop.train_step = train_step
"""
"""A program that stops the run after a number of steps of this process."""


AT_STEP = """
import os, signal, sys, time
from mlpconv.backends.pytorch.model import TorchModel
real_part, count = TorchModel._gather, 0
def gather(self, chosen, indices):
    global count
    count += len(self._images) == 1437
    if count == {}:
        {}
    return real_part(self, chosen, indices)
TorchModel._gather = gather
"""
"""A program that does something in a step of a process, whatever its rank. Forecasts have fewer images."""


@pytest.fixture(scope="module")
def uninterrupted(processes, command):
    """The run that the others are compared with, in one process without interruption."""
    path = processes.folder / "uninterrupted"
    done = processes.run(*command, *QUIET, "--out", path)
    assert done.code == 0, done.err
    return path


@pytest.mark.parametrize("numbers", [(2, 1, 2), (1, 2, 1), (2, 4, 2), (2, 2, 3)], ids=str)
def test_a_resume_with_another_number_of_processes(processes, command, uninterrupted, tmp_path, numbers):
    path = tmp_path / "run"
    first = run_ranks(
        processes, numbers[0], *command, *QUIET, "--out", path, program=COUNTED, programs={0: STOP_AFTER.format(5)}
    )
    assert [each.code for each in first] == [TERMINATED] + [0] * (numbers[0] - 1), first
    assert checkpoints(path) == ["epoch-0000-step-000005.safetensors"]
    resume = ("train", "--json", "--resume", "--out", path)
    second = run_ranks(processes, numbers[1], *resume, program=COUNTED, programs={0: STOP_AFTER.format(STEPS - 5)})
    assert [each.code for each in second] == [TERMINATED] + [0] * (numbers[1] - 1), second
    assert checkpoints(path)[-1] in ("epoch-0001-step-000000.safetensors", f"epoch-0000-step-{STEPS:06d}.safetensors")
    assert images_taken(first) + images_taken(second) == Counter(range(IMAGES))
    third = run_ranks(processes, numbers[2], *resume, program=COUNTED)
    assert [each.code for each in third] == [0] * numbers[2], third
    assert images_taken(third) == Counter(range(IMAGES))
    assert_same_training(path, uninterrupted)


def test_a_resume_with_as_many_processes_is_exact(processes, command, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "run"
    assert [each.code for each in run_ranks(processes, 2, *command, "--out", whole)] == [0, 0]
    assert Run(whole).environment["processes"] == 2
    stopped = run_ranks(processes, 2, *command, "--out", path, programs={0: STOP_AFTER.format(STEPS + 3)})
    assert [each.code for each in stopped] == [TERMINATED, 0]
    resumed = run_ranks(processes, 2, "train", "--json", "--resume", "--out", path)
    assert [(each.code, each.err) for each in resumed] == [(0, ""), (0, "")]
    assert contents_without_times(path) == contents_without_times(whole)


LOST = "the connection to rank {} of {} processes is lost: it has ended, or does not respond"


@pytest.mark.parametrize("count", [2, 3])
def test_a_killed_process_is_named_and_ends_the_others(processes, command, tmp_path, count):
    path = tmp_path / "run"
    killed = {1: AT_STEP.format(STEPS + 3, KILL_SELF)}
    began = time.monotonic()
    ended = run_ranks(processes, count, *command, "--out", path, "--checkpoint-every", "2steps", programs=killed)
    assert time.monotonic() - began < 40
    assert ended[1].code == KILLED
    for rank in {0, *range(2, count)}:
        assert ended[rank].code == 3, ended
        assert "Traceback" not in ended[rank].err
    assert ended[0].err == (
        f"error: {LOST.format(1, count)}; to continue from the last checkpoint: mlpconv train --out {path} --resume\n"
    )
    assert checkpoints(path)[-1] == "epoch-0001-step-000002.safetensors"
    assert not (path / "failed.json").exists()
    assert [each.code for each in run_ranks(processes, 2, "train", "--json", "--resume", "--out", path)] == [0, 0]


def test_a_killed_first_process_ends_the_others(processes, command, tmp_path):
    path = tmp_path / "run"
    killed = {0: AT_STEP.format(STEPS + 3, KILL_SELF)}
    began = time.monotonic()
    ended = run_ranks(processes, 2, *command, "--out", path, programs=killed)
    assert time.monotonic() - began < 40
    assert [each.code for each in ended] == [KILLED, 3]
    # Where PyTorch was imported before, as here, it prints more.
    assert ended[1].err.endswith(f"error: {LOST.format(0, 2)}\n")
    resumed = run_ranks(processes, 2, "train", "--resume", "--out", path)
    assert [each.code for each in resumed] == [0, 0]
    assert "resuming from epoch 1, step 0\n" in resumed[0].out


def test_a_process_that_does_not_respond_is_named(processes, command, tmp_path):
    path = tmp_path / "run"
    from mlpconv.backends.pytorch.processes import TIMEOUT

    assert 30 <= TIMEOUT.total_seconds() <= 50
    impatient = """
import datetime
import mlpconv.backends.pytorch.processes as module
module.TIMEOUT = datetime.timedelta(seconds=4)
"""
    stuck = {1: AT_STEP.format(3, "print('stuck', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGSTOP)")}
    began = time.monotonic()
    first, second = start_ranks(processes, 2, *command, "--out", path, program=impatient, programs=stuck)
    done = first.wait()
    assert time.monotonic() - began < 30
    assert (done.code, LOST.format(1, 2) in done.err) == (3, True), done
    second.send(signal.SIGKILL)
    assert second.wait().code == KILLED


def test_signals_reach_all_processes_and_the_run_is_saved_once(processes, command, tmp_path):
    path = tmp_path / "run"
    slow = program_at_step(5, "print('slow', file=sys.stderr, flush=True); time.sleep(0.5)")
    started = start_ranks(processes, 2, *command, "--out", path, programs={0: slow})
    started[0].wait_for("slow")
    for each in started:  # as a launcher and a terminal send it
        each.send(signal.SIGTERM)
    ended = [each.wait() for each in started]
    assert [each.code for each in ended] == [TERMINATED, 0], ended
    assert ended[0].err == f"slow\nstopped and saved; to continue: mlpconv train --out {path} --resume\n"
    assert ended[1].err == ""
