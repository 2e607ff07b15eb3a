"""Where a run happens: a directory of its own, held by one process, gone on with by the same settings alone."""

import os
import shlex
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import msgspec

from mlpconv.arch.network import Network
from mlpconv.errors import RecipeError, RunError
from mlpconv.runs.files import is_part, sweep
from mlpconv.runs.run import CONFIG, ENVIRONMENT, START, Config, Run, new_path
from mlpconv.training.recipe import as_text, differences, fields

LOCK = ".lock"

CHANGEABLE = (
    "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "warmup", "image_sizes", "augmentation",
    "label_smoothing", "seed", "precision", "device",
)  # fmt: skip
"""What a run may go on with otherwise than it began, where that is said to be meant."""


SHAPING = ("model", "data", "image_size", "normalize", "fit", "antialias")
"""Fields of a recipe from which network and preprocessing follow."""


def claim(recipe_name: str, model: str) -> Path:
    """A new directory under ./runs: two processes that begin at once get two."""
    while True:
        path = new_path(recipe_name, model)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritable(path, error.strerror or error) from None
        return path


def check(out: Path | None, *, resume: bool) -> None:
    """Raise RunError, before any work is done, unless a run can begin in ``out`` (None: under ./runs), or go on."""
    try:
        if out is not None and resume:
            Run(out)
        elif out is not None:
            refuse_taken(out)
        _check_writable(out or Path("runs"))
        if out is not None and resume and (out / LOCK).exists():
            with locked(out):
                pass
    except OSError as error:
        raise _unwritable(out or Path("runs"), error.strerror or error) from None


def make_directory(path: Path) -> None:
    """Make a run's directory where it is missing. Raises RunError where it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror or error) from None


def refuse_taken(path: Path) -> None:
    """Raise RunError unless a run can begin in ``path``. What a process left that was killed as it began is no run."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; choose another --out")
    if (path / CONFIG).exists():
        raise RunError(f"{path}: holds a run; --resume goes on with it; choose another --out")
    if path.is_dir() and not all(_is_beginning(child) for child in path.iterdir()):
        raise RunError(f"{path}: is not empty; choose another --out")


def _is_beginning(path: Path) -> bool:
    known = path.name in (LOCK, ENVIRONMENT, START) or is_part(path)
    return known or (path.name == "checkpoint" and not any(path.iterdir()))


def _check_writable(path: Path) -> None:
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise _unwritable(path, "Not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _unwritable(path, "Permission denied" if existing == path else f"{existing}: Permission denied")


def _unwritable(path: Path, reason: object) -> RunError:
    return RunError(f"{path}: cannot be written: {reason}; choose another --out")


def refuse_other(run: Run, config: Config, meant: Collection[str] = ()) -> list[str]:
    """Raise RunError, with every difference, unless ``run`` was told what ``config`` says.

    meant: of CHANGEABLE, what may differ. Returns those differences, a line each. Raises RecipeError for a name that is
    not of CHANGEABLE.
    """
    if fixed := [name for name in meant if name not in CHANGEABLE]:
        raise RecipeError(
            f"--resume-with {fixed[0]}: a run goes on with its own; what may change: {', '.join(CHANGEABLE)}; "
            f"for the rest begin another: mlpconv train --from {run.path} --set {fixed[0]}=…"
        )
    old = run.config
    changes = dict(differences(old.recipe, config.recipe))
    told = set(changes)
    if told.isdisjoint(SHAPING):
        changes |= _network(old.make_network(), config.make_network())
        changes |= _fields("preprocess", old.preprocess, config.preprocess)
    changes |= _fields("data", old.data, config.data)
    for name in ("backend", "device", "precision", "deterministic", "start"):
        before, now = getattr(old, name), getattr(config, name)
        # What the recipe already explains is not said again.
        if before != now and name not in told:
            changes[name] = f"{before}, now {now}"
    unmeant = {name: text for name, text in changes.items() if name not in meant}
    if unmeant:
        lines = "\n  ".join(f"{name}: {text}" for name, text in unmeant.items())
        mean = " ".join(f"--resume-with {shlex.quote(setting)}" for setting in _settings(old, config, unmeant))
        also = f", or say that they are meant: {mean}" if mean else ""
        raise RunError(f"{run.path}: cannot go on with other settings:\n  {lines}\nleave them out{also}")
    return [f"{name}: {text}" for name, text in changes.items()]


def _settings(old: Config, new: Config, names: Collection[str]) -> list[str]:
    """What ``--resume-with`` takes for the changes of ``names``."""
    before, now = fields(old.recipe) | {"device": old.device}, fields(new.recipe) | {"device": new.device}
    return [
        f"{field}={value}"
        for field, value in now.items()
        if value != before[field] and (name := field.partition(".")[0]) in names and name in CHANGEABLE
    ]


def _network(old: Network, new: Network) -> dict[str, str]:
    layers = [{name: repr(layer) for name, layer in network.walk()} for network in (old, new)]
    found = {
        f"network.{name}": f"{layers[0].get(name, 'not there')}, now {layers[1].get(name, 'not there')}"
        for name in {**layers[0], **layers[1]}
        if layers[0].get(name) != layers[1].get(name)
    }
    for name in ("input_channels", "input_size", "name"):
        if getattr(old, name) != getattr(new, name):
            found[f"network.{name}"] = f"{getattr(old, name)}, now {getattr(new, name)}"
    if not found and old != new:
        found["network"] = "the same layers in another order"
    return found


def _fields(name: str, old: msgspec.Struct, new: msgspec.Struct) -> dict[str, str]:
    pairs = [(field, getattr(old, field), getattr(new, field)) for field in old.__struct_fields__]
    return {f"{name}.{field}": f"{as_text(a)}, now {as_text(b)}" for field, a, b in pairs if a != b}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run directory for this process; the system takes the lock back when the process dies in any way.

    Raises RunError where another holds it, and says who.
    """
    try:
        file = _hold(path)
    except OSError as error:
        raise _unwritable(path, error.strerror or error) from None
    try:
        sweep(path)
        yield
    finally:
        # While it is held: another process may hold the file of that name as soon as it is released.
        (path / LOCK).unlink(missing_ok=True)
        file.close()


def _hold(path: Path) -> IO[Any]:
    # Not filelock: it empties the file of a lock that another holds, and so what that one wrote there.
    import fcntl

    while True:
        file = (path / LOCK).open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(500).strip() or "another process"
            file.close()
            raise RunError(f"{path}: {holder} is training in it; wait for it, or choose another --out") from None
        except OSError:
            file.close()
            raise
        if _is_still(path / LOCK, file):
            break
        # Its holder removed it between our opening and our locking it.
        file.close()
    words = f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S},"
    # A full disk has no room for words; it is held all the same.
    with suppress(OSError):
        file.truncate(0)
        os.write(file.fileno(), words.encode())
    return file


def _is_still(path: Path, file: IO[Any]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
