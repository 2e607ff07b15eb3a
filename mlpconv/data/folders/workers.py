"""Read image files in other processes, within limits of time and memory.

A damaged or hostile file can crash a decoder or keep it busy for hours, and nothing but the end of its process stops a
decoder. So files are read by workers: if a file crashes a worker or exceeds a limit, only that worker dies, the file is
reported, and the others are read. Threads would not be faster, because Python's global lock is held while a small image
is decoded. The workers are separate programs rather than forks (a framework may have started threads) or
multiprocessing's processes (which run the caller's main module again).
"""

import atexit
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.folders.worker_jobs import DecodeJob, FileResult, Job, ReadJob, run_job, seconds_per_image, send
from mlpconv.errors import DataError
from mlpconv.formatting import printable
from mlpconv.hardware import cpu_count

FILES_PER_JOB = 256
_READ_TOGETHER = 32
"""The files of a job whose pixels are returned."""
_MAX_FILES_IN_ONE_WORKER = 256
"""Up to this many files are read by one worker, which is kept for the next call: starting others takes longer."""
_MAX_PIPED_BYTES = 1 << 30
CRASHED = "cannot be decoded: the decoder crashed on it; open it in an image editor and save it again"


class _WorkerDied(Exception):
    """A worker process has ended unexpectedly."""


class _NoWorker(Exception):
    """No worker process can be started: this process reads the files itself."""


class _Worker:
    """A process that runs one job after another.

    Raises:
        _NoWorker: The process cannot be started.
    """

    def __init__(self) -> None:
        code = (
            "import sys; from mlpconv.data.folders.worker_jobs import serve; serve(sys.stdin.buffer, sys.stdout.buffer)"
        )
        search_path = [str(Path(__file__).parents[3]), *(path for path in sys.path if path)]
        try:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # libraries print about damaged files
                env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path), "OPENBLAS_NUM_THREADS": "1"},
                start_new_session=True,  # Ctrl-C must reach only the caller, which then stops its workers
            )
        except OSError as error:
            raise _NoWorker from error
        try:
            self._receive()
        except _WorkerDied as error:
            self.stop()
            raise _NoWorker from error

    def run(self, job: Job) -> Iterator[FileResult]:
        """Run a job in this worker; yields the result for each file as it arrives.

        Raises:
            _WorkerDied: The process has ended.
        """
        assert self.process.stdin is not None
        try:
            send(self.process.stdin, msgspec.msgpack.encode(job))
        except OSError:
            raise _WorkerDied from None
        for _ in job.files:
            try:
                yield msgspec.msgpack.decode(self._receive(), type=FileResult)
            except msgspec.DecodeError:
                raise _WorkerDied from None

    def _receive(self) -> bytes:
        assert self.process.stdout is not None
        length = self.process.stdout.read(8)
        message = self.process.stdout.read(int.from_bytes(length, "big")) if len(length) == 8 else b""
        if len(length) < 8 or len(message) < int.from_bytes(length, "big"):
            raise _WorkerDied
        return message

    def exceeded_time(self) -> bool:
        """Whether the system has ended the process, because it used too much processor time."""
        return self.process.wait() == -signal.SIGXCPU

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # closing sends what is still buffered
                    continue


_kept: list[_Worker] = []
"""At most one worker, which waits for the next call."""
atexit.register(lambda: [worker.stop() for worker in _kept])
os.register_at_fork(after_in_child=_kept.clear)  # it belongs to the parent


def read_images(files: Sequence[str | Path], preprocess: Preprocess) -> list[np.ndarray | DataError]:
    """Read image files by the rules of `read_image`, within limits of time and memory.

    Args:
        files: The files. A pipe is read to its end.
        preprocess: The conversion.

    Returns:
        For each file, its pixels, uint8 (H, W, C), or why it cannot be read.
    """
    results: dict[int, list[FileResult]] = {}
    with ExitStack() as stack:
        paths = [os.path.abspath(_spooled(file, stack)) for file in files]
        jobs = [
            ReadJob(start, "", [os.fsencode(path) for path in paths[start : start + _READ_TOGETHER]], preprocess)
            for start in range(0, len(paths), _READ_TOGETHER)
        ]
        for job, read in run_jobs(jobs, len(paths)):
            results[job.number] = read
    return [
        DataError(f"{printable(file)}: {result.error}")
        if result.error
        else np.frombuffer(result.pixels, np.uint8).reshape(result.shape)
        for file, result in zip(files, (each for start in sorted(results) for each in results[start]), strict=True)
    ]


def _spooled(file: str | Path, stack: ExitStack) -> str | Path:
    """The file; or a temporary copy, if it is a pipe, which no other process can open."""
    path = Path(file)
    if not (path.is_fifo() or path.is_char_device()):
        return file
    try:
        with path.open("rb") as source, tempfile.NamedTemporaryFile(delete=False) as copy:
            stack.callback(os.unlink, copy.name)
            while copy.tell() < _MAX_PIPED_BYTES and (part := source.read(1 << 20)):
                copy.write(part)
    except OSError:  # a worker finds the same, and reports it
        return file
    return copy.name


def run_jobs(jobs: Sequence[Job], file_count: int) -> Iterator[tuple[Job, list[FileResult]]]:
    """Run jobs in other processes, and yield each with the results for its files, in the order in which they finish.

    Args:
        jobs: The jobs.
        file_count: The number of files in all of them.
    """
    if file_count <= _MAX_FILES_IN_ONE_WORKER:
        yield from _run_in_one_worker(jobs)
        return
    waiting = iter(jobs)
    lock = threading.Lock()
    results: queue.SimpleQueue[tuple[Job, list[FileResult]] | BaseException] = queue.SimpleQueue()
    stopped = threading.Event()
    workers: list[_Worker] = []

    def start() -> _Worker:
        worker = _Worker()
        with lock:
            workers.append(worker)
        return worker

    def feed_worker() -> None:
        try:
            reader = _Reader(start)
            while not stopped.is_set():
                with lock:
                    job = next(waiting, None)
                if job is None:
                    break
                results.put((job, reader.read(job, stopped.is_set)))
        except BaseException as error:
            results.put(error)

    threads: list[threading.Thread] = []
    try:
        for _ in range(min(cpu_count(), len(jobs))):
            thread = threading.Thread(target=feed_worker, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system allows no more of them
                break
            threads.append(thread)
        if not threads:
            yield from _run_in_one_worker(jobs)
            return
        for _ in jobs:
            result = results.get()
            if isinstance(result, BaseException):
                raise result
            yield result
    finally:
        stopped.set()
        with lock:
            running = list(workers)
        for worker in running:
            worker.stop()
        for thread in threads:
            thread.join()
        for worker in workers[len(running) :]:
            worker.stop()


def _run_in_one_worker(jobs: Sequence[Job]) -> Iterator[tuple[Job, list[FileResult]]]:
    """Run jobs in the worker that is kept, or in a new one, which is kept then."""
    try:
        first = [_kept.pop()]
    except IndexError:
        first = []
    reader = _Reader(lambda: first.pop() if first else _Worker())
    try:
        for job in jobs:
            yield job, reader.read(job)
    except BaseException:  # also Ctrl-C and a caller that takes no more results: the worker is still at its job
        if reader.worker is not None:
            reader.worker.stop()
        raise
    if reader.worker is not None:
        _kept.append(reader.worker)
        for worker in _kept[1:]:  # of calls at the same time
            _kept.remove(worker)
            worker.stop()


class _Reader:
    """Runs jobs in a worker, and in a new one whenever it dies; without any, if none can be started.

    Args:
        start: Gives a worker. Raises _NoWorker if that is not possible.
    """

    def __init__(self, start: Callable[[], _Worker]) -> None:
        self._start = start
        self.worker: _Worker | None = None
        self._replace()

    def _replace(self) -> None:
        if self.worker is not None:
            self.worker.stop()
        try:
            self.worker = self._start()
        except _NoWorker:
            self.worker = None

    def read(self, job: Job, stopped: Callable[[], bool] = lambda: False) -> list[FileResult]:
        """The result for each file of a job; for fewer files after a stop."""
        results: list[FileResult] = []
        again = False
        while len(results) < len(job.files) and not stopped():
            remaining = _from(job, len(results))
            if self.worker is None:
                return results + list(run_job(remaining))
            try:
                for result in self.worker.run(remaining):
                    results.append(result)
                    again = False
            except _WorkerDied:
                if stopped():
                    break
                if self.worker.exceeded_time():
                    seconds = seconds_per_image(job)
                    results.append(
                        FileResult(
                            f"cannot be decoded within {seconds} s of processor time; open it in an image editor and "
                            "save it again, or allow more time with a larger --max-pixels"
                        )
                    )
                elif again:
                    results.append(FileResult(CRASHED))
                again = not again  # something else may have killed it: the file has a second chance
                self._replace()
        return results


def _from(job: Job, first: int) -> Job:
    """The rest of a job."""
    rest = msgspec.structs.replace(job, files=job.files[first:])
    if isinstance(rest, DecodeJob) and isinstance(job, DecodeJob):
        return msgspec.structs.replace(rest, digests=job.digests[first:], first=job.first + first)
    return rest
