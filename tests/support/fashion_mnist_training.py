"""A few epochs of Fashion-MNIST, the same recipe on any back end.

``python -m support.fashion_mnist_training BACKEND SEED…`` prints the test accuracy of each seed's run as JSON.
"""

import json
import sys
import tempfile
from pathlib import Path

import msgspec

from mlpconv.data import Splits, load_dataset
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe

CHANGES = {
    "model": str(Path(__file__).parents[2] / "benchmarks" / "small.json"),
    "epochs": 2,
    "min_steps": 0,
    "image_size": None,
    "learning_rate": 0.004,
    "precision": "float32",
}


def load_part() -> Splits:
    """The first quarter of the training images, and half of the test set."""
    train, test = load_dataset("fashion-mnist", download=False)
    return Splits(train.subset(range(15_000), name=train.name), test.subset(range(5_000), name=test.name))


def test_accuracy(backend: str, seed: int) -> float:
    """Of a whole run with its directory."""
    recipe = msgspec.structs.replace(change(get_recipe("study"), CHANGES), seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        job = prepare(Request(recipe=recipe, backend=backend, device="cpu"), load_part())
        execution = execute(job, Path(folder) / "run")
        list(execution)
        assert execution.run.result is not None
        return execution.run.result.test_accuracy


if __name__ == "__main__":
    print(json.dumps([test_accuracy(sys.argv[1], int(seed)) for seed in sys.argv[2:]]))
