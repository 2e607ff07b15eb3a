import subprocess
import sys

import numpy as np
import pytest

from mlpconv.bench import images
from mlpconv.bench.contest import Job, run_contender
from mlpconv.errors import BenchmarkFailed

JOB = Job(batch_size=4, image_size=80, steps=1, warmup=1, threads=2)


@pytest.fixture
def contender(tmp_path, monkeypatch):
    """Write a contender's module and return its name."""

    def write(body):
        (tmp_path / "contender.py").write_text(body)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        return "contender"

    return write


def test_a_contender_receives_its_job_in_a_separate_process(contender):
    name = contender(
        "import os\n"
        "def measure(job):\n"
        "    print('noise on standard output')\n"
        "    return {'batch': job.batch_size, 'threads': os.environ['OMP_NUM_THREADS'], 'pid': os.getpid()}\n"
    )
    first, second = (run_contender(name, JOB, name="it") for _ in range(2))
    assert (first["batch"], first["threads"]) == (4, "2")
    assert first["pid"] != second["pid"]
    assert first["peak_bytes"] is None or first["peak_bytes"] > 2**20


def test_a_contender_that_crashes_is_named_with_its_last_lines(contender):
    name = contender(
        "import sys\n"
        "def measure(job):\n"
        "    for line in range(40):\n"
        "        print('line', line, file=sys.stderr)\n"
        "    raise RuntimeError('no more')\n"
    )
    with pytest.raises(BenchmarkFailed) as failed:
        run_contender(name, JOB, name="d2l, round 2 of 3")
    message = str(failed.value)
    assert message.startswith("d2l, round 2 of 3: its process ended with exit code 1; its last lines:\n")
    assert message.endswith("  RuntimeError: no more")
    assert "line 39" in message
    assert "line 2\n" not in message
    assert failed.value.exit_code == 3


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "import os, signal\ndef measure(job): os.kill(os.getpid(), signal.SIGKILL)",
            "was killed by signal 9, without",
        ),
        ("import time\ndef measure(job): time.sleep(60)", "was stopped: not done after 1 s, without output"),
        ("import os\ndef measure(job): os._exit(0)", "ended with exit code 0, without output"),
    ],
    ids=["killed", "stuck", "silent"],
)
def test_a_contender_without_output(contender, body, expected):
    with pytest.raises(BenchmarkFailed, match=expected):
        run_contender(contender(body), JOB, name="it", timeout=1 if "sleep" in body else 60)


def test_generated_images_have_the_shape_of_fashion_mnist():
    train, test = images.splits("generated")
    assert train.images.shape == (images.COUNT, 28, 28, 1)
    assert train.images.dtype == np.uint8
    assert set(np.unique(test.labels)) == set(range(10))


def test_without_fashion_mnist_images_are_generated(monkeypatch, tmp_path):
    monkeypatch.setenv("MLPCONV_DATA", str(tmp_path))
    assert images.measure(JOB)["data"] == "generated"


def test_no_framework_is_imported_by_the_command_itself():
    code = "import sys, mlpconv.bench.train, mlpconv.bench.report; print({'torch', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
