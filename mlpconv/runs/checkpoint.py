"""Checkpoints: everything that a resume needs, in one sealed file that is either complete or not there."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from mlpconv.backends.base import State
from mlpconv.errors import RunError
from mlpconv.files import remove_partial_files
from mlpconv.runs.files import Finite, Natural, Positive, decode_json, open_tensors, write_tensors
from mlpconv.runs.history import best_checkpoint_epoch
from mlpconv.runs.records import Versioned
from mlpconv.training.problems import GuardState

FORMAT = 1
KEEP = 2
"""Number of newest checkpoints that are kept, in addition to the best one."""
GOOD = "good/"
"""Prefix of the arrays of the guard's last good state."""
DAMAGED = ".damaged"
"""Suffix of a damaged checkpoint that was skipped."""

_TEXT = "mlpconv.checkpoint"
_NAME = re.compile(r"epoch-(\d{4,})-step-(\d{6,})\.safetensors")


class Checkpoint(NamedTuple):
    """The state of a run after ``step`` steps of ``epoch`` (both from 0)."""

    epoch: int
    step: int
    history: list[dict[str, Any]]
    """The history of the epochs before."""
    curve: list[list[float]]
    """The points of this epoch's curve so far."""
    seconds: float
    """The time that the run took so far."""
    state: State
    """The model's training state and, under the prefix ``GOOD``, the one to which the guard would go back, if it is a
    different one."""
    guard: dict[str, Any] | None = None
    """What the guard remembers: ``GuardState`` as plain values."""


class _Metadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Checkpoint without its state, as it is stored."""

    epoch: Natural
    step: Natural
    history: list[dict[str, Any]]
    curve: list[tuple[Finite, Finite, Finite]]
    seconds: Positive
    guard: dict[str, Any] | None = None
    format: int = FORMAT


_FIELDS = tuple(name for name in _Metadata.__struct_fields__ if name != "format")


def save(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint, and remove all but the last two and the best. Raises OSError, and keeps the earlier ones."""
    path = directory / _name(checkpoint.epoch, checkpoint.step)
    metadata = _Metadata(**{name: getattr(checkpoint, name) for name in _FIELDS})
    write_tensors(path, checkpoint.state, {_TEXT: msgspec.json.encode(metadata).decode()})
    best = best_checkpoint_epoch(checkpoint.history)
    all_paths = _list(directory)
    kept = {*all_paths[-KEEP:], directory / _name(best or checkpoint.epoch, 0)}
    for old in all_paths:
        if old not in kept:
            old.unlink()
    remove_partial_files(directory)
    return path


def saved_position(directory: Path) -> tuple[int, int]:
    """(epoch, step) of the newest checkpoint, from its name; (0, 0) if there is none."""
    match = _NAME.fullmatch(paths[-1].name) if (paths := _list(directory)) else None
    return (int(match[1]), int(match[2])) if match else (0, 0)


def load_newest(directory: Path, warn: Callable[[str], None], max_bytes: int | None = None) -> Checkpoint | None:
    """The newest checkpoint that is intact; None if there is no checkpoint at all.

    Args:
        directory: The directory of the checkpoints.
        warn: Called with a message for each newer checkpoint that is damaged. These are renamed.
        max_bytes: The most bytes of tensors that a checkpoint of the run can have; by default any number.

    Raises:
        RunError: All are damaged (a run never starts over silently), or a newer mlpconv wrote one.
    """
    damaged: list[tuple[Path, str]] = []
    for path in reversed(_list(directory)):
        try:
            checkpoint = load(path, max_bytes)
        except _Newer:
            raise
        except RunError as error:
            damaged.append((path, str(error)))
            continue
        for other, reason in damaged:
            other.replace(other.with_name(other.name + DAMAGED))
            warn(f"{reason}; renamed to {other.name}{DAMAGED}, resuming from {path.name}")
        return checkpoint
    if damaged:
        reasons = "\n  ".join(reason for _, reason in damaged)
        raise RunError(f"{directory}: no checkpoint can be read:\n  {reasons}\nstart again with another --out")
    return None


class _Newer(RunError):
    """The checkpoint is not damaged: skipping it would lose what it holds."""


def load(path: Path, max_bytes: int | None = None) -> Checkpoint:
    """Read and verify one checkpoint. Raises RunError if it is damaged, or has more than ``max_bytes`` of tensors."""
    with open_tensors(path, sealed=True) as file:
        announced = sum(tensor.nbytes for tensor in file.tensors.values())
        if max_bytes is not None and announced > max_bytes:
            raise RunError(f"{path}: has {announced:,} bytes of tensors, and the run's network at most {max_bytes:,}")
        state, texts = file.read(), file.texts
    try:
        text = texts[_TEXT]
        if (format_ := decode_json(text, Versioned).format) > FORMAT:
            raise _Newer(f"{path}: written by a newer mlpconv (format {format_}); update mlpconv")
        metadata = decode_json(text, _Metadata)
        msgspec.convert(metadata.guard or {}, GuardState)
    except (KeyError, ValueError) as error:
        raise RunError(f"{path}: not a checkpoint that mlpconv wrote: {error}") from None
    for name, value in state.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise RunError(f"{path}: {name} holds NaN or infinite values")
    fields = {name: getattr(metadata, name) for name in _FIELDS}
    fields["curve"] = [list(point) for point in metadata.curve]
    return Checkpoint(**fields, state=state)


def _name(epoch: int, step: int) -> str:
    return f"epoch-{epoch:04d}-step-{step:06d}.safetensors"


def _list(directory: Path) -> list[Path]:
    """The checkpoints in a directory, in the order of training."""
    matches = [(match, path) for path in directory.glob("epoch-*.safetensors") if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted((tuple(map(int, match.groups())), path) for match, path in matches)]
