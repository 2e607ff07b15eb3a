"""Several processes that train one run: which of them this is, and what the first one and the others do.

PyTorch's launcher starts them, ``torchrun`` or ``mlpconv train --nproc N``, and tells each its rank in the environment.
The process of rank 0 leads: it alone plans, evaluates, decides and writes. The others follow: they compute their part
of each step that it announces. So nothing has to be agreed among them.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from mlpconv.backends.registry import BACKENDS
from mlpconv.errors import MlpconvError

if TYPE_CHECKING:
    from mlpconv.backends.base import Images, Labels, Model

_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""The environment variables by which PyTorch's launcher, and others like it, tell a process its place."""


class Place(NamedTuple):
    """The place of this process among those that train one run."""

    rank: int = 0
    """From 0; the process of rank 0 leads."""
    size: int = 1
    """The number of processes."""
    here: int = 1
    """How many of them run on this machine."""


class Group(Protocol):
    """The processes of one run, as one of them sees them."""

    def lead(self, device: str, job: bytes) -> None:
        """In the first process: give the job to the others and connect them all.

        Raises:
            ProcessLost: They cannot be connected.
        """
        ...

    def wait(self) -> bytes | None:
        """In the other processes: the job, once it is there; None if the first process has none for them."""
        ...

    def follow(self, device: str, make_model: Callable[[], "Model"], images: "Images", labels: "Labels") -> None:
        """In the other processes: compute their part of every step until the first process ends.

        Args:
            device: The device of the job.
            make_model: Returns a new model of the job.
            images: The training images.
            labels: Their labels.

        Raises:
            ProcessLost: The first process ended without announcing it.
        """
        ...

    def end(self) -> None:
        """In the first process: let the others end."""
        ...


_place = Place()


def join() -> Place:
    """Take the place that the environment states, for the rest of this process; without one, it is alone.

    Raises:
        MlpconvError: The environment states an impossible place.
    """
    global _place
    if all(os.environ.get(name) for name in _VARIABLES):
        texts = [os.environ[name] for name in ("RANK", "WORLD_SIZE")]
        texts.append(os.environ.get("LOCAL_WORLD_SIZE", texts[1]))
        if not all(text.isdecimal() for text in texts) or not int(texts[0]) < int(texts[1]):
            raise MlpconvError(
                f"environment: RANK={texts[0]}, WORLD_SIZE={texts[1]}, LOCAL_WORLD_SIZE={texts[2]} is no place among "
                "several processes; start them with torchrun, or unset these variables"
            )
        _place = Place(*map(int, texts))
        # PyTorch, which is imported later, would print a stack for each connection that ends.
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    return _place


def place() -> Place:
    """The place of this process; alone unless it has joined others."""
    return _place


def check(backend: str, device: str) -> None:
    """Raise MlpconvError unless several processes can train one run with this back end on this device."""
    if not BACKENDS[backend].several_processes:
        able = ", ".join(name for name, entry in BACKENDS.items() if entry.several_processes)
        raise MlpconvError(
            f"backend {backend}: trains a run in one process, not in {_place.size}; leave --nproc and torchrun out, or "
            f"use --backend {able}"
        )
    if device not in ("cpu", "cuda"):
        raise MlpconvError(
            f"device {device}: several processes train on cpu, or on cuda with a GPU for each; use --device cpu or cuda"
        )


def make_group() -> Group:
    """The group of this process and the others."""
    from mlpconv.backends.pytorch.processes import ProcessGroup

    return ProcessGroup(_place)


def launch(count: int, arguments: list[str]) -> int:
    """Start processes on this machine that execute ``mlpconv ARGUMENTS`` together, and wait for their end.

    Returns:
        The exit code of the first process that failed; 0 if none did.
    """
    from mlpconv.backends.pytorch.launcher import launch

    return launch(count, arguments)
