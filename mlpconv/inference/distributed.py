"""Classify many files in several processes or on a cluster: see `mlpconv.executors`."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlpconv.backends import allocator
from mlpconv.executors import Workers
from mlpconv.inference.classifier import Classifier, Prediction
from mlpconv.inference.predictions import ImageFile, Unreadable, predict_files

FILES_PER_JOB = 512


class Opened(NamedTuple):
    """What a worker needs to open a classifier, with the arguments of `Classifier`."""

    source: str
    """An absolute path, which must be the same for all workers."""
    backend: str | None = None
    device: str | None = None
    precision: str | None = None
    max_pixels: int | None = None


class _Job(NamedTuple):
    opened: Opened
    directory: str
    """What the paths are relative to."""
    files: list[ImageFile]
    top: int
    invert: bool

    @property
    def name(self) -> str:
        return f"{self.files[0].path} to {self.files[-1].path}"


def predict_by_workers(
    workers: Workers,
    opened: Opened,
    files: Sequence[ImageFile],
    *,
    top: int = 3,
    invert: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> Iterator[Prediction | Unreadable]:
    """Classify files by workers, which read them under the same paths as this process.

    Args:
        workers: The workers.
        opened: The classifier.
        files: The files.
        top: The number of most probable classes for each file.
        invert: Swap light and dark first.
        progress: Called after each job with "predicting", the number of files done and the number of all files.

    Yields:
        What ``predict_files`` yields: one for each file, in order, also where workers die.

    Raises:
        ProcessLost: A worker died repeatedly, or all are lost.
    """
    here = str(Path.cwd())
    starts = range(0, len(files), FILES_PER_JOB)
    jobs = (_Job(opened, here, list(files[start : start + FILES_PER_JOB]), top, invert) for start in starts)
    done = 0
    for items in workers.in_order(_predict, jobs):
        yield from items
        done += len(items)
        if progress:
            progress("predicting", done, len(files))


def _predict(job: _Job) -> list[Prediction | Unreadable]:
    """In a worker: classify the files of a job."""
    absolute = [file._replace(path=str(Path(job.directory, file.path))) for file in job.files]
    items = predict_files(_classifier(job.opened), absolute, top=job.top, invert=job.invert)
    return [item._replace(file=file.path) for item, file in zip(items, job.files, strict=True)]


@functools.lru_cache(maxsize=1)
def _classifier(opened: Opened) -> Classifier:
    allocator.keep_memory()
    return Classifier(
        opened.source,
        backend=opened.backend,
        device=opened.device,
        precision=opened.precision,
        max_pixels=opened.max_pixels,
    )
