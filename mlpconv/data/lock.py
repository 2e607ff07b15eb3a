"""One process at a time works in a place of the cache; the others wait for it and take what it made."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mlpconv.data.known.descriptors import log
from mlpconv.errors import DataError

LOCK_SECONDS = 3600


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock file ``path``, waiting while another process has it. doing: what that one does, "fetching into it".

    Raises DataError after an hour, OSError where the file cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    place = path.parent
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("%s: another process is %s; waiting", place, doing)
            lock.acquire(timeout=LOCK_SECONDS)
    except Timeout as error:
        raise DataError(
            f"{place}: another process has been {doing} for {LOCK_SECONDS // 60} minutes; end that one, or set "
            "MLPCONV_CACHE to another directory"
        ) from error
    try:
        yield
    finally:
        lock.release()
