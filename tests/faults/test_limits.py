"""Limits on memory and processes: a command that does not fit says so in one line, and never aborts."""

import os
import resource
import subprocess
import sys

import pytest

pytest.importorskip("torch")


def limited(kind, limit, *arguments):
    """A command in a new process, under a limit."""
    return subprocess.run(
        [sys.executable, "-m", "mlpconv", *map(str, arguments)],
        preexec_fn=lambda: resource.setrlimit(kind, (limit, limit)),
        env=os.environ | {"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    ("megabytes", "said"),
    [
        (60, "the limit on memory (ulimit -v) is too low to load the libraries"),
        (300, "backend torch: PyTorch needs about 1.00 GiB of address space, and the limit of this shell (ulimit -v)"),
        (700, "backend torch: PyTorch needs about 1.00 GiB of address space"),
    ],
)
def test_memory_below_what_the_libraries_need(megabytes, said):
    done = limited(resource.RLIMIT_AS, megabytes << 20, "train", "--data", "digits", "--model", "nin_tiny", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert "ulimit -v unlimited" in done.stderr


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("raise MemoryError", "no memory left; use smaller images or batches"),
        ("import numpy; numpy.empty(1 << 50, 'u1')", "no memory left; use smaller images or batches"),
        ("import torch; torch.empty(1 << 50, dtype=torch.uint8)", "no memory left; use smaller images or batches"),
        (
            "import _thread, resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); "
            "_thread.stack_size(1 << 31); _thread.start_new_thread(print, ())",
            "no thread or process can be started; raise the limit on processes (ulimit -u)",
        ),
    ],
)
def test_what_runs_out_inside_a_command(processes, program, said):
    """Real failures of the allocator and of threads, inside a command."""
    inside = f"import mlpconv.cli\ndef fails(*_):\n    {program}\nmlpconv.cli.app = fails\n"
    done = processes.run("recipes", program=inside)
    assert (done.code, done.err.count("\n")) == (2, 1), done
    assert done.err.startswith(f"error: {said}")


def test_a_bug_keeps_its_traceback(processes):
    for program in ("raise RuntimeError('a bug')", "open('/nowhere/file')", "raise ImportError('cannot import name')"):
        inside = f"import mlpconv.cli\ndef fails(*_):\n    {program}\nmlpconv.cli.app = fails\n"
        done = processes.run("recipes", program=inside)
        assert done.code == 1
        assert "Traceback" in done.err
