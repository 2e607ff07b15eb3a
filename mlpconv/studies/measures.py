"""What studies want to know of a run beside its accuracy. Each is kept in the run directory once it is known."""

import json
from collections.abc import Callable
from math import log
from typing import Any

import numpy as np

from mlpconv.arch.cost import count, training_memory, value_bytes
from mlpconv.arch.network import Network
from mlpconv.backends import weights as canonical
from mlpconv.backends.reference import activations, preprocess
from mlpconv.data import Splits
from mlpconv.files import write_atomic
from mlpconv.inference.classifier import Classifier
from mlpconv.runs.job import Job
from mlpconv.runs.run import Run
from mlpconv.studies import runner

KEPT = "measured.json"
LOST = 0.01
"""A class of which fewer test images than this share are recognised is lost."""
DEAD = 0.999
"""A unit that is at most 0 at this share of its positions or more is dead."""
Extra = Callable[[Run, Splits], dict[str, Any]]


def measure(run: Run, data: Splits, extra: Extra | None) -> dict[str, Any]:
    """The runner's own measures, how the run ended, and ``extra``, which is not measured twice."""
    found = runner.measure(run) | {"outcome": outcome(run)}
    if extra is None or run.result is None:
        return found
    path = run.path / KEPT
    if not path.exists():
        write_atomic(path, json.dumps(extra(run, data)) + "\n")
    return found | json.loads(path.read_text(encoding="utf-8"))


def outcome(run: Run) -> str:
    """diverges: training failed; stalls: the last epoch's loss is that of guessing, or nothing but one class is said;
    loses classes: some class is never recognised; else learns."""
    if run.result is None:
        return "diverges"
    recalls = [value for value in run.result.class_accuracy.values() if value is not None]
    known = sum(value >= LOST for value in recalls)
    if known <= 1 or run.result.loss >= 0.98 * log(len(recalls)):
        return "stalls"
    return "learns" if known == len(recalls) else "loses classes"


def lost_classes(run: Run, data: Splits) -> dict[str, Any]:
    """How many classes are never recognised."""
    assert run.result is not None
    values = run.result.class_accuracy.values()
    return {"lost_classes": sum(value is not None and value < LOST for value in values)}


def convergence(run: Run, data: Splits) -> dict[str, Any]:
    """The share of the training that was done when the test accuracy first came within 0.01 of its last value."""
    history = run.history
    last = history[-1]["test_accuracy"]
    first = next(line["epoch"] for line in history if line["test_accuracy"] >= last - 0.01)
    return {"epochs_to_within_0.01": first, "test_accuracies": [line["test_accuracy"] for line in history]}


def overfitting(run: Run, data: Splits) -> dict[str, Any]:
    """The accuracy on the training images, without dropout and augmentation, and how far the test accuracy is below."""
    assert run.result is not None
    seen = Classifier(run).evaluate(data.train).accuracy
    return {"accuracy_on_training_images": seen, "gap": seen - run.result.test_accuracy}


def last_block(run: Run, data: Splits, most: int = 256) -> dict[str, Any]:
    """What is lost on the way through the last block, over test images: for each ReLU the share of dead units and the
    effective rank (Roy, Vetterli 2007: the exponential of the entropy of the singular values) of units × positions."""
    network, weights = run.config.make_network(), run.weights()
    last = canonical.last_block(network)
    assert last is not None
    name, block = last
    names = [f"{name}.{part}" for part in block.layers if part.startswith("relu")]
    images = data.test.images[:most]
    found: dict[str, list[np.ndarray]] = {each: [] for each in names}
    for start in range(0, len(images), 16):
        x = preprocess(images[start : start + 16], run.config.preprocess)
        layers = activations(network, weights, x)
        for each in names:
            found[each].append(np.moveaxis(layers[each], 1, 0).reshape(layers[each].shape[1], -1))
    values = {each: np.concatenate(parts, axis=1) for each, parts in found.items()}
    ranks = [effective_rank(each) for each in values.values()]
    dead = [float(((each <= 0).mean(1) >= DEAD).mean()) for each in values.values()]
    return {
        "rank_last": ranks[-1],
        "rank_least": min(ranks),
        "dead_last": dead[-1],
        "dead_most": max(dead),
        "ranks": dict(zip(names, ranks, strict=True)),
        "dead": dict(zip(names, dead, strict=True)),
    }


def effective_rank(matrix: np.ndarray) -> float:
    """The exponential of the entropy of the singular values as shares of their sum; 0 for a matrix of zeros."""
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    if not values.any():
        return 0.0
    shares = values[values > 0] / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def costs(network: Network, config: Job) -> dict[str, Any]:
    """What an arm costs by the ledger: parameters, FLOPs of the forward pass of one image, bytes of tensors in
    training."""
    ledger = count(network)
    recipe = config.recipe
    memory = training_memory(
        network,
        batch=recipe.batch_size,
        optimizer=recipe.optimizer.variant,
        value_bytes=value_bytes(config.precision),
    )
    return {"parameters": ledger.parameters, "flops": ledger.flops, "training_memory_bytes": memory.total}
