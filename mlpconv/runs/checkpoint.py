"""Checkpoints: everything that a resume needs, in one sealed file that is there whole or not at all."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from mlpconv.backends.base import State
from mlpconv.errors import RunError
from mlpconv.files import remove_partial_files
from mlpconv.runs.files import decode_json, read_tensors, write_tensors
from mlpconv.runs.history import best_checkpoint_epoch

FORMAT = 1
KEEP = 2
GOOD = "good/"
DAMAGED = ".damaged"
"""What the name of a damaged checkpoint ends in once it was stepped over."""

_TEXT = "mlpconv.checkpoint"
_NAME = re.compile(r"epoch-(\d{4,})-step-(\d{6,})\.safetensors")
_Natural = Annotated[int, msgspec.Meta(ge=0)]


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


class _Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Checkpoint without its state, as it is stored."""

    epoch: _Natural
    step: _Natural
    history: list[dict[str, Any]]
    curve: list[list[float]]
    seconds: float
    guard: dict[str, Any] | None = None
    format: int = FORMAT


def save(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint and drop all but the last two and the best. Raises OSError; those before are then whole."""
    path = directory / _name(checkpoint.epoch, checkpoint.step)
    place = _Place(*(getattr(checkpoint, name) for name in _Place.__struct_fields__[:-1]))
    write_tensors(path, checkpoint.state, {_TEXT: msgspec.json.encode(place).decode()})
    best = best_checkpoint_epoch(checkpoint.history)
    found = _list(directory)
    kept = {*found[-KEEP:], directory / _name(best or checkpoint.epoch, 0)}
    for old in found:
        if old not in kept:
            old.unlink()
    remove_partial_files(directory)
    return path


def saved_position(directory: Path) -> tuple[int, int]:
    """(epoch, step) of the newest checkpoint, as its name says; (0, 0) where there is none."""
    match = _NAME.fullmatch(found[-1].name) if (found := _list(directory)) else None
    return (int(match[1]), int(match[2])) if match else (0, 0)


def load_newest(directory: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint, None where there is none at all.

    Damaged ones that are newer are named to ``warn`` and set aside. Raises RunError where all are damaged (a run never
    starts over in silence) or where a newer mlpconv wrote one.
    """
    damaged: list[tuple[Path, str]] = []
    for path in reversed(_list(directory)):
        try:
            found = load(path)
        except _Newer:
            raise
        except RunError as error:
            damaged.append((path, str(error)))
            continue
        for other, reason in damaged:
            other.replace(other.with_name(other.name + DAMAGED))
            warn(f"{reason}; set aside as {other.name}{DAMAGED}, going on from {path.name}")
        return found
    if damaged:
        reasons = "\n  ".join(reason for _, reason in damaged)
        raise RunError(f"{directory}: no checkpoint can be read:\n  {reasons}\nstart again with another --out")
    return None


class _Newer(RunError):
    """Not damaged: to step over it would lose what it holds."""


def load(path: Path) -> Checkpoint:
    """One checkpoint, verified. Raises RunError where it is damaged."""
    state, texts = read_tensors(path, sealed=True)
    try:
        text = texts[_TEXT]
        format_ = decode_json(text).get("format")
        if isinstance(format_, int) and format_ > FORMAT:
            raise _Newer(f"{path}: written by a newer mlpconv (format {format_}); update mlpconv")
        place = decode_json(text, _Place)
    except (KeyError, AttributeError, ValueError) as error:
        raise RunError(f"{path}: not a checkpoint that mlpconv wrote: {error}") from None
    for name, value in state.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise RunError(f"{path}: {name} holds NaN or infinite values")
    return Checkpoint(place.epoch, place.step, place.history, place.curve, place.seconds, state, place.guard)


def _name(epoch: int, step: int) -> str:
    return f"epoch-{epoch:04d}-step-{step:06d}.safetensors"


def _list(directory: Path) -> list[Path]:
    """The checkpoints there, in the order of training."""
    found = [(match, path) for path in directory.glob("epoch-*.safetensors") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted((tuple(map(int, match.groups())), path) for match, path in found)]
