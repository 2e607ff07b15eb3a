"""Train the runs of a study in several processes or on a cluster: see `mlpconv.executors`."""

import functools
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mlpconv.backends import allocator
from mlpconv.errors import MlpconvError
from mlpconv.executors import Workers, is_abandoned
from mlpconv.studies import runner
from mlpconv.studies.catalogue import Budget
from mlpconv.studies.runner import ReadyArm, StudyOptions

STOP = "stop"
"""The file in the directory of a study that asks workers to save their runs and stop."""


class Place(NamedTuple):
    """What a worker needs to prepare the arms of a study as this process did."""

    study: str
    budget: Budget
    data: str | None
    data_directory: Path | None
    backend: str | None
    device: str | None


class _Job(NamedTuple):
    place: Place
    directory: str
    """The directory of the study: an absolute path, which must be the same for all workers."""
    arm: str
    seed: int
    settings: str
    """The digest of the arm's settings, which must be the same for the worker."""

    @property
    def name(self) -> str:
        return f"{self.arm}, seed {self.seed}"


def train_by_workers(
    workers: Workers,
    place: Place,
    runs: Sequence[tuple[ReadyArm, int]],
    directory: Path,
    should_stop: Callable[[], bool],
) -> Iterator[tuple[ReadyArm, int]]:
    """Train runs into the directory of a study, on which all workers must write.

    Args:
        workers: The workers.
        place: How to prepare the arms.
        runs: The arms and seeds to train.
        directory: The directory of the study.
        should_stop: Called several times a second. Once it returns True, the workers save their runs and stop.

    Yields:
        The arm and the seed of each run, as they are finished or stopped.

    Raises:
        MlpconvError: A worker has other images or another version.
        ProcessLost: A worker died repeatedly, or all are lost.
    """
    stop = directory / STOP
    stop.unlink(missing_ok=True)

    def wanted() -> bool:
        if should_stop() and not stop.exists():
            directory.mkdir(parents=True, exist_ok=True)
            stop.touch()
        return should_stop()

    here = str(directory.absolute())
    jobs = (_Job(place, here, made.arm.name, seed, made.settings) for made, seed in runs)
    try:
        for index, _ in workers.run(_train, jobs, should_stop=wanted):
            yield runs[index]
    finally:
        stop.unlink(missing_ok=True)


def _train(job: _Job) -> None:
    """In a worker: train a run, or continue it."""
    made = _arms(job.place)[job.arm]
    if made.settings != job.settings:
        raise MlpconvError(
            f"study {job.place.study}: the worker on {socket.gethostname()} has other images, another precision or "
            "another version of mlpconv than this process; give all machines the same ones"
        )
    directory = Path(job.directory)
    stop = directory / STOP
    options = StudyOptions(job.place.backend, job.place.device, should_stop=lambda: stop.exists() or is_abandoned())
    runner.carry_out(made, job.seed, directory, options)


@functools.lru_cache(maxsize=1)
def _arms(place: Place) -> dict[str, ReadyArm]:
    from mlpconv.studies import perform

    allocator.keep_memory()
    data = perform.StudyData(place.data, place.data_directory)
    options = StudyOptions(place.backend, place.device)
    made = perform.prepare_arms(perform.find(place.study), place.budget, data, options)
    return {each.arm.name: each for each in made}
