"""Commands as real processes that can be killed, without importing everything for each.

A server has imported everything that a training run needs; each run is a process that it forks, which then does what
``mlpconv ARGUMENTS`` does. When it is killed, only its files are left.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

KILLS = int(os.environ.get("MLPCONV_KILLS", "6"))
"""Number of `kill -9`s that one run survives."""
INPUTS = int(os.environ.get("MLPCONV_INPUTS", "150"))
"""Number of damaged files for each reader."""
FIRST_SEED = int(os.environ.get("MLPCONV_FIRST_SEED", "0"))
"""Where tests that draw their inputs by seed start: a long run is continued, or a seed that failed tried again."""
LONG = "MLPCONV_KILLS" in os.environ

SERVER = r"""
import json, os, sys, traceback
import jinja2, matplotlib.backends.backend_agg, matplotlib.figure, sklearn.datasets, torch, torch._dynamo
import mlpconv.cli, mlpconv.__main__
import mlpconv.backends.pytorch.backend, mlpconv.jobs.execute, mlpconv.jobs.stop, mlpconv.drawing.plots
import mlpconv.reports.report
import mlpconv.convert, mlpconv.data.folders.folder, mlpconv.inference.classifier, rich.progress

torch.set_num_threads(1)


def child(order):
    os.chdir(order["folder"])
    for name, descriptor in (("out", 1), ("err", 2)):
        file = os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
    os.environ.update(order["environment"])
    sys.argv = ["mlpconv", *order["arguments"]]
    code = 1
    try:
        exec(order["program"], {"__name__": "program"})
        mlpconv.__main__.main()
        code = 0
    except SystemExit as ended:
        code = ended.code or 0
    except BaseException:  # as the interpreter does with whatever ends a program
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
    else:
        answer = os.fork()
        if not answer:
            sys.stdin.close()
            child(order)
    print(answer, flush=True)
"""


def is_running(pid):
    """Whether a process has not ended; one that ended stays listed until its parent asks for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def wait_until_ended(pids, seconds=30):
    """Wait until none of these processes is running."""
    until = time.monotonic() + seconds
    while left := [pid for pid in pids if is_running(pid)]:
        assert time.monotonic() < until, f"still running: {left}"
        time.sleep(0.05)


class Ended(NamedTuple):
    """The exit code and the output of a process; the code is negative if a signal killed it."""

    code: int
    out: str
    err: str


class Process:
    """A process of the command line."""

    def __init__(self, world, pid, out, err):
        self._world, self.pid, self._out, self._err = world, pid, out, err

    def send(self, number):
        os.kill(self.pid, number)

    def wait_for(self, text, seconds=60):
        """Wait until it has written ``text`` to either stream."""
        until = time.monotonic() + seconds
        while text not in self._out.read_text() + self._err.read_text():
            assert time.monotonic() < until, f"no {text!r} in {self._out.read_text()}{self._err.read_text()}"
            time.sleep(0.01)

    def wait(self):
        code = self._world._ask({"wait": self.pid})
        return Ended(code, self._out.read_text(errors="replace"), self._err.read_text(errors="replace"))


class CommandProcesses:
    """The server, and a folder for the files that its processes write."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._count = 0
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg", "COLUMNS": "200"}
        alone = {"MLPCONV_CACHE": str(folder / "cache"), "MPLCONFIGDIR": str(folder), "HOME": str(folder)}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MLPCONV_")}
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment | one_thread | alone,
        )

    def close(self):
        self._server.stdin.close()
        self._server.stdout.close()
        self._server.wait(60)

    def _ask(self, order):
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def start(self, *arguments, program="", folder=None, **environment):
        """Start ``mlpconv ARGUMENTS``; program: Python code that it executes first."""
        self._count += 1
        out, err = (self.folder / f"{self._count}.{stream}" for stream in ("out", "err"))
        for file in (out, err):
            file.touch()
        order = {"arguments": list(map(str, arguments)), "program": program, "environment": environment}
        order |= {"out": str(out), "err": str(err), "folder": str(folder or self.folder)}
        return Process(self, self._ask(order), out, err)

    def run(self, *arguments, **options):
        """``start``, then wait until it ends."""
        return self.start(*arguments, **options).wait()


NETWORK = {
    "format": 1,
    "name": "small",
    "input_size": 8,
    "layers": {
        "block1": {
            "conv": {"kind": "conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1},
            "norm": {"kind": "batch_norm2d"},
            "relu": {"kind": "relu"},
        },
        "pool1": {"kind": "max_pool2d", "kernel_size": 2, "stride": 2},
        "dropout1": {"kind": "dropout", "p": 0.2},
        "block2": {
            "conv": {"kind": "conv2d", "out_channels": 10, "kernel_size": 3, "padding": 1},
            "relu": {"kind": "relu"},
        },
        "gap": {"kind": "global_avg_pool2d"},
        "flatten": {"kind": "flatten"},
    },
}
"""A network with every kind of state: weights, running statistics, dropout."""

STEPS = 8
"""Steps per epoch: 1,437 digits in batches of 180."""


def training_arguments(folder, **changes):
    """Arguments of a short training run of two epochs with everything that draws random numbers."""
    model = folder / "small.json"
    model.write_text(json.dumps(NETWORK))
    chosen = {"model": model, "data": "digits", "epochs": 2, "batch-size": 180, "precision": "float32"}
    chosen |= {"device": "cpu", **changes}
    options = [str(part) for key, value in chosen.items() for part in (f"--{key}", value)]
    settings = ("augmentation.flip=false", "augmentation.shift=1", "augmentation.mixup=0.2")
    return ["train", "--json", *options, *(part for setting in settings for part in ("--set", setting))]


def program_at_step(number, action, *, before=None):
    """A program that does ``action`` in step ``number`` of its process, from 1, and ``before`` in the step before."""
    return f"""
import os, signal, sys, time
from mlpconv.training import guard_runner
real_plan, count = guard_runner.plan_step, 0
def plan_step(*arguments, **options):
    global count
    count += 1
    if count == {number} - 1:
        {before}
    if count == {number}:
        {action}
    return real_plan(*arguments, **options)
guard_runner.plan_step = plan_step
"""


SIGTERM_SELF = "os.kill(os.getpid(), signal.SIGTERM)"
KILL_SELF = "os.kill(os.getpid(), signal.SIGKILL)"
TERMINATED, INTERRUPTED, KILLED = 128 + signal.SIGTERM, 128 + signal.SIGINT, -signal.SIGKILL
