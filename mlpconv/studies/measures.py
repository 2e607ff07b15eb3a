"""The measures of runs that studies take besides the accuracy. Each is stored in the run directory once it is known."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np

from mlpconv.arch.cost import count, training_memory, value_bytes
from mlpconv.arch.network import Network
from mlpconv.backends import weights as canonical
from mlpconv.backends.reference import activations, preprocess
from mlpconv.data import Splits
from mlpconv.files import write_atomic
from mlpconv.inference.classifier import Classifier
from mlpconv.runs import outcome as runs_outcome
from mlpconv.runs.job import Job
from mlpconv.runs.run import Run
from mlpconv.studies import runner
from mlpconv.training.problems import is_repair

MEASURED = "measured.json"
"""The file in a run directory that has the measures of ``Extra``."""
DEAD_UNIT_CLOSED_SHARE = 0.999
"""A unit is dead if it is at most 0 at this share of its positions or more."""
Extra = Callable[[Run, Splits], dict[str, Any]]
"""Returns measures of a finished run on the study's images, by name."""


def measure(run: Run, data: Splits, extra: Extra | None) -> dict[str, Any]:
    """The measures of every study, how the run ended, and those of ``extra``, which are not taken twice."""
    found = runner.measure(run) | {"outcome": outcome(run)}
    if extra is None or run.result is None:
        return found
    path = run.path / MEASURED
    if not path.exists():
        write_atomic(path, json.dumps(extra(run, data)) + "\n")
    return found | json.loads(path.read_text(encoding="utf-8"))


def outcome(run: Run) -> str:
    """How a run ended: "diverges" if training failed, otherwise the `Outcome` of its result."""
    return "diverges" if run.result is None else runs_outcome.outcome(run.result)


def lost_classes(run: Run, data: Splits) -> dict[str, Any]:
    """The number of classes that are not recognized."""
    assert run.result is not None
    return {"lost_classes": len(runs_outcome.lost_classes(run.result))}


def first_attempt(run: Run, data: Splits) -> dict[str, Any]:
    """The number of classes that were dead before the guard repaired anything."""
    events = [event for line in run.history for event in line.get("repairs", ())]
    dead = run.history[-1].get("dead_classes")
    deaths = (event for event in events if is_repair(event["action"]) and event["trouble"] == "dead-class")
    first = next((len(event["classes"]) for event in deaths), None)
    return {"first_dead_classes": first if first is not None else None if dead is None else len(dead)}


def convergence(run: Run, data: Splits) -> dict[str, Any]:
    """The epoch after which the test accuracy was first within 0.01 of its last value."""
    history = run.history
    last = history[-1]["test_accuracy"]
    return {"epochs_to_within_0.01": next(line["epoch"] for line in history if line["test_accuracy"] >= last - 0.01)}


def overfitting(run: Run, data: Splits) -> dict[str, Any]:
    """The accuracy on the training images, without dropout and augmentation, and its excess over the test accuracy."""
    assert run.result is not None
    seen = Classifier(run).evaluate(data.train).accuracy
    return {"accuracy_on_training_images": seen, "gap": seen - run.result.test_accuracy}


def last_block(run: Run, data: Splits, most: int = 256) -> dict[str, Any]:
    """What is lost in the last block, over ``most`` test images.

    Returns:
        For each ReLU the share of dead units, and the effective rank (Roy, Vetterli 2007: the exponential of the
        entropy of the singular values) of units × positions.
    """
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
    dead = [float(((each <= 0).mean(1) >= DEAD_UNIT_CLOSED_SHARE).mean()) for each in values.values()]
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
    """The predicted costs of an arm: parameters, FLOPs of one image's forward pass, bytes of tensors in training."""
    ledger = count(network)
    recipe = config.recipe
    memory = training_memory(
        network,
        batch=recipe.batch_size,
        optimizer=recipe.optimizer.variant,
        value_bytes=value_bytes(config.precision),
    )
    return {"parameters": ledger.parameters, "flops": ledger.flops, "training_memory_bytes": memory.total}
