"""The packages without a framework import nothing heavy, so that `mlpconv summary` and `--help` answer at once."""

import pkgutil
import subprocess
import sys

import pytest

import mlpconv.arch
from support.heavy_modules import HEAVY

ARCH = [f"mlpconv.arch.{module.name}" for module in pkgutil.iter_modules(mlpconv.arch.__path__)]


@pytest.mark.parametrize("modules", [["mlpconv"], ["mlpconv.models"], ARCH], ids=["mlpconv", "models", "arch"])
def test_commands_without_a_network_import_nothing_heavy(modules):
    assert modules
    code = f"import sys, {', '.join(modules)}; print(*sorted(sys.modules), sep='\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert set(modules) <= imported
    assert imported.isdisjoint(HEAVY)


def test_arch_does_not_even_import_numpy():
    code = f"import sys, {', '.join(ARCH)}; assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_network_can_be_built_after_no_other_import_than_its_own():
    code = (
        "import sys; from mlpconv.arch.network import Network; from mlpconv.arch.layers import ReLU;"
        "assert 'mlpconv.backends' not in sys.modules; print(Network(ReLU()).build('torch'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ReLU()" in done.stdout
