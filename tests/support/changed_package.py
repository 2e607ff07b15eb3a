"""A copy of the package with a change in one file: what the type checker reports, and how it fails when it runs."""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import mlpconv

needs_pyright = pytest.mark.skipif(
    find_spec("pyright") is None and not shutil.which("pyright"), reason="pyright is not installed"
)


def copy_package(directory: Path, file: str, changes: dict[str, str]) -> Path:
    """Copy the package into a directory and replace texts in one of its files, such as "mlpconv/optimizers.py"."""
    package = Path(mlpconv.__file__).parent
    shutil.copytree(package, directory / "mlpconv", ignore=shutil.ignore_patterns("__pycache__"))
    path = directory / file
    text = path.read_text(encoding="utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return directory


def type_errors(root: Path, paths: list[str], words: list[str]) -> set[str]:
    """The files in which pyright reports an error that contains all the words."""
    command = [sys.executable, "-m", "pyright"] if find_spec("pyright") else ["pyright"]
    options = ["--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([*command, *options, *paths], cwd=root, capture_output=True, text=True)
    reports = json.loads(done.stdout)["generalDiagnostics"]
    errors = [report for report in reports if all(word in report["message"] for word in words)]
    return {Path(report["file"]).relative_to(root.resolve()).as_posix() for report in errors}


def last_traceback_line(root: Path, code: str) -> str:
    """The last line of the traceback when a piece of code fails."""
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]
