"""What names the back ends outside of their packages agrees with the registry, so that no place is forgotten."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
from languages import LANGUAGES, path

from mlpconv.backends.registry import BACKENDS
from mlpconv.cli import doctor
from support.heavy_modules import FRAMEWORKS

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def imported_packages(directory):
    """The packages, outside of the standard library, that the modules of a directory import."""
    found = set()
    for file in directory.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            match node:
                case ast.Import(names=names):
                    found |= {each.name.partition(".")[0] for each in names}
                case ast.ImportFrom(module=str(module), level=0):
                    found.add(module.partition(".")[0])
    return found - sys.stdlib_module_names - {"mlpconv"}


def test_every_framework_is_forbidden_outside_of_the_back_ends():
    core = {re.split("[<>=]", each)[0] for each in PROJECT["dependencies"]}
    imported = imported_packages(ROOT / "mlpconv" / "backends") - core
    assert {"torch", "keras", "jax", "mxnet"} <= imported
    assert imported <= FRAMEWORKS, "add it to forbidden_modules in pyproject.toml"


@pytest.mark.parametrize("name", BACKENDS)
def test_every_back_end_has_an_extra(name):
    assert name in PROJECT["optional-dependencies"]


def test_the_conformance_tests_run_on_every_back_end():
    frameworks = re.search(r"^FRAMEWORKS \?= (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert frameworks
    # The other tests run on PyTorch.
    assert frameworks[1].split() == [name for name in BACKENDS if name != "torch"]


@pytest.mark.parametrize("language", LANGUAGES, ids=lambda language: language.code)
def test_the_readmes_name_every_back_end(language):
    text = (ROOT / path("README.md", language)).read_text(encoding="utf-8")
    assert [name for name in BACKENDS if f"`{name}`" not in text and f"`--backend {name}`" not in text] == []


def test_doctor_names_the_packages_of_every_back_end():
    assert {"torch": "torch", "tensorflow": "tensorflow", "keras": "tensorflow", "jax": "jax"}.items() <= (
        doctor.EXTRAS.items()
    )
    assert "tensorflow-cpu" not in doctor.EXTRAS  # reported as tensorflow
