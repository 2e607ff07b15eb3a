"""Many independent jobs at once: in processes of this machine, or on the workers of a Dask cluster.

A job is a value that can be pickled, and a function that every worker can import takes it. Both kinds of workers are
executors with the interface of ``concurrent.futures``; what is added here is what a worker's death asks for: its job
starts again on another one.
"""

import json
import logging
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from mlpconv import hardware
from mlpconv.errors import MissingDependency, MlpconvError, ProcessLost

LOCAL = "local"
ATTEMPTS = 4
"""How often a job is started, at most. A job that is running while another one's worker dies may start again too."""
_POLL_SECONDS = 0.2
"""How often `Workers.run` asks whether to stop."""
_WAITING = 2
"""The jobs that each worker has been sent, the one that it does included."""
_CONNECT_SECONDS = 20
_EXPECTED = (
    "expected local, local:N, an address such as tcp://HOST:8786, which dask scheduler prints, or the .json file that "
    "it writes"
)

Job = TypeVar("Job")
Result = TypeVar("Result")


class _Started(NamedTuple):
    """A job that a worker has been sent."""

    number: int
    job: Any
    attempt: int


class _Kind(Protocol):
    """A kind of workers."""

    count: int
    """The number of workers."""

    @property
    def fatal(self) -> tuple[type[BaseException], ...]:
        """What the future of a job raises if its worker died, and the others' too."""
        ...

    def submit(self, function: Callable[[Any], Any], job: Any) -> Future: ...
    def replace(self) -> None:
        """Start new workers where they are all lost. Raises MlpconvError if that is not possible."""
        ...

    def close(self) -> None: ...


class Workers:
    """Workers that do jobs; see ``open_workers``."""

    def __init__(self, kind: _Kind) -> None:
        self._kind = kind

    @property
    def count(self) -> int:
        """The number of workers."""
        return self._kind.count

    def run(
        self,
        function: Callable[[Job], Result],
        jobs: Iterable[Job],
        *,
        should_stop: Callable[[], bool] = lambda: False,
        window: int | None = None,
    ) -> Iterator[tuple[int, Result]]:
        """Do jobs.

        Args:
            function: A function of a module. Its errors of this package come back as they are.
            jobs: The jobs; they are taken as workers become free.
            should_stop: Called several times a second. Once it returns True, no further job is started; those that
                have been started are waited for.
            window: How far a job may be ahead of the first one that is not done; None for any number.

        Yields:
            The index and the result of each job, as they are done.

        Raises:
            ProcessLost: A job's worker died at each of ``ATTEMPTS`` attempts, or all workers are lost.
        """
        coming = (_Started(number, job, 1) for number, job in enumerate(jobs))
        waiting: deque[_Started] = deque()  # those whose worker died, and the next one if it is too far ahead
        running: dict[Future, _Started] = {}
        stopped = False
        while True:
            stopped = stopped or should_stop()
            while not stopped and len(running) < _WAITING * self.count:
                started = waiting.popleft() if waiting else next(coming, None)
                if started is None:
                    break
                first = min((each.number for each in running.values()), default=started.number)
                if window is not None and started.number >= first + window:
                    waiting.append(started)
                    break
                running[self._submit(function, started)] = started
            if not running:
                return
            done, _ = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
            died = []
            for future in done:
                started = running.pop(future)
                try:
                    outcome = future.result()
                except self._kind.fatal as error:
                    died.append((started, error))
                    continue
                if isinstance(outcome, MlpconvError):
                    raise outcome
                yield started.number, outcome
            if died:
                for started, error in died:
                    if started.attempt == ATTEMPTS:
                        raise ProcessLost(
                            f"--executor: the worker of {_described(started.job)} died {ATTEMPTS} times ("
                            f"{' '.join(str(error).split()) or type(error).__name__}); see whether it has enough memory"
                        ) from None
                    waiting.appendleft(started._replace(attempt=started.attempt + 1))
                self._kind.replace()

    def _submit(self, function: Callable[[Job], Result], started: _Started) -> Future:
        call = partial(_call, function)
        try:
            return self._kind.submit(call, started.job)
        except self._kind.fatal:
            self._kind.replace()
            return self._kind.submit(call, started.job)

    def in_order(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[Result]:
        """The results of jobs in the order of the jobs; only a few are kept while an earlier one is not done."""
        kept: dict[int, Result] = {}
        following = 0
        for index, result in self.run(function, jobs, window=2 * _WAITING * self.count):
            kept[index] = result
            while following in kept:
                yield kept.pop(following)
                following += 1


_working = threading.Lock()
"""In a worker: held during a job."""


def _call(function: Callable[[Job], Result], job: Job) -> "Result | MlpconvError":
    """In a worker: the result, or the error for the user, which must not look like the end of the worker."""
    with _working:
        try:
            return function(job)
        except MlpconvError as error:
            return error


def _described(job: Any) -> str:
    name = getattr(job, "name", None)
    return f"job {name}" if name else "a job"


@contextmanager
def open_workers(address: str) -> Iterator[Workers]:
    """Start, or connect to, the workers of ``--executor``.

    Args:
        address: "local" for a process for each processor, "local:4" for four, the address of a Dask scheduler, such
            as "tcp://host:8786", or the .json file that it writes.

    Raises:
        MlpconvError: The address has another form, or no scheduler answers there, or it has no workers.
        MissingDependency: Dask is not installed.
    """
    kind: _Kind = _Local(_local_count(address)) if address.partition(":")[0] == LOCAL else _Dask(address)
    try:
        yield Workers(kind)
    finally:
        kind.close()


def _local_count(address: str) -> int:
    _, colon, number = address.partition(":")
    if not colon:
        return hardware.cpu_count()
    if not (number.isascii() and number.isdecimal() and int(number)):
        raise MlpconvError(f"--executor {address}: {_EXPECTED}, with N at least 1")
    return int(number)


class _Local:
    """Processes of this machine, each with its share of the processors."""

    fatal = (BrokenProcessPool,)

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool = self._start()

    def _start(self) -> Executor:
        threads = max(hardware.cpu_count() // self.count, 1)
        # A forked process would share the threads and locks of libraries that are loaded here.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.count, context, _initialize, (threads,))

    def submit(self, function: Callable[[Any], Any], job: Any) -> Future:
        try:
            return self._pool.submit(function, job)
        except OSError as error:
            if error.errno is not None:
                raise
            # A worker has just died, and the pool is closing its pipes while it starts another one here.
            raise BrokenProcessPool(str(error)) from error

    def replace(self) -> None:
        self._pool.shutdown(wait=False)
        self._pool = self._start()

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


def _initialize(threads: int) -> None:
    """In a new process: the first process alone decides what Ctrl-C means, and none is left when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Wait until the process that started this one is gone, then end this one, but not within a job."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    with _working:
        os._exit(1)


def is_abandoned() -> bool:
    """In a worker of ``local``: whether the process that started it is gone."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _scheduler_address(where: str) -> str:
    """The address of a scheduler, which is given, or in a file that a scheduler may be about to write."""
    address = where
    if where.endswith(".json"):
        until = time.monotonic() + _CONNECT_SECONDS
        while not Path(where).is_file():
            if time.monotonic() > until:
                raise MlpconvError(f"--executor {where}: there is no such file; {_EXPECTED}")
            time.sleep(_POLL_SECONDS)
        try:
            address = json.loads(Path(where).read_bytes())["address"]
        except (OSError, ValueError, KeyError, TypeError):
            raise MlpconvError(f"--executor {where}: not the file of a Dask scheduler; {_EXPECTED}") from None
    if not (isinstance(address, str) and re.fullmatch(r"([a-z]+://)?[^/\s]+:[0-9]{1,5}", address)):
        raise MlpconvError(f"--executor {where}: not an address; {_EXPECTED}")
    return address


class _Dask:
    """The workers of a Dask cluster."""

    def __init__(self, address: str) -> None:
        try:
            import distributed  # pyright: ignore[reportMissingImports]
            from distributed.comm.core import CommClosedError  # pyright: ignore[reportMissingImports]
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f'--executor {address}: the package {error.name!r} is not installed; pip install "mlpconv[cluster]"'
            ) from error
        self._address = address
        logging.getLogger("distributed").setLevel(logging.CRITICAL)  # its tracebacks; errors are raised too
        try:
            self._client: Any = distributed.Client(
                _scheduler_address(address), timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, ValueError) as error:  # TimeoutError is an OSError
            raise MlpconvError(
                f"--executor {address}: no Dask scheduler answers there ({' '.join(str(error).split())}); {_EXPECTED}"
            ) from None
        try:
            self._client.wait_for_workers(1, timeout=_CONNECT_SECONDS)
        except TimeoutError:
            self._client.close()
            raise MlpconvError(
                f"--executor {address}: the scheduler has no workers; start some with dask worker --nthreads 1"
            ) from None
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        self.count = sum(worker["nthreads"] for worker in workers.values())
        if busy := [name for name, worker in workers.items() if worker["nthreads"] > 1]:
            self._client.close()
            raise MlpconvError(
                f"--executor {address}: the worker {busy[0]} has several threads, and each job needs a process; start "
                "it with dask worker --nthreads 1"
            )
        self._executor = self._client.get_executor(pure=False)
        # A job that killed several workers, and jobs that a lost scheduler had.
        self.fatal: tuple[type[BaseException], ...] = (distributed.KilledWorker, CancelledError, CommClosedError)

    def submit(self, function: Callable[[Any], Any], job: Any) -> Future:
        return self._executor.submit(function, job)

    def replace(self) -> None:
        """The scheduler starts the jobs of lost workers again on others; it gives up only where they fail too."""
        if self._client.status != "running":
            raise ProcessLost(
                f"--executor {self._address}: the scheduler does not answer any more; start it again, and then the "
                "same command, which continues"
            )

    def close(self) -> None:
        self._client.close(timeout=2)
