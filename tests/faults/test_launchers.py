"""The launchers of several processes, ``mlpconv train --nproc`` and ``torchrun``: killed, or one of their processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlpconv.runs.run import Run
from support.command_processes import INTERRUPTED, TERMINATED, training_arguments, wait_until_ended
from support.interrupted_runs import checkpoints

pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")

LONG = {"epochs": 2000, "checkpoint-every": "3steps"}
"""A run that is still training when the test interferes."""


def start(tmp_path, *launcher, **options):
    """Start training under a launcher."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLPCONV_")}
    environment |= {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "MLPCONV_ALLOCATOR": "system"}
    arguments = training_arguments(tmp_path, **options)
    command = [sys.executable, "-m", *launcher, *arguments, "--out", str(tmp_path / "run")]
    if launcher[0] == "mlpconv":
        command += ["--nproc", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, text=True, cwd=tmp_path, **pipes)


TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mlpconv")


def workers(launcher):
    """The process ids of the training processes by rank, once they train."""
    found = {}
    for pid in (each.name for each in Path("/proc").iterdir() if each.name.isdecimal()):
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            if int(stat.rpartition(")")[2].split()[1]) != launcher.pid:
                continue
            variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
        except OSError:  # it has ended meanwhile
            continue
        ranks = [variable.partition("=")[2] for variable in variables if variable.startswith("RANK=")]
        found |= {int(rank): int(pid) for rank in ranks}
    return found


def wait_for_checkpoint(path, launcher, seconds=120):
    until = time.monotonic() + seconds
    while not any((path / "checkpoint").glob("epoch-*")):
        assert launcher.poll() is None, launcher.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def resume(tmp_path):
    """Resume the run in one process, for an epoch more than are done."""
    done = Run(tmp_path / "run")
    epochs = len(done.history) + 1
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, "-m", "mlpconv", "train", "--json", "--out", str(tmp_path / "run")]
    command += ["--resume-override", f"epochs={epochs}"]
    ended = subprocess.run(command, env=environment, text=True, cwd=tmp_path, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert Run(tmp_path / "run").result.epochs == epochs


@pytest.mark.parametrize("launcher", [("mlpconv",), TORCHRUN], ids=["nproc", "torchrun"])
def test_a_launcher_trains_with_several_processes(tmp_path, launcher):
    started = start(tmp_path, *launcher)
    out, err = started.communicate(timeout=200)
    assert started.returncode == 0, err
    assert out.count('"test_accuracy"') == 1
    run = Run(tmp_path / "run")
    assert len(run.history) == 2
    assert run.environment["processes"] == 2
    assert "2 processes of 1 thread" in run.environment["device"]


def test_a_launcher_names_the_process_that_was_killed(tmp_path):
    started = start(tmp_path, "mlpconv", **LONG)
    wait_for_checkpoint(tmp_path / "run", started)
    pids = workers(started)
    assert pids.keys() == {0, 1}
    os.kill(pids[1], signal.SIGKILL)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 3
    assert f"error: rank 1 of 2 processes (process {pids[1]}) was killed by SIGKILL" in err
    assert "Traceback" not in err
    wait_until_ended(pids.values())
    resume(tmp_path)


def test_a_killed_launcher_leaves_no_process(tmp_path):
    started = start(tmp_path, "mlpconv", **LONG)
    wait_for_checkpoint(tmp_path / "run", started)
    pids = workers(started)
    started.kill()
    _, err = started.communicate(timeout=60)  # until the processes have closed their output too
    assert f"the launcher (process {started.pid}) has ended; saving and stopping\n" in err
    assert "stopped and saved; to continue: mlpconv train --nproc 2 --out" in err
    assert "Traceback" not in err
    wait_until_ended(pids.values())
    resume(tmp_path)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)])
def test_a_signal_to_a_launcher_saves_the_run(tmp_path, number, code):
    started = start(tmp_path, "mlpconv", **LONG)
    wait_for_checkpoint(tmp_path / "run", started)
    pids = workers(started)
    started.send_signal(number)
    _, err = started.communicate(timeout=60)
    assert started.returncode == code
    assert err == f"stopped and saved; to continue: mlpconv train --nproc 2 --out {tmp_path / 'run'} --resume\n"
    wait_until_ended(pids.values())
    assert checkpoints(tmp_path / "run")
    resume(tmp_path)


def test_what_several_processes_cannot_do_is_one_error(tmp_path):
    started = start(tmp_path, "mlpconv", device="meta")
    out, err = started.communicate(timeout=100)
    assert (started.returncode, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
