"""A real training run on every framework ends where PyTorch's runs end."""

import json

import pytest

from mlpconv.errors import DataError
from support import fashion_mnist_training

SEEDS = range(4)


def test_the_accuracy_is_within_the_spread_of_pytorch_seeds(backend_name, run_on_torch):
    if backend_name == "torch":
        pytest.skip("PyTorch is the measure")
    try:
        fashion_mnist_training.load_part()
    except DataError as error:
        pytest.skip(f"Fashion-MNIST is not on this machine: {str(error).splitlines()[0]}")
    theirs = json.loads(run_on_torch("fashion_mnist_training", "torch", *map(str, SEEDS)))
    spread = max(theirs) - min(theirs)
    assert min(theirs) > 0.7
    assert spread < 0.05
    for seed in SEEDS[:2]:
        assert min(theirs) - spread <= fashion_mnist_training.test_accuracy(backend_name, seed) <= max(theirs) + spread
