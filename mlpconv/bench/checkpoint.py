"""The cost of checkpoints: the time of a save relative to the training between two saves, and the size of the file."""

import tempfile
import time
from collections.abc import Callable
from math import floor
from pathlib import Path
from statistics import median
from typing import Any

from mlpconv.backends import allocator
from mlpconv.bench.images import splits
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import CHECKPOINT_SECONDS, Request
from mlpconv.reports.provenance import provenance, provenance_line
from mlpconv.runs import checkpoint
from mlpconv.training.plan import plan_step

FORMAT = 1
HISTORY_EPOCHS = 10
"""The epochs of the history that a checkpoint of the benchmark has."""

MAX_SHARE, MAX_BYTES = 0.02, 20e6
"""The gates: the share of the training time, and the bytes of a checkpoint."""


def measure(
    rounds: int,
    *,
    folder: Path | None = None,
    batch_size: int = 128,
    image_size: int = 80,
    device: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Save and load the chapter's network, trained by SGD with momentum, ``rounds`` times.

    The training between two saves is forecast from real steps.

    Args:
        rounds: The number of saves and loads.
        folder: A directory on the file system to measure; by default that of temporary files.
        batch_size: The images of a step.
        image_size: The side in pixels of the images; it changes the time of a step, and so the share.
        device: The device; None is the back end's choice.
        progress: Called with a line after each round.

    Returns:
        The result, as docs/json/bench-checkpoint.schema.json describes it.
    """
    # The command line does this first, too.
    allocator.keep_memory()
    optimizer = {"name": "sgd", "momentum": 0.9}
    changes = {"optimizer": optimizer, "epochs": 1, "batch_size": batch_size, "image_size": image_size}
    prepared = prepare(Request(recipe="study", changes=changes, device=device), splits("generated"))
    train = prepared.data.train
    ahead = prepared.forecast()
    progress(f"an epoch takes {ahead.seconds:.0f} s at {ahead.images_per_second:,.0f} images/s")
    model = prepared.make_model()
    model.attach(train.images[:batch_size], train.labels[:batch_size])
    # After a step, the momentum is not all zeros.
    model.train_step(plan_step(prepared.recipe, batch_size, train.image_shape[:2], image_size, 0, 0))
    history = [_line(epoch, train.class_names) for epoch in range(1, HISTORY_EPOCHS + 1)]
    saves, loads, size = [], [], 0
    with tempfile.TemporaryDirectory(dir=folder, prefix="mlpconv-bench-") as name:
        for index in range(rounds):
            started = time.perf_counter()
            state = model.training_state()
            path = checkpoint.save(
                Path(name), checkpoint.Checkpoint(HISTORY_EPOCHS, index, history, history[0]["curve"], 1.0, state)
            )
            saves.append(time.perf_counter() - started)
            started = time.perf_counter()
            model.load_training_state(checkpoint.load(path).state)
            loads.append(time.perf_counter() - started)
            size = path.stat().st_size
            progress(f"round {index + 1} of {rounds}: saved in {saves[-1]:.3f} s, loaded in {loads[-1]:.3f} s")
    # After each epoch, and by the clock within it.
    count = 1 + floor(ahead.seconds / CHECKPOINT_SECONDS)
    share = count * median(saves) / ahead.seconds
    return {
        "format": FORMAT,
        "benchmark": "checkpoint",
        "bytes": size,
        "save_seconds": median(saves),
        "load_seconds": median(loads),
        "epoch_seconds": ahead.seconds,
        "interval_seconds": CHECKPOINT_SECONDS,
        "saves_per_epoch": count,
        "share": share,
        "rounds": {"save_seconds": saves, "load_seconds": loads},
        "gates": [
            _gate("share of the training time", share, MAX_SHARE),
            _gate("bytes of a checkpoint with momentum", size, MAX_BYTES),
        ],
        "settings": {
            "model": prepared.recipe.model,
            "optimizer": "sgd with momentum",
            "batch_size": batch_size,
            "image_size": image_size,
            "rounds": rounds,
            "device": prepared.job.device,
            "precision": prepared.job.precision,
            "images_per_second": ahead.images_per_second,
        },
        **provenance(),
    }


def _line(epoch: int, names: tuple[str, ...]) -> dict[str, Any]:
    """A line of the history, for an epoch."""
    curve = [[epoch + part / 5, 1.2345678901234567, 0.12345678901234567] for part in range(5)]
    numbers = dict.fromkeys(("train_accuracy", "test_loss", "test_accuracy", "seconds", "examples_per_second"), 1 / 3)
    return {"epoch": epoch, "loss": 1 / 3, "class_accuracy": dict.fromkeys(names, 1 / 7), "curve": curve, **numbers}


def _gate(name: str, value: float, bound: float) -> dict[str, Any]:
    return {"name": name, "value": value, "bound": bound, "passed": value < bound}


def lines(result: dict[str, Any]) -> list[str]:
    """The result for people, with a sentence on each line."""
    has = result["settings"]
    marks = {True: "pass", False: "FAIL"}
    return [
        f"the chapter's network, {has['optimizer']}, {has['image_size']}×{has['image_size']}, batch "
        f"{has['batch_size']}, {has['precision']} on {has['device']}; {has['rounds']} rounds, numbers are medians",
        f"a checkpoint has {result['bytes'] / 1e6:.2f} MB, is saved in {result['save_seconds']:.3f} s and loaded in "
        f"{result['load_seconds']:.3f} s",
        f"an epoch takes {result['epoch_seconds']:.0f} s at {has['images_per_second']:,.0f} images/s and is saved "
        f"{result['saves_per_epoch']} time{'s' * (result['saves_per_epoch'] > 1)}: {result['share']:.2%} of it",
        f"saving every {result['save_seconds'] / MAX_SHARE:.1f} s would cost {MAX_SHARE:.0%}",
        *(
            f"{marks[gate['passed']]}  {gate['name']}: {gate['value']:,.6g} (< {gate['bound']:,g})"
            for gate in result["gates"]
        ),
    ]


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    return "\n".join(
        ["# The cost of checkpoints", "", *(f"- {line}" for line in lines(result)), "", provenance_line(result), ""]
    )
