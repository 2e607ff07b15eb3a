"""The back end that is used where nobody names one."""

import logging
import subprocess
import sys

import pytest

from mlpconv.backends import registry
from mlpconv.backends.registry import BACKENDS, available_backend, is_installed
from support.heavy_modules import FRAMEWORKS


def test_an_installed_back_end_is_taken_without_a_notice(monkeypatch, caplog):
    monkeypatch.setattr(registry, "is_installed", lambda name: True)
    with caplog.at_level(logging.WARNING):
        assert [available_backend(name) for name in BACKENDS] == list(BACKENDS)
        assert available_backend() == "torch"
    assert not caplog.records


@pytest.mark.parametrize("installed", [name for name in BACKENDS if name != "torch"])
def test_the_one_that_is_installed_takes_the_place_of_another_and_is_named(monkeypatch, caplog, installed):
    monkeypatch.setattr(registry, "is_installed", lambda name: name == installed)
    with caplog.at_level(logging.WARNING):
        assert available_backend() == installed
    assert caplog.messages == [f"PyTorch is not installed; using {BACKENDS[installed].title}"]


def test_without_any_the_error_names_the_preferred_one(monkeypatch):
    monkeypatch.setattr(registry, "is_installed", lambda name: False)
    assert available_backend("jax") == "jax"


def test_asking_imports_no_framework():
    code = (
        "import sys; from mlpconv.backends.registry import BACKENDS, is_installed;"
        f"[is_installed(name) for name in BACKENDS]; sys.exit(bool({set(FRAMEWORKS)!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_installed_one_is_found():
    pytest.importorskip("torch")
    assert is_installed("torch")
