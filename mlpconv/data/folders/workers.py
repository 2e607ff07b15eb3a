"""Image files read by several processes at once.

Threads do not help: Python's lock is held while a small image is decoded. The processes are programs of their own and
not forks (a framework may have started threads) nor multiprocessing's (which runs the caller's main module again). A
file that brings a decoder down costs that process, is named, and nothing else.
"""

import hashlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import BinaryIO

import msgspec

from mlpconv.arch.network import Preprocess
from mlpconv.data.image import Header, decode, read_header
from mlpconv.errors import DataError
from mlpconv.hardware import cpu_count

CHUNK = 256
_FEW = 200
"""So many files are read faster in this process than another one starts."""


class Scan(msgspec.Struct, tag=True, array_like=True):
    """Read the headers and the contents' SHA-256 of these files."""

    number: int
    root: str
    files: list[bytes]


class Decode(msgspec.Struct, tag=True, array_like=True):
    """Decode these files into the raw file ``out``, from image ``first`` on; each must still have its digest."""

    number: int
    root: str
    files: list[bytes]
    digests: list[bytes]
    preprocess: Preprocess
    out: str
    first: int


class Seen(msgspec.Struct, array_like=True):
    """What a scan found in one file; error: why it cannot be used, else empty."""

    digest: bytes = b""
    width: int = 0
    height: int = 0
    mode: str = ""
    error: str = ""


class Answer(msgspec.Struct, array_like=True):
    """number: the job's. seen: for a scan. errors: for a decoding, one for each file, empty where it went well."""

    number: int
    seen: list[Seen] = []
    errors: list[str] = []


Job = Scan | Decode


def carry_out(job: Job) -> Answer:
    """Do a job in this process."""
    if isinstance(job, Scan):
        return Answer(job.number, seen=[_scan(os.path.join(job.root, os.fsdecode(name))) for name in job.files])
    errors = []
    with open(job.out, "r+b", buffering=0) as out:
        for index, (name, digest) in enumerate(zip(job.files, job.digests, strict=True)):
            try:
                with open(os.path.join(job.root, os.fsdecode(name)), "rb") as file:
                    if hashlib.file_digest(file, "sha256").digest() != digest:
                        raise DataError(": was changed while it was read; run the command again")
                    file.seek(0)
                    pixels = decode(file, job.preprocess, "")
                os.pwrite(out.fileno(), pixels.data, (job.first + index) * pixels.size)
                errors.append("")
            except (OSError, DataError) as error:
                errors.append(_reason(error))
    return Answer(job.number, errors=errors)


def _scan(path: str) -> Seen:
    try:
        info = os.stat(path)
        if not S_ISREG(info.st_mode):
            return Seen(error="not a file: a pipe, socket or device")
        if info.st_size == 0:
            return Seen(error="an empty file")
        with open(path, "rb") as file:
            header: Header = read_header(file, "")
            file.seek(0)
            return Seen(hashlib.file_digest(file, "sha256").digest(), *header)
    except (OSError, DataError) as error:
        return Seen(error=_reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror or error}"
    return str(error).removeprefix(": ")


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """What a worker does: jobs in, answers out, until there are no more."""
    decoder = msgspec.msgpack.Decoder(Job)
    while (length := source.read(8)) and len(length) == 8:
        answer = msgspec.msgpack.encode(carry_out(decoder.decode(source.read(int.from_bytes(length, "big")))))
        sink.write(len(answer).to_bytes(8, "big") + answer)
        sink.flush()


class _Ended(Exception):
    """A worker is gone."""


class _Worker:
    """A process that does one job after the other."""

    def __init__(self) -> None:
        code = "import sys; from mlpconv.data.folders.workers import serve; serve(sys.stdin.buffer, sys.stdout.buffer)"
        places = [str(Path(__file__).parents[2]), *(place for place in sys.path if place)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            start_new_session=True,  # Ctrl-C is the caller's: it ends its workers in order
        )

    def ask(self, job: Job) -> Answer:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        text = msgspec.msgpack.encode(job)
        try:
            self.process.stdin.write(len(text).to_bytes(8, "big") + text)
            self.process.stdin.flush()
            length = self.process.stdout.read(8)
            if len(length) < 8:
                raise _Ended
            return msgspec.msgpack.decode(self.process.stdout.read(int.from_bytes(length, "big")), type=Answer)
        except (OSError, msgspec.DecodeError):
            raise _Ended from None

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:  # what was not sent is sent at the closing
                    continue


def run(jobs: Sequence[Job], count: int) -> Iterator[tuple[Job, Answer]]:
    """Do jobs in several processes, and yield each with its answer as it comes. count: of the files in all of them."""
    if count <= _FEW:
        yield from ((job, carry_out(job)) for job in jobs)
        return
    waiting = iter(jobs)
    lock, answers = threading.Lock(), queue.SimpleQueue()
    stopped = threading.Event()
    workers: list[_Worker] = []

    def drive() -> None:
        try:
            worker = _start(workers, lock)
            while not stopped.is_set():
                with lock:
                    job = next(waiting, None)
                if job is None:
                    break
                try:
                    answers.put((job, worker.ask(job)))
                except _Ended:
                    if stopped.is_set():
                        break
                    worker = _start(workers, lock)
                    answer, worker = _singly(job, worker, lambda: _start(workers, lock))
                    answers.put((job, answer))
        except BaseException as error:
            answers.put(error)

    threads = [threading.Thread(target=drive, daemon=True) for _ in range(min(cpu_count(), len(jobs)))]
    try:
        for thread in threads:
            thread.start()
        for _ in jobs:
            answer = answers.get()
            if isinstance(answer, BaseException):
                raise answer
            yield answer
    finally:
        stopped.set()
        with lock:
            running = list(workers)
        for worker in running:
            worker.end()
        for thread in threads:
            thread.join()
        for worker in workers[len(running) :]:
            worker.end()


def _start(workers: list[_Worker], lock: threading.Lock) -> _Worker:
    worker = _Worker()
    with lock:
        workers.append(worker)
    return worker


def _singly(job: Job, worker: _Worker, start) -> tuple[Answer, _Worker]:
    """A job in which a worker ended, file by file: the file that ends another one is named."""
    whole = Answer(job.number)
    for index, name in enumerate(job.files):
        one = msgspec.structs.replace(job, files=[name])
        if isinstance(one, Decode) and isinstance(job, Decode):
            one = msgspec.structs.replace(one, digests=[job.digests[index]], first=job.first + index)
        try:
            answer = worker.ask(one)
            whole.seen += answer.seen
            whole.errors += answer.errors
        except _Ended:
            worker = start()
            reason = "cannot be decoded: it brings the decoder down"
            if isinstance(job, Scan):
                whole.seen.append(Seen(error=reason))
            else:
                whole.errors.append(reason)
    return whole, worker
