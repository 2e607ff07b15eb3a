"""One job in several processes: the first one executes it, the others follow (see ``mlpconv.backends.processes``)."""

from pathlib import Path

import msgspec

from mlpconv.backends.processes import Group
from mlpconv.jobs.execute import Execution
from mlpconv.jobs.prepare import load_job
from mlpconv.runs.job import CONFIG, Job


class _Order(msgspec.Struct, frozen=True):
    """What the first process gives the others."""

    job: Job
    run: str
    """The run directory."""
    data_directory: str | None
    """The directory with a known data set's files."""


def lead(group: Group, execution: Execution, data_directory: Path | None) -> None:
    """Give the job of an execution to the other processes, which then repeat the steps of its model.

    Args:
        group: The processes.
        execution: The execution, whose training has not begun.
        data_directory: The directory with a known data set's files, in all processes.

    Raises:
        ProcessLost: They cannot be connected.
    """
    job = execution.prepared.job
    directory = None if data_directory is None else str(data_directory.absolute())
    group.lead(job.device, msgspec.json.encode(_Order(job, str(execution.run.path.absolute()), directory)))


def follow(group: Group) -> None:
    """Follow the first process until it ends.

    Raises:
        RunError: The images here are not those of the job.
        ProcessLost: The first process ended without announcing it.
    """
    text = group.wait()
    if text is None:
        return
    order = msgspec.json.decode(text, type=_Order)
    path = Path(order.run)
    # On another machine, the run directory is not there unless the file system is shared.
    prepared = load_job(order.job, data_directory=order.data_directory, run=path if (path / CONFIG).exists() else None)
    train = prepared.data.train
    group.follow(order.job.device, prepared.make_model, train.images, train.labels)
