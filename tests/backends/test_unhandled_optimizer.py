"""An optimizer that is added in one place only: the type checker and the first use report each other place."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import mlpconv

NAMES = 'OptimizerName = Literal["sgd", "adam", "adamw"]'
RULE = '        case "adamw":\n            return ADAMW\n'
ONLY_NAMED = {NAMES: NAMES.replace('"adamw"]', '"adamw", "lion"]')}
WITH_A_RULE = ONLY_NAMED | {RULE: RULE.replace('"adamw"', '"adamw" | "lion"')}
RULES, PYTORCH = "mlpconv/optimizers.py", "mlpconv/backends/pytorch/optimizer.py"


@pytest.fixture
def changed(tmp_path):
    """Makes a copy of the package in which parts of optimizers.py are replaced, and returns its parent directory."""

    def make(changes: dict[str, str]) -> Path:
        package = Path(mlpconv.__file__).parent
        shutil.copytree(package, tmp_path / "mlpconv", ignore=shutil.ignore_patterns("__pycache__"))
        path = tmp_path / RULES
        text = path.read_text(encoding="utf-8")
        for old, new in changes.items():
            assert text.count(old) == 1
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")
        return tmp_path

    return make


@pytest.mark.skipif(find_spec("pyright") is None and not shutil.which("pyright"), reason="pyright is not installed")
@pytest.mark.parametrize(
    ("changes", "unhandled"), [({}, set()), (ONLY_NAMED, {RULES, PYTORCH}), (WITH_A_RULE, {PYTORCH})]
)
def test_the_type_checker_names_each_place_that_does_not_handle_it(changed, changes, unhandled):
    root = changed(changes)
    command = [sys.executable, "-m", "pyright"] if find_spec("pyright") else ["pyright"]
    options = ["--outputjson", "--pythonpath", sys.executable]
    ran = subprocess.run([*command, *options, RULES, PYTORCH], cwd=root, capture_output=True, text=True)
    found = json.loads(ran.stdout)["generalDiagnostics"]
    errors = [each for each in found if '"Never"' in each["message"] and "lion" in each["message"]]
    assert {Path(each["file"]).relative_to(root.resolve()).as_posix() for each in errors} == unhandled


def run(root: Path, code: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(root)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    assert ran.returncode == 1
    return ran.stderr.splitlines()[-1]


def test_a_name_without_a_rule_fails_at_its_first_use(changed):
    message = run(changed(ONLY_NAMED), "from mlpconv.optimizers import Optimizer; Optimizer('lion')")
    assert message.startswith("AssertionError")
    assert "'lion'" in message


def test_a_rule_that_pytorch_does_not_handle_fails_where_it_is_built(changed):
    pytest.importorskip("torch")
    code = (
        "from mlpconv.optimizers import Optimizer; from mlpconv.backends.registry import get_backend;"
        "from mlpconv.arch.network import Preprocess; from mlpconv.models import create_model;"
        "get_backend('torch').build(create_model('nin_28'), Preprocess(28), optimizer=Optimizer('lion'))"
    )
    message = run(changed(WITH_A_RULE), code)
    assert message.startswith("AssertionError")
    assert "'lion'" in message
