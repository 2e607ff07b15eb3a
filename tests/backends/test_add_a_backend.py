"""The back end of docs/how-to/add-a-backend.md passes the conformance tests of its first two steps."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from support.documentation import DOCS, code_blocks

ROOT = Path(__file__).parents[2]
PAGE = DOCS / "how-to" / "add-a-backend.md"
PLUGIN = """
from mlpconv.backends.registry import BACKENDS, BackendEntry
from numpy_backend import start_numpy

BACKENDS["numpy"] = BackendEntry("numpy", "NumPy", ("numpy",), ("numpy",), start_numpy)
"""


@pytest.fixture
def folder(tmp_path):
    (block,) = code_blocks(PAGE)
    (tmp_path / str(block.file)).write_text(block.code, encoding="utf-8")
    (tmp_path / "numpy_plugin.py").write_text(PLUGIN, encoding="utf-8")
    return tmp_path


def selections():
    """The -k options of the page's commands, for one optimizer: the skeleton's gradients are slow."""
    found = re.findall(r'--backend numpy -k "(.*)"', PAGE.read_text(encoding="utf-8"))
    return [f"({each}) and not (adam or sgd or nesterov)" for each in found]


def test_the_page_has_a_command_for_each_of_the_first_steps():
    assert len(selections()) == 2


@pytest.mark.parametrize("step", [0, 1])
def test_the_skeleton_passes_the_conformance_tests_of_a_step(folder, step):
    paths = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    options = ["-p", "numpy_plugin", "-p", "no:cacheprovider", "-q", "--backend", "numpy", "-k", selections()[step]]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/conformance", *options],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-1000:]
    assert int(re.findall(r"(\d+) passed", ran.stdout)[0]) >= 4


@pytest.mark.skipif(find_spec("pyright") is None and not shutil.which("pyright"), reason="pyright is not installed")
def test_the_type_checker_compares_the_skeleton_with_the_protocols(folder):
    path = folder / "numpy_backend.py"
    (folder / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(ROOT)]}), encoding="utf-8")
    command = [sys.executable, "-m", "pyright"] if find_spec("pyright") else ["pyright"]

    def errors() -> list[str]:
        options = ["--outputjson", "--pythonpath", sys.executable, path.name]
        ran = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
        return [each["message"] for each in json.loads(ran.stdout)["generalDiagnostics"]]

    assert errors() == []
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("def read_metrics(", "def read_the_metrics(").replace("def set_det", "def unset_det"))
    found = "\n".join(errors())
    assert '"read_metrics" is not present' in found
    assert '"set_deterministic" is not present' in found
