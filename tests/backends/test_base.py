"""What training asks of every back end is there, also where the framework is not installed."""

import sys

import numpy as np
import pytest

from mlpconv.backends.keras.backend import KerasBackend
from mlpconv.backends.mxnet.backend import MxnetBackend
from mlpconv.backends.pytorch.backend import TorchBackend
from mlpconv.backends.registry import get_backend
from mlpconv.errors import MissingDependency


def test_every_back_end_states_how_its_framework_initializes_biases():
    assert TorchBackend().framework_biases
    assert not KerasBackend("tensorflow").framework_biases
    assert not MxnetBackend().framework_biases


def test_the_error_of_a_missing_mxnet_has_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "mxnet", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        MissingDependency, match=r"'mxnet' is not installed; .*mlpconv\[mxnet\].* separate environment.*make mxnet"
    ):
        get_backend("mxnet")


def test_mxnet_with_a_numpy_that_is_too_new_is_reported(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    monkeypatch.setattr(np, "__version__", "2.4.6")
    with pytest.raises(MissingDependency, match=r"needs NumPy below 1\.24, here is 2\.4\.6; .*make mxnet"):
        get_backend("mxnet")
