"""Errors that users can cause and fix. Each sets the exit code of the command that it ends."""

from collections.abc import Iterable
from difflib import get_close_matches


class MlpconvError(Exception):
    """An error that the user can fix. The message names where it occurred, what was received and what to do.

    Example:
        >>> import mlpconv
        >>> try:
        ...     mlpconv.Recipe(epochs=0)
        ... except mlpconv.MlpconvError as error:
        ...     print(error)
        epochs must be at least 1, not 0
    """

    exit_code = 2


class NetworkError(MlpconvError, ValueError):
    """A network that is not valid: a kernel larger than its input, a duplicate name, an unknown layer."""


class DataError(MlpconvError):
    """Data that cannot be found, read or verified."""


class RecipeError(MlpconvError):
    """A recipe, or the value of one of its fields, that is not valid."""


class PrecisionError(RecipeError):
    """A precision that this machine cannot compute in."""


class RunError(MlpconvError):
    """A run directory that is missing, incomplete, in use, or not a run directory."""


class WeightsError(MlpconvError):
    """Weights that do not match their network, or are not finite."""


class MissingDependency(MlpconvError):
    """An optional package that is not installed; the message names the command that installs it."""


class TrainingFailed(MlpconvError):
    """A training run that could not be completed."""

    exit_code = 3


class ProcessLost(MlpconvError):
    """One of several processes that train a run, or that do the jobs of a command, has ended or does not respond."""

    exit_code = 3


class BenchmarkFailed(MlpconvError):
    """A benchmark in which a contender could not be completed."""

    exit_code = 3


def shortened(text: str, length: int = 300) -> str:
    """Text for a message; what is longer than ``length`` characters loses its middle."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-length // 2 :]}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for an unknown name.

    Args:
        kind: What is named, such as ``model``.
        name: The name received.
        known: The names that exist; the message lists them all and suggests the most similar one.

    Returns:
        A message such as ``unknown model 'nim'; did you mean 'nin'? known: nin, nin_28``.
    """
    names, name = list(known), shortened(name)
    similar = get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {similar[0]!r}? " if similar else ""
    return f"unknown {kind} {name!r}; {hint}known: {', '.join(names)}"


_LIBRARIES = (
    ("failed to map segment", "cannot allocate memory in static"),
    "the limit on memory (ulimit -v) is too low to load the libraries that this command needs; raise it: "
    "ulimit -v unlimited",
)
_MEMORY = (
    (
        "can't allocate memory",
        "cannot allocate memory",
        "unable to allocate",
        "std::bad_alloc",
        "not enough memory",
        "out of memory",
    ),
    "no memory left; use smaller images or batches, close other programs, or raise the limit (ulimit -v)",
)
_PROCESSES = (
    ("can't start new thread", "thread creation failed"),
    "no thread or process can be started; raise the limit on processes (ulimit -u), or close other programs",
)
"""What the message of an error of a limit contains, in lower case, and what to print instead."""


def limit_message(error: BaseException) -> str | None:
    """The message for an error of a limit on memory, threads or processes; None for any other error."""
    for marks, message in (_LIBRARIES, _MEMORY, _PROCESSES):
        if _has(error, marks):
            return message
    if isinstance(error, MemoryError):
        return _MEMORY[1]
    # Of fork; writing to a terminal that does not block raises it with the characters that were written.
    if isinstance(error, BlockingIOError) and not hasattr(error, "characters_written"):
        return _PROCESSES[1]
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error means that memory could not be allocated."""
    return isinstance(error, MemoryError) or _has(error, _MEMORY[0])


def _has(error: BaseException, marks: tuple[str, ...]) -> bool:
    text = str(error).lower()
    return any(mark in text for mark in marks)
