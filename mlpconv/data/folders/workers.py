"""Read image files in several processes.

Threads would not help, because Python's global lock is held while a small image is decoded. The workers are separate
programs rather than forks (a framework may have started threads) or multiprocessing's processes (which run the caller's
main module again). If a file crashes the decoder, only that worker dies, the file is reported, and the others are read.
"""

import hashlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import msgspec
import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data.folders.copies import SIDE
from mlpconv.data.image import Header, decode, read_header
from mlpconv.errors import DataError
from mlpconv.hardware import cpu_count

FILES_PER_JOB = 256
_THUMBNAIL = Preprocess(2 * SIDE, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1), source_size=(2 * SIDE, 2 * SIDE))
_MAX_FILES_IN_PROCESS = 200
"""Up to this many files are read in this process, which is faster than starting another one."""


class ScanJob(msgspec.Struct, tag=True, array_like=True):
    """Read the header and the SHA-256 of each of these files."""

    number: int
    root: str
    files: list[bytes]
    compare: bool = False
    """Whether to decode the images in small, too, to find copies."""


class DecodeJob(msgspec.Struct, tag=True, array_like=True):
    """Decode these files into a file of raw pixels."""

    number: int
    root: str
    files: list[bytes]
    digests: list[bytes]
    """The SHA-256 that each file must still have."""
    preprocess: Preprocess
    out: str
    """The file to write."""
    first: int
    """The index in ``out`` of the first image of this job."""


class ScannedFile(msgspec.Struct, array_like=True):
    """The header and digest of one file."""

    digest: bytes = b""
    width: int = 0
    height: int = 0
    mode: str = ""
    error: str = ""
    """Why the file cannot be used; empty if it can."""
    content: bytes = b""
    """A digest of the size and of the pixels in small; empty if they were not asked for."""
    thumbnail: bytes = b""
    """The gray pixels in small; empty likewise."""


class JobResult(msgspec.Struct, array_like=True):
    """The result of a job."""

    number: int
    """The number of the job."""
    scanned: list[ScannedFile] = []
    """Of a `ScanJob`, for each file."""
    errors: list[str] = []
    """Of a `DecodeJob`, for each file; empty for a file that was decoded."""


Job = ScanJob | DecodeJob


def run_job(job: Job) -> JobResult:
    """Do a job in this process."""
    if isinstance(job, ScanJob):
        paths = [os.path.join(job.root, os.fsdecode(name)) for name in job.files]
        scanned = [_scan(path) for path in paths]
        if job.compare:
            scanned = [_with_thumbnail(file, path) for file, path in zip(scanned, paths, strict=True)]
        return JobResult(job.number, scanned=scanned)
    errors = []
    with open(job.out, "r+b", buffering=0) as out:
        for index, (name, digest) in enumerate(zip(job.files, job.digests, strict=True)):
            try:
                with open(os.path.join(job.root, os.fsdecode(name)), "rb") as file:
                    if hashlib.file_digest(file, "sha256").digest() != digest:
                        raise DataError(": changed while it was being read; run the command again")
                    file.seek(0)
                    pixels = decode(file, job.preprocess, "")
                os.pwrite(out.fileno(), pixels.data, (job.first + index) * pixels.size)
                errors.append("")
            except (OSError, DataError) as error:
                errors.append(_reason(error))
    return JobResult(job.number, errors=errors)


def _scan(path: str) -> ScannedFile:
    try:
        info = os.stat(path)
        if not S_ISREG(info.st_mode):
            return ScannedFile(error="not a regular file, but a pipe, socket or device")
        if info.st_size == 0:
            return ScannedFile(error="an empty file")
        with open(path, "rb") as file:
            header: Header = read_header(file, "")
            file.seek(0)
            return ScannedFile(hashlib.file_digest(file, "sha256").digest(), *header)
    except (OSError, DataError) as error:
        return ScannedFile(error=_reason(error))


def _with_thumbnail(scanned: ScannedFile, path: str) -> ScannedFile:
    """Add what finds copies of an image. One that cannot be decoded has copies only in files with equal contents."""
    if scanned.error:
        return scanned
    size = f"{scanned.height} {scanned.width} ".encode()
    try:
        with open(path, "rb") as file:
            pixels = decode(file, _THUMBNAIL, "")
    except (OSError, DataError):
        return msgspec.structs.replace(
            scanned, content=hashlib.blake2b(scanned.digest, digest_size=16).digest(), thumbnail=bytes(SIDE * SIDE)
        )
    blocks = pixels.reshape(SIDE, 2, SIDE, 2, 3).sum((1, 3), dtype=np.int64)
    gray = (blocks @ (299, 587, 114) + 2000) // 4000
    content = hashlib.blake2b(size + pixels.tobytes(), digest_size=16).digest()
    return msgspec.structs.replace(scanned, content=content, thumbnail=gray.astype(np.uint8).tobytes())


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return str(error).removeprefix(": ")


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """The main loop of a worker: run the jobs in ``source`` until it ends, and write their results to ``sink``."""
    decoder = msgspec.msgpack.Decoder(Job)
    while (length := source.read(8)) and len(length) == 8:
        result = msgspec.msgpack.encode(run_job(decoder.decode(source.read(int.from_bytes(length, "big")))))
        try:
            sink.write(len(result).to_bytes(8, "big") + result)
            sink.flush()
        except BrokenPipeError:  # the caller has ended; Python would report the rest of the buffer when it closes it
            os._exit(1)


class _WorkerDied(Exception):
    """A worker process has ended unexpectedly."""


class _Worker:
    """A process that runs one job after another."""

    def __init__(self) -> None:
        code = "import sys; from mlpconv.data.folders.workers import serve; serve(sys.stdin.buffer, sys.stdout.buffer)"
        search_path = [str(Path(__file__).parents[2]), *(path for path in sys.path if path)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(search_path)},
            start_new_session=True,  # Ctrl-C must reach only the caller, which then stops its workers
        )

    def run(self, job: Job) -> JobResult:
        """Run a job in this worker, and wait for its result.

        Raises:
            _WorkerDied: The process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        message = msgspec.msgpack.encode(job)
        try:
            self.process.stdin.write(len(message).to_bytes(8, "big") + message)
            self.process.stdin.flush()
            length = self.process.stdout.read(8)
            if len(length) < 8:
                raise _WorkerDied
            return msgspec.msgpack.decode(self.process.stdout.read(int.from_bytes(length, "big")), type=JobResult)
        except (OSError, msgspec.DecodeError):
            raise _WorkerDied from None

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


def run_jobs(jobs: Sequence[Job], file_count: int) -> Iterator[tuple[Job, JobResult]]:
    """Run jobs in several processes, and yield each with its result in the order in which they finish.

    Args:
        jobs: The jobs.
        file_count: The number of files in all of them.
    """
    if file_count <= _MAX_FILES_IN_PROCESS:
        yield from ((job, run_job(job)) for job in jobs)
        return
    waiting = iter(jobs)
    lock = threading.Lock()
    results: queue.SimpleQueue[tuple[Job, JobResult] | BaseException] = queue.SimpleQueue()
    stopped = threading.Event()
    workers: list[_Worker] = []

    def feed_worker() -> None:
        try:
            worker = _start(workers, lock)
            while not stopped.is_set():
                with lock:
                    job = next(waiting, None)
                if job is None:
                    break
                try:
                    results.put((job, worker.run(job)))
                except _WorkerDied:
                    if stopped.is_set():
                        break
                    worker = _start(workers, lock)
                    result, worker = _run_file_by_file(job, worker, lambda: _start(workers, lock))
                    results.put((job, result))
        except BaseException as error:
            results.put(error)

    threads = [threading.Thread(target=feed_worker, daemon=True) for _ in range(min(cpu_count(), len(jobs)))]
    try:
        for thread in threads:
            thread.start()
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


def _start(workers: list[_Worker], lock: threading.Lock) -> _Worker:
    worker = _Worker()
    with lock:
        workers.append(worker)
    return worker


def _run_file_by_file(job: Job, worker: _Worker, start: Callable[[], _Worker]) -> tuple[JobResult, _Worker]:
    """Run a job whose worker died again, one file at a time, to find the file that crashes the decoder."""
    result = JobResult(job.number)
    for index, name in enumerate(job.files):
        single = msgspec.structs.replace(job, files=[name])
        if isinstance(single, DecodeJob) and isinstance(job, DecodeJob):
            single = msgspec.structs.replace(single, digests=[job.digests[index]], first=job.first + index)
        try:
            partial = worker.run(single)
            result.scanned += partial.scanned
            result.errors += partial.errors
        except _WorkerDied:
            worker = start()
            reason = "cannot be decoded: the decoder crashed on it"
            if isinstance(job, ScanJob):
                result.scanned.append(ScannedFile(error=reason))
            else:
                result.errors.append(reason)
    return result, worker
