"""Limits on memory and processes: a command that does not fit says so in one line, and never aborts."""

import json
import os
import pty
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlpconv.arch.cost import prediction_memory
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.hardware import started_threads
from mlpconv.inference.classifier import Classifier
from mlpconv.models import create_model
from mlpconv.runs.classifier_file import write_classifier
from support.image_folders import save_image

pytest.importorskip("torch")
FEW_PROCESSES = """
import os, resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv.pop(1)),) * 2)
sys.argv[0] = "mlpconv"
runpy.run_module("mlpconv", run_name="__main__", alter_sys=True)
"""
OTHER_USER = 64_321
"""A user without processes: the limit does not hold for root, and counts all processes of a user."""


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


@pytest.fixture
def open_folder():
    """A folder that every user may read and write, with a photo."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(folder / "photo.png")
        yield folder


def with_processes(folder, most, *arguments):
    """A command in a terminal, of a user who may have only so many processes and threads; (code, output)."""
    command = [sys.executable, "-c", FEW_PROCESSES, str(most), *map(str, arguments)]
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("setpriv is not installed")
        # Python and this package may be in a directory of root's.
        keep = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        user = (f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups")
        command = ["setpriv", *user, *keep, *command]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "OPENBLAS_"))}
    environment |= {"PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "2"}
    environment |= {"HOME": str(folder), "MLPCONV_CACHE": str(folder / "cache"), "MPLCONFIGDIR": str(folder)}
    ours, theirs = pty.openpty()
    done = subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=folder, env=environment)
    os.close(theirs)
    said = b""
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        try:
            while part := terminal.read(4096):
                said += part
        except OSError:  # the process has closed the terminal
            pass
    text = " ".join(said.decode().split())
    if "setpriv: " in text:
        pytest.skip(text)
    return done.wait(120), text


def test_no_thread_can_be_started(open_folder):
    small = ("--model", "nin_tiny", "--epochs", "1", "--image-size", "8", "--out", open_folder / "run")
    code, said = with_processes(open_folder, 1, "train", "--data", "digits", *small)
    assert code == 0, said
    assert "threads: the system allows 0 more, so each library uses 1 instead of 2; raise the limit on" in said
    assert "Thread creation failed" not in said
    assert "OpenBLAS" not in said
    assert Path(open_folder / "run" / "report.html").exists()
    code, said = with_processes(open_folder, 3, "predict", open_folder / "run", open_folder / "photo.png", "--json")
    assert code == 0, said
    assert "threads: the system allows 2 more" in said
    assert "threads:" not in with_processes(open_folder, 40, "summary", "nin")[1]


def test_threads_are_counted_as_they_are_started():
    program = (
        "import resource, sys; from mlpconv.hardware import started_threads\n"
        "assert started_threads(3) == 3\n"
        "resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
        "print(started_threads(100))"
    )
    # The size of a stack is read when a process starts.
    shell = ["sh", "-c", 'ulimit -s 131072; exec "$@"', "sh", sys.executable, "-c", program]
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(shell, capture_output=True, text=True, env=environment, check=True)
    assert 1 <= int(done.stdout) <= 4  # of 128 MiB each, in 512 MiB
    assert started_threads(2) == 2


def test_a_batch_that_does_not_fit_despite_force(tmp_path):
    forced = (
        "--model",
        "nin_tiny",
        "--batch-size",
        "1437",
        "--image-size",
        "160",
        "--force",
        "--out",
        tmp_path / "run",
    )
    done = limited(resource.RLIMIT_AS, 1500 << 20, "train", "--data", "digits", *forced)
    assert done.returncode == 3, done
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"error: {tmp_path / 'run'}: no memory left in training with batch size 1437: " in done.stderr


def test_more_memory_than_is_free_is_refused_and_not_taken():
    program = (
        "import numpy, resource; from mlpconv import hardware\n"
        "free = hardware.available_memory() + (hardware._field(hardware._MEMINFO, 'SwapFree') or 0)\n"
        "hardware.limit_memory()\n"
        "assert resource.getrlimit(resource.RLIMIT_DATA)[0] < free * 1.1 + (1 << 30)\n"
        "numpy.ones(1 << 20)\n"
        "kept = [numpy.empty(free // 2, 'u1')]\n"
        "try:\n"
        "    kept.append(numpy.empty(free // 2 + (1 << 29), 'u1'))\n"
        "except MemoryError:\n"
        "    print('refused')"
    )
    environment = os.environ | {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "refused\n"


def test_a_prediction_takes_as_many_images_at_once_as_fit(tmp_path):
    network = create_model("nin_tiny", 2, 3).replace(input_size=(448, 448))
    preprocess = Preprocess(448, mode="RGB", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    weights = initialize(network, INITIALIZERS["he"], 1)
    write_classifier(tmp_path / "large.safetensors", weights, network, preprocess, ("a", "b"))
    # All at once, they would take more than is left next to PyTorch.
    assert 30 * prediction_memory(network).activations > 700 << 20
    photos = [save_image(tmp_path / "photos" / f"{index:02}.png", index) for index in range(30)]
    arguments = ("predict", tmp_path / "large.safetensors", tmp_path / "photos", "--precision", "float32", "--json")
    done = limited(resource.RLIMIT_AS, 1300 << 20, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert [entry["file"] for entry in found] == list(map(str, photos))
    expected = Classifier(tmp_path / "large.safetensors", precision="float32").predict(photos[:3])
    for entry, prediction in zip(found, expected, strict=False):
        for ours, (label, probability) in zip(entry["top"], prediction.top, strict=True):
            assert ours == {"label": label, "probability": pytest.approx(probability, abs=1e-4)}


def test_a_bug_keeps_its_traceback(processes):
    for program in ("raise RuntimeError('a bug')", "open('/nowhere/file')", "raise ImportError('cannot import name')"):
        inside = f"import mlpconv.cli\ndef fails(*_):\n    {program}\nmlpconv.cli.app = fails\n"
        done = processes.run("recipes", program=inside)
        assert done.code == 1
        assert "Traceback" in done.err
