"""What training asks of every back end is there, also where the framework is not installed."""

from mlpconv.backends import torch
from mlpconv.backends.keras import KerasBackend


def test_every_back_end_says_how_its_framework_starts_biases():
    assert torch.framework_biases
    assert not KerasBackend("tensorflow").framework_biases
