"""A Dask scheduler and its workers as processes that can be killed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


class Cluster:
    """A scheduler and ``count`` workers, each a process, which is started again when it is killed.

    Attributes:
        address: The address of the scheduler.
    """

    def __init__(self, folder, count=2, threads=1):
        pytest.importorskip("distributed")
        self._folder, self._programs = Path(folder), []
        file = self._folder / "scheduler.json"
        common = ("--scheduler-file", str(file), "--no-dashboard")
        self.scheduler = self._start("scheduler", "--host", "127.0.0.1", "--port", "0", *common)
        self._start("worker", "--nworkers", str(count), "--nthreads", str(threads), *common)
        from distributed import Client

        wait_for(file)
        with Client(scheduler_file=str(file), set_as_default=False, timeout=60) as client:
            client.wait_for_workers(count, timeout=60)
            self.address = client.scheduler.address

    def _start(self, kind, *arguments):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
        with (self._folder / f"{kind}.log").open("w") as log:
            program = subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments],
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=environment,
            )
        self._programs.append(program)
        return program

    def close(self):
        """End all processes."""
        for program in reversed(self._programs):
            program.terminate()
        for program in self._programs:
            try:
                program.wait(20)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


def wait_for(path, seconds=60):
    """Wait until a file exists."""
    until = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.02)
