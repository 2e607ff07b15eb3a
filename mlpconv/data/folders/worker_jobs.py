"""What a worker does (see `mlpconv.data.folders.workers`): it reads image files, within limits of time and memory."""

import hashlib
import math
import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from stat import S_ISREG
from typing import IO, BinaryIO

import msgspec
import numpy as np

from mlpconv.arch.preprocess import MAX_PIXELS, Preprocess
from mlpconv.data.folders.copies import SIDE
from mlpconv.data.image import decode, depth, largest_value, read_header, read_header_and_pixels, read_image
from mlpconv.errors import DataError
from mlpconv.formatting import printable

SECONDS_PER_IMAGE = 12
"""The processor time that a worker may spend on a file; in proportion more if more than `MAX_PIXELS` are accepted."""
_BYTES_PER_PIXEL, _WORKER_BYTES = 20, 256 << 20
"""The memory of a worker: for each of the most pixels of an image, and for its program."""
_THUMBNAIL = Preprocess(2 * SIDE, mode="RGB", mean=(0, 0, 0), std=(1, 1, 1), source_size=(2 * SIDE, 2 * SIDE))
CHANGED = "changed while it was being read; run the command again"
CANNOT_BE_READ = "cannot be read"


class ScanJob(msgspec.Struct, tag=True, array_like=True):
    """Read the header and the SHA-256 of each of these files, and the largest value of those of more than 8 bits."""

    number: int
    root: str
    files: list[bytes]
    max_pixels: int = MAX_PIXELS
    """The most pixels that a file may have."""
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


class ReadJob(msgspec.Struct, tag=True, array_like=True):
    """Decode these files, and return their pixels."""

    number: int
    root: str
    files: list[bytes]
    preprocess: Preprocess


class FileResult(msgspec.Struct, array_like=True):
    """What was read from a file. The fields that its job does not ask for keep their defaults."""

    error: str = ""
    """Why the file cannot be used; empty if it can."""
    digest: bytes = b""
    width: int = 0
    height: int = 0
    mode: str = ""
    content: bytes = b""
    """A digest of the size and of the pixels in small; empty if they were not asked for."""
    thumbnail: bytes = b""
    """The gray pixels in small; empty likewise."""
    largest: int = 0
    """The largest value of an image of more than 8 bits per value; 0 for others."""
    shape: tuple[int, ...] = ()
    """(H, W, C) of ``pixels``."""
    pixels: bytes = b""


Job = ScanJob | DecodeJob | ReadJob


def run_job(job: Job) -> Iterator[FileResult]:
    """Do a job in this process; yields the result for each file."""
    for index, name in enumerate(job.files):
        path = os.path.join(job.root, os.fsdecode(name))
        if isinstance(job, ScanJob):
            yield _scan(path, job.max_pixels, job.compare)
        elif isinstance(job, ReadJob):
            yield _read(path, job.preprocess)
        else:
            yield _decode(path, job.digests[index], job.preprocess, job.out, job.first + index)


def _scan(path: str, max_pixels: int, compare: bool) -> FileResult:
    try:
        info = os.stat(path)
        if not S_ISREG(info.st_mode):
            return FileResult("not a regular file, but a pipe, socket or device")
        if info.st_size == 0:
            return FileResult("an empty file")
        rules, pixels, largest = msgspec.structs.replace(_THUMBNAIL, max_pixels=max_pixels), None, 0
        with open(path, "rb") as file:
            if compare:
                header, pixels = read_header_and_pixels(file, rules, "")
            else:
                header = read_header(file, "", max_pixels)
            if header.deep:
                file.seek(0)
                largest = largest_value(file, "", max_pixels)
                if compare:
                    pixels = _deep_thumbnail(file, msgspec.structs.replace(rules, bits=depth(largest)))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").digest()
        scanned = FileResult(digest=digest, width=header.width, height=header.height, mode=header.mode, largest=largest)
        return _with_thumbnail(scanned, pixels) if compare else scanned
    except (OSError, DataError) as error:
        return FileResult(_reason(error))


def _deep_thumbnail(file: BinaryIO, rules: Preprocess) -> np.ndarray | None:
    file.seek(0)
    try:
        return decode(file, rules, "")
    except DataError:
        return None


def _with_thumbnail(scanned: FileResult, pixels: np.ndarray | None) -> FileResult:
    """Add what finds copies of an image. One that cannot be decoded has copies only in files with equal contents."""
    if pixels is None:
        digest = hashlib.blake2b(scanned.digest, digest_size=16).digest()
        return msgspec.structs.replace(scanned, content=digest, thumbnail=bytes(SIDE * SIDE))
    blocks = pixels.reshape(SIDE, 2, SIDE, 2, 3).sum((1, 3), dtype=np.int64)
    gray = (blocks @ (299, 587, 114) + 2000) // 4000
    size = f"{scanned.height} {scanned.width} ".encode()
    content = hashlib.blake2b(size + pixels.tobytes(), digest_size=16).digest()
    return msgspec.structs.replace(scanned, content=content, thumbnail=gray.astype(np.uint8).tobytes())


def _decode(path: str, digest: bytes, preprocess: Preprocess, out: str, position: int) -> FileResult:
    try:
        with open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").digest() != digest:
                return FileResult(CHANGED)
            file.seek(0)
            pixels = decode(file, preprocess, "")
    except (OSError, DataError) as error:
        return FileResult(_reason(error))
    with open(out, "r+b", buffering=0) as raw:
        os.pwrite(raw.fileno(), pixels.data, position * pixels.size)
    return FileResult()


def _read(path: str, preprocess: Preprocess) -> FileResult:
    try:
        pixels = read_image(path, preprocess)
    except DataError as error:
        return FileResult(str(error).removeprefix(f"{printable(path)}: "))
    return FileResult(shape=pixels.shape, pixels=pixels.tobytes())


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{CANNOT_BE_READ}: {error.strerror or error}"
    return str(error).removeprefix(": ")


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """The main loop of a worker: run the jobs in ``source`` until it ends, and write their results to ``sink``."""
    decoder = msgspec.msgpack.Decoder(Job)
    with suppress(BrokenPipeError):  # the program that gave the job has ended
        send(sink, b"")
        while length := source.read(8):
            job: Job = decoder.decode(source.read(int.from_bytes(length, "big")))
            _limit(resource.RLIMIT_DATA, _WORKER_BYTES + _BYTES_PER_PIXEL * max(_max_pixels(job), MAX_PIXELS))
            results = run_job(job)
            for _ in job.files:
                _limit(resource.RLIMIT_CPU, math.ceil(time.process_time()) + seconds_per_image(job))
                send(sink, msgspec.msgpack.encode(next(results)))


def send(sink: IO[bytes], message: bytes) -> None:
    """Write a message with its length."""
    sink.write(len(message).to_bytes(8, "big") + message)
    sink.flush()


def _limit(kind: int, value: int) -> None:
    """Limit what this process may use. A system that does not support that limit does without."""
    highest = resource.getrlimit(kind)[1]
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (value if highest == resource.RLIM_INFINITY else min(value, highest), highest))


def _max_pixels(job: Job) -> int:
    return job.max_pixels if isinstance(job, ScanJob) else job.preprocess.max_pixels


def seconds_per_image(job: Job) -> int:
    """The processor time that a worker may spend on a file of a job, in seconds."""
    return math.ceil(SECONDS_PER_IMAGE * max(1.0, _max_pixels(job) / MAX_PIXELS))
