"""Checkpoints: everything that a resume needs, in one file that is there whole or not at all."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from mlpconv.backends.base import State
from mlpconv.errors import RunError
from mlpconv.runs.files import read_tensors, write_tensors

FORMAT = 1
KEEP = 2
GOOD = "good/"


class Checkpoint(NamedTuple):
    """The state after ``step`` steps of ``epoch`` (both from 0), the history of the epochs before it, the points of
    this epoch's curve so far, the seconds spent, and the guard's memory: ``GuardState`` as plain values. state: the
    model's, and under GOOD the one that the guard would go back to, where it is another."""

    epoch: int
    step: int
    history: list[dict[str, Any]]
    curve: list[list[float]]
    seconds: float
    state: State
    guard: dict[str, Any] | None = None


def save(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and drop all but the last two."""
    path = directory / f"epoch-{checkpoint.epoch:04d}-step-{checkpoint.step:06d}.safetensors"
    place = {key: value for key, value in checkpoint._asdict().items() if key != "state"}
    write_tensors(path, checkpoint.state, {"mlpconv.checkpoint": json.dumps({"format": FORMAT, **place})})
    for old in sorted(directory.glob("epoch-*.safetensors"))[:-KEEP]:
        old.unlink()
    for left in directory.glob(".epoch-*"):  # of a process that was killed while it wrote
        left.unlink()
    return path


def load_newest(directory: Path) -> Checkpoint | None:
    """The newest checkpoint, None where there is none. Raises RunError naming a damaged one and what to do."""
    paths = sorted(directory.glob("epoch-*.safetensors"))
    if not paths:
        return None
    remedy = f"remove it to go on from {paths[-2].name}" if len(paths) > 1 else "start again with another --out"
    try:
        state, metadata = read_tensors(paths[-1])
        place = json.loads(metadata["mlpconv.checkpoint"])
        if place.pop("format") != FORMAT:
            raise RunError(f"{paths[-1]}: of another format")
        return Checkpoint(**place, state=state)
    except (RunError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{paths[-1]}: this checkpoint cannot be read ({error}); {remedy}") from None
