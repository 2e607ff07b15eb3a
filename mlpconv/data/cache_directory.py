"""The cache directory on this machine, and the lock that lets one process at a time fill a part of it."""

import contextlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from mlpconv.errors import DataError

LOCK_TIMEOUT_SECONDS = 3600

_log = logging.getLogger("mlpconv.data")


def cache_directory(cache: str | os.PathLike[str] | None = None) -> Path:
    """The cache directory: `cache`, else MLPCONV_CACHE, else XDG_CACHE_HOME/mlpconv, else ~/.cache/mlpconv.

    The files of known data sets are in data/NAME below it, decoded images in folders/KEY.

    Raises:
        DataError: None of these is set and the user has no home directory.
    """
    if chosen := cache or os.environ.get("MLPCONV_CACHE"):
        return Path(chosen).expanduser()
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if xdg.is_absolute():  # the XDG specification says to ignore relative paths
        return xdg / "mlpconv"
    try:
        return Path.home() / ".cache" / "mlpconv"
    except RuntimeError as error:
        raise DataError("this user has no home directory for a cache; set MLPCONV_CACHE to a directory") from error


@contextlib.contextmanager
def cache_lock(path: Path, activity: str) -> Iterator[None]:
    """Hold a lock file of the cache, waiting for the process that holds it.

    Run directories have another lock (``mlpconv.runs.directory.locked``) because they need the opposite behavior: a
    second process must fail at once and report who holds the lock, from a text inside the lock file. filelock, used
    here for its timeout and portability, truncates that file.

    Args:
        path: The lock file.
        activity: What the holder of the lock does, for messages: "downloading to this directory".

    Raises:
        DataError: Another process has held the lock for an hour.
        OSError: The lock file cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    directory = path.parent
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.info("%s: another process is %s; waiting", directory, activity)
            lock.acquire(timeout=LOCK_TIMEOUT_SECONDS)
    except Timeout as error:
        raise DataError(
            f"{directory}: another process has been {activity} for {LOCK_TIMEOUT_SECONDS // 60} minutes; stop that "
            "process, or set MLPCONV_CACHE to another directory"
        ) from error
    try:
        yield
    finally:
        lock.release()
