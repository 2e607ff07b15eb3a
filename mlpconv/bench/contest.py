"""Runs contenders in turn, each in a new process.

The allocator's settings, thread pools and memory that a framework keeps belong to a process, so contenders in the same
process would influence each other. Rounds run A B C A B C …, so that a machine that slows down slows all of them.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from mlpconv.errors import BenchmarkFailed

LAST_LINES = 15
"""The lines of a failed contender's output that the error shows."""
TIMEOUT = 1800.0
"""The seconds after which a contender is stopped."""

DataName = Literal["fashion-mnist", "generated"]


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every contender has to measure."""

    batch_size: int
    image_size: int
    """The side in pixels of the network's input."""
    steps: int
    """The timed steps."""
    warmup: int
    """The steps before them, which are not timed."""
    threads: int
    data: DataName = "fashion-mnist"
    device: str | None = None
    """None is the contender's choice, the first GPU if there is one."""
    peak_size: int = 4096
    """The side of the square matrices whose product measures the peak."""
    backend: str = "torch"
    """The back end of mlpconv's contender."""


class Threads(Protocol):
    """Any job: the ``Job`` of the contender's module, a msgspec.Struct."""

    @property
    def threads(self) -> int: ...


def run_contender(
    module: str, job: Threads, *, name: str, timeout: float = TIMEOUT, python: str | None = None
) -> dict[str, Any]:
    """Run ``measure(job)`` of a module in a new Python process.

    Args:
        module: The full name of the contender's module.
        job: The argument.
        name: The name of the contender in errors.
        timeout: The seconds after which it is stopped.
        python: An interpreter in another environment, which need not have mlpconv.

    Returns:
        The result of ``measure``.

    Raises:
        BenchmarkFailed: The process failed; the message has the last lines of its output.
    """
    threads = str(job.threads)
    environment = os.environ | {
        "OMP_NUM_THREADS": threads,
        "TF_NUM_INTRAOP_THREADS": threads,
        "KERAS_BACKEND": "jax" if isinstance(job, Job) and job.backend == "jax" else "tensorflow",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")])),
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }
    with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as folder:
        result, log = Path(folder) / "result.json", Path(folder) / "log"
        command = [
            python or sys.executable,
            "-m",
            "mlpconv.bench.child",
            module,
            str(result),
            msgspec.json.encode(job).decode(),
        ]
        with log.open("wb") as output:
            try:
                code = subprocess.run(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=timeout
                ).returncode
                ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            except OSError as error:
                code, ended = 1, f"could not be started: {python}: {error.strerror}"
            except subprocess.TimeoutExpired:
                code, ended = 1, f"was stopped: not done after {timeout:,.0f} s"
        if code or not result.exists():
            raise BenchmarkFailed(f"{name}: its process {ended}{_last_lines(log)}")
        return json.loads(result.read_text(encoding="utf-8"))


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    return "; its last lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else ", without output"
