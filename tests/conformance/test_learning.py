"""A real training run on every framework ends where PyTorch's runs end."""

import json

import numpy as np
import pytest

from mlpconv.errors import DataError
from support import fashion_mnist_training

SEEDS = range(2)


def test_the_accuracy_is_that_of_pytorch(backend_name, run_on_torch):
    if backend_name == "torch":
        pytest.skip("PyTorch is the measure")
    try:
        fashion_mnist_training.load_part()
    except DataError as error:
        pytest.skip(f"Fashion-MNIST is not on this machine: {str(error).splitlines()[0]}")
    theirs = json.loads(run_on_torch("fashion_mnist_training", "torch", *map(str, SEEDS)))
    assert min(theirs) > 0.7
    assert max(theirs) - min(theirs) < 0.05
    ours = fashion_mnist_training.test_accuracy(backend_name, SEEDS[0])
    assert abs(ours - np.mean(theirs)) < 0.03
