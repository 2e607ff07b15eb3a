"""`pytest tests/conformance --backend jax` tries one back end; one that is asked for and missing fails.

PyTorch's gradients, which all are compared with, come from another process: --torch-python names its interpreter where
this environment has no PyTorch.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mlpconv.backends.registry import BACKENDS, get_backend

TESTS = Path(__file__).parents[1]


def pytest_addoption(parser):
    parser.addoption("--backend", choices=list(BACKENDS), help="the back end to try; torch by default")
    parser.addoption("--torch-python", default=sys.executable, help="an interpreter that has PyTorch and mlpconv")


@pytest.fixture(scope="session")
def backend_name(pytestconfig) -> str:
    # The option is not known where pytest was started above this folder.
    return pytestconfig.getoption("--backend", None) or "torch"


@pytest.fixture(scope="session")
def backend(backend_name):
    return get_backend(backend_name)


@pytest.fixture(scope="session")
def run_on_torch(pytestconfig):
    """Run a module of tests/support in an environment with PyTorch and return what it prints."""
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    python = pytestconfig.getoption("--torch-python", sys.executable)

    def run(module: str, *arguments: str) -> str:
        ran = subprocess.run(
            [python, "-m", f"support.{module}", *arguments],
            env=os.environ | {"PYTHONPATH": paths},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run


@pytest.fixture(scope="session")
def oracle(run_on_torch, tmp_path_factory) -> dict[str, np.ndarray]:
    path = tmp_path_factory.mktemp("oracle") / "oracle.npz"
    run_on_torch("torch_gradients", str(path))
    with np.load(path) as file:
        return dict(file)
