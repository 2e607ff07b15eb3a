"""Where a run happens: a directory of its own, held by one process, gone on with by the same settings alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlpconv.errors import RunError
from mlpconv.runs.run import Config, Run, new_path
from mlpconv.training.recipe import differences


def claim(recipe_name: str, model: str) -> Path:
    """A new directory under ./runs: two processes that begin at once get two."""
    while True:
        path = new_path(recipe_name, model)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
        return path


def refuse_taken(path: Path) -> None:
    """Raise RunError unless a run can begin in ``path``."""
    if path.is_dir() and any(path.iterdir()):
        what = "holds a run; --resume goes on with it" if (path / "config.json").exists() else "is not empty"
        raise RunError(f"{path}: {what}; choose another --out")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; choose another --out")


def refuse_other(run: Run, config: Config) -> None:
    """Raise RunError, with the differences, unless ``run`` was told what ``config`` says."""
    old = run.config
    changes = differences(old.recipe, config.recipe)
    for field in ("network", "preprocess", "data", "backend", "device", "precision", "deterministic", "start"):
        before, now = getattr(old, field), getattr(config, field)
        if field == "network":  # however it was written down
            before, now = old.make_network(), config.make_network()
        # What the recipe already explains is not said again.
        told = field == "precision" and old.recipe.precision != config.recipe.precision
        if before != now and not told and not (field in ("network", "preprocess") and changes):
            plain = isinstance(before, str | bool | None)
            changes.append(f"{field}: {before}, now {now}" if plain else f"{field} differs")
    if changes:
        raise RunError(f"{run.path}: cannot go on with other settings:\n  " + "\n  ".join(changes) + "\nleave them out")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a run directory for this process. Raises RunError where another holds it."""
    import filelock

    lock = filelock.FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RunError(f"{path}: another process is training in it; wait for it, or choose another --out") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
    try:
        yield
    finally:
        # While it is held: another process may hold the file of that name as soon as it is released.
        (path / ".lock").unlink(missing_ok=True)
        lock.release()
