"""The errors that a user can cause, each with the exit code of the command that meets it."""

from collections.abc import Iterable
from difflib import get_close_matches


class MlpconvError(Exception):
    """Something the user can mend. The message says the place, what was received and what to do."""

    exit_code = 2


class NetworkError(MlpconvError, ValueError):
    """A network that cannot exist: a window larger than its map, a name used twice, an unknown layer."""


class DataError(MlpconvError):
    """Data that cannot be found, read or trusted."""


class RecipeError(MlpconvError):
    """A recipe, or a value given for one of its fields, that cannot be carried out."""


class PrecisionError(RecipeError):
    """A precision in which this machine cannot compute."""


class RunError(MlpconvError):
    """A run directory that is missing, foreign, incomplete or in use."""


class WeightsError(MlpconvError):
    """Weights that do not belong to the network they were given to, or are not finite."""


class MissingDependency(MlpconvError):
    """An optional package that is not installed; the message names what brings it."""


class TrainingFailed(MlpconvError):
    """A training run that could not be brought to an end."""

    exit_code = 3


class BenchmarkFailed(MlpconvError):
    """A benchmark of which one contender could not be run to its end."""

    exit_code = 3


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """The message for a name that does not exist: what was given, the nearest, and all of them."""
    known = list(known)
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown {kind} {name!r}; {hint}known: {', '.join(known)}"
