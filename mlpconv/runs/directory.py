"""The directory of a run: created once, used by one process at a time."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from mlpconv.errors import RunError
from mlpconv.files import is_partial_file, remove_partial_files
from mlpconv.runs.run import CONFIG, ENVIRONMENT, START, Run, new_path

LOCK = ".lock"


def create_run_directory(recipe_name: str, model: str) -> Path:
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


def check_directory(out: Path | None, *, resume: bool) -> None:
    """Raise RunError, before any work is done, unless a run can begin in ``out`` (None: under ./runs), or go on."""
    try:
        if out is not None and resume:
            Run(out)
        elif out is not None:
            refuse_occupied(out)
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


def refuse_occupied(path: Path) -> None:
    """Raise RunError unless a run can begin in ``path``. What a process left that was killed as it began is no run."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; choose another --out")
    if (path / CONFIG).exists():
        raise RunError(f"{path}: holds a run; --resume goes on with it; choose another --out")
    if path.is_dir() and not all(_is_beginning(child) for child in path.iterdir()):
        raise RunError(f"{path}: is not empty; choose another --out")


def _is_beginning(path: Path) -> bool:
    known = path.name in (LOCK, ENVIRONMENT, START) or is_partial_file(path)
    return known or (path.name == "checkpoint" and not any(path.iterdir()))


def _check_writable(path: Path) -> None:
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise _unwritable(path, "Not a directory")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise _unwritable(path, "Permission denied" if existing == path else f"{existing}: Permission denied")


def _unwritable(path: Path, reason: object) -> RunError:
    return RunError(f"{path}: cannot be written: {reason}; choose another --out")


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
        remove_partial_files(path)
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
