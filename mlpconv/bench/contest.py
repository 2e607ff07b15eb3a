"""Contenders in turn, each in a process that is started for it.

The allocator's settings, thread pools and what a framework leaves in memory belong to a process: contenders that shared
one would help or harm each other. Rounds go A B C A B C …, so that a machine that slows down slows all of them.
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
PATIENCE = 1800.0
"""Seconds that a contender may take before it counts as stuck."""

DataName = Literal["fashion-mnist", "generated"]


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every contender is told.

    image_size: side in pixels. steps: timed ones, after ``warmup`` that are not. device: None is a contender's own
    choice, the first GPU if there is one. peak_size: side of the square matrices whose product is the peak. backend: of
    ours.
    """

    batch_size: int
    image_size: int
    steps: int
    warmup: int
    threads: int
    data: DataName = "fashion-mnist"
    device: str | None = None
    peak_size: int = 4096
    backend: str = "torch"


class Threads(Protocol):
    """A job of whatever kind: the ``Job`` of the contender's module, a msgspec.Struct."""

    @property
    def threads(self) -> int: ...


def run_contender(
    module: str, job: Threads, *, name: str, patience: float = PATIENCE, python: str | None = None
) -> dict[str, Any]:
    """Run ``measure(job)`` of ``module`` in a new Python process and return what it returns.

    name: what errors call it. python: an interpreter in another environment, which need not have mlpconv. Raises
    BenchmarkFailed with its last lines where it does not come to its end.
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
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=patience
                ).returncode
                ended = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
            except OSError as error:
                code, ended = 1, f"could not be started: {python}: {error.strerror}"
            except subprocess.TimeoutExpired:
                code, ended = 1, f"was stopped: not done after {patience:,.0f} s"
        if code or not result.exists():
            raise BenchmarkFailed(f"{name}: its process {ended}{_last_lines(log)}")
        return json.loads(result.read_text(encoding="utf-8"))


def _last_lines(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
    return "; its last lines:\n" + "\n".join(f"  {line}" for line in lines) if lines else ", without a word"
