"""ONNX Runtime and OpenVINO send nothing and leave nothing behind, and say how to install them."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from mlpconv.errors import MissingDependency
from mlpconv.inference.engine_packages import load_onnxruntime, load_openvino

PACKAGE = Path(__file__).parents[2] / "mlpconv"
SPY = """
import sys, time
sys.addaudithook(lambda event, args: event.split(".")[0] in ("socket", "urllib", "http") and print(event, args))
from mlpconv.inference import engine_packages
engine_packages.load_{name}("test")
time.sleep(0.5)
print("loaded")
"""


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_it_sends_nothing_and_keeps_nothing(name, tmp_path):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    variables = {each: value for each, value in os.environ.items() if not each.startswith(("ORT_", "XDG_"))}
    spied = subprocess.run(
        [sys.executable, "-c", SPY.format(name=name)],
        capture_output=True,
        text=True,
        check=True,
        env=variables | {"HOME": str(tmp_path)},
    )
    assert spied.stdout == "loaded\n"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("load", "name", "extra"), [(load_onnxruntime, "onnxruntime", "export"), (load_openvino, "openvino", "openvino")]
)
def test_it_is_not_installed(load, name, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependency, match=rf"x\.onnx: the package '{name}' is not .* \"mlpconv\[{extra}\]\""):
        load("x.onnx")


def test_nothing_else_imports_them_first():
    """`from onnxruntime import quantization` is right after this module has loaded it."""
    importing = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if re.search(r"^\s*import (onnxruntime|openvino)\b", path.read_text(encoding="utf-8"), re.M)
    }
    assert importing == {"inference/engine_packages.py"}
