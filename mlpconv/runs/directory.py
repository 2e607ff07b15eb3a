"""The directory of a run: created once, and used by one process at a time."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from mlpconv.errors import RunError
from mlpconv.files import is_partial_file, remove_partial_files, unwritable
from mlpconv.runs.job import CONFIG
from mlpconv.runs.run import ENVIRONMENT, START, Run, new_path

LOCK = ".lock"


def create_run_directory(recipe_name: str, model: str) -> Path:
    """Create a new directory under ./runs; two processes that start at the same time get different ones."""
    while True:
        path = new_path(recipe_name, model)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise _unwritable(path, error) from None
        return path


def check_directory(out: Path | None, *, resume: bool) -> None:
    """Check, before any work is done, that a run can start or continue in a directory.

    Args:
        out: The directory; None for a new one under ./runs.
        resume: Whether the run in it is to continue.

    Raises:
        RunError: It cannot.
    """
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
        raise _unwritable(out or Path("runs"), error) from None


def make_directory(path: Path) -> None:
    """Create the directory of a run if it is missing. Raises RunError if it cannot be created."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def refuse_occupied(path: Path) -> None:
    """Raise RunError unless a new run can start in ``path``; files of a process killed at its start are no obstacle."""
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; choose another --out")
    if (path / CONFIG).exists():
        raise RunError(f"{path}: holds a run; continue it with --resume, or choose another --out")
    if path.is_dir() and not all(_is_left_from_start(child) for child in path.iterdir()):
        raise RunError(f"{path}: is not empty; choose another --out")


def _is_left_from_start(path: Path) -> bool:
    known = path.name in (LOCK, ENVIRONMENT, START) or is_partial_file(path)
    return known or (path.name == "checkpoint" and not any(path.iterdir()))


def _check_writable(path: Path) -> None:
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise _unwritable(path, NotADirectoryError(errno.ENOTDIR, "Not a directory"))
    if not os.access(existing, os.W_OK | os.X_OK):
        denied = "Permission denied" if existing == path else f"{existing}: Permission denied"
        raise _unwritable(path, PermissionError(errno.EACCES, denied))


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(unwritable(path, error, otherwise="choose another --out"))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a run directory for this process; the system releases the lock however the process ends.

    Raises:
        RunError: Another process holds the lock; the message names it.
    """
    try:
        file = _hold(path)
        remove_partial_files(path)
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield
    finally:
        # While the lock is held: as soon as it is released, another process may hold a file of that name. Where the
        # directory cannot be written any more, the file stays: a lock that nobody holds is no obstacle.
        with suppress(OSError):
            (path / LOCK).unlink(missing_ok=True)
        file.close()


def _hold(path: Path) -> IO[Any]:
    # Not filelock: it empties a lock file that another process holds, and with it the name of that process.
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
        # Its holder removed the file between our opening and our locking it.
        file.close()
    holder = f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S},"
    # On a full disk the lock is held without a name.
    with suppress(OSError):
        file.truncate(0)
        os.write(file.fileno(), holder.encode())
    return file


def _is_still(path: Path, file: IO[Any]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
