"""What somebody asks for: a training run, and how to execute it."""

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from mlpconv.backends.base import Precision
from mlpconv.training.recipe import Recipe

CHECKPOINT_SECONDS = 300.0
"""Seconds between two checkpoints within an epoch."""


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A training run as somebody asks for it; ``prepare`` resolves what is left open."""

    recipe: str | Recipe | None = None
    """A recipe, its name or its TOML file. None: that of the run to resume or to repeat, else the default recipe."""
    recipe_name: str | None = None
    """What to call the recipe; by default its name, or "custom"."""
    changes: dict[str, Any] = {}
    """Fields of the recipe to change, as ``training.recipe.change`` takes them."""
    settings: dict[str, Any] = {}
    """More of them, from ``--set``; they are applied after ``changes``."""
    repeat: str | None = None
    """A run to repeat: its recipe and back end are the defaults (``--from``)."""
    resume_from: str | None = None
    """The directory of a run to continue; whatever is left open is as in this run."""
    resume_override: dict[str, Any] = {}
    """Fields of the recipe, and "device", that are to differ from the run that is continued."""
    start_from: str | None = None
    """A run or classifier file, of any back end, from whose weights to start instead of the recipe's initializer."""
    from_scratch: bool = False
    """Whether to start from random weights also where few images would start from those of the package."""
    budget: float | None = None
    """The seconds that the run may take: there are fewer epochs if the forecast is longer. None: ``BUDGET`` of
    training/automatic.py for few images in a folder, else no limit."""
    data_directory: str | None = None
    """The directory with a known data set's files."""
    strict: bool = False
    """Whether to refuse a folder of images if anything in it cannot be used."""
    follow_links: bool = False
    """Whether to follow links that lead out of a folder of images."""
    backend: str | None = None
    """By default that of the run to resume or to repeat, else torch."""
    device: str | None = None
    """By default that of the run to resume, else a GPU if there is one."""
    precision: Precision | None = None
    """The precision if the recipe leaves it open; by default that of the run to resume, else the device's fastest."""
    deterministic: bool = False
    """Whether to use only deterministic algorithms, in the whole process."""


class CheckpointPolicy(NamedTuple):
    """When to save a checkpoint within an epoch; one more is saved after each epoch."""

    seconds: float = CHECKPOINT_SECONDS
    steps: int | None = None
    """Also after this many steps of an epoch, and its multiples."""


class ExecuteOptions(NamedTuple):
    """How to execute a job; none of this changes its result."""

    resume: bool = False
    """Whether to continue the run in the directory, instead of starting one there."""
    allowed_changes: Collection[str] = ()
    """Fields of the recipe, and "device", in which a resumed run may differ from the stored job."""
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    report_seconds: float = 0.5
    """Seconds between two ``Progress`` events."""
    force: bool = False
    """Whether to start even if the available memory is not enough."""


DEFAULT_OPTIONS = ExecuteOptions()
