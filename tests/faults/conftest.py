"""What the tests of faults share. MLPCONV_KILLS and MLPCONV_INPUTS make their loops longer (see `make test-long`),
and MLPCONV_FIRST_SEED says where those by seed start."""

import shutil

import pytest

from support.command_processes import CommandProcesses, training_arguments


@pytest.fixture(scope="session")
def processes(tmp_path_factory):
    """Real processes of the command line."""
    pytest.importorskip("torch")
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    processes = CommandProcesses(tmp_path_factory.mktemp("world"))
    yield processes
    processes.close()


@pytest.fixture(scope="session")
def command(processes):
    """Arguments of a training run, without ``--out``."""
    return training_arguments(processes.folder)


@pytest.fixture(scope="session")
def whole(processes, command):
    """The directory of that run, not interrupted."""
    path = processes.folder / "whole"
    done = processes.run(*command, "--out", path)
    assert (done.code, done.err) == (0, "")
    return path


@pytest.fixture
def run(whole, tmp_path):
    """A copy of it."""
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    return path


@pytest.fixture
def digit(processes):
    """A picture for the run."""
    import numpy as np
    from PIL import Image

    path = processes.folder / "digit.png"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)
    return path


@pytest.fixture
def faults(record_property):
    """Counts the faults that a test puts in, where it is not one, and those that were survived."""

    class Faults:
        def __init__(self):
            self.both = [0, 0]

        @property
        def put_in(self):
            return self.both[0]

        def __enter__(self):
            self.both[0] += 1

        def __exit__(self, kind, *_):
            self.both[1] += kind is None

    counted = Faults()
    # A list, which is read when the test has been: a report of it is made before fixtures end.
    record_property("faults", counted.both)
    return counted
