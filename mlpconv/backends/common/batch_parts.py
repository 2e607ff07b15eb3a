"""The part of a batch that one of several processes computes: rows of the step plan, chosen by index."""

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from mlpconv.backends.base import StepPlan

Rows = TypeVar("Rows", bound="npt.NDArray[np.generic] | None")


@dataclass
class BatchPart:
    """The position of a part in its batch. It changes with each step."""

    before: int = 0
    """Images of the batch that precede it."""
    total: int | None = None
    """Images of the whole batch; None if this is the whole batch."""
    counted: bool = True
    """Whether its images count. A process without images computes one that does not."""


WHOLE_BATCH = BatchPart()


def bounds(total: int, rank: int, count: int) -> tuple[int, int]:
    """The first row of the part of ``rank`` among ``count`` processes, and the row after its last."""
    return rank * total // count, (rank + 1) * total // count


def part_of(plan: StepPlan, rank: int, count: int) -> tuple[StepPlan, BatchPart]:
    """The part of a step that one process computes.

    Where images are mixed, those to mix with follow those of the part: ``partner`` has as many entries as the part has
    images, and ``indices`` twice as many. A process without images gets the first one, which does not count.

    Args:
        plan: The step of the whole batch.
        rank: The rank of the process.
        count: The number of processes.
    """
    total = len(plan.indices)
    first, end = bounds(total, rank, count)
    part = BatchPart(first, total, counted=first < end)
    rows = np.arange(first, end) if part.counted else np.zeros(1, np.int64)
    if not part.counted:
        part.before = 0
    partner = plan.partner
    if partner is not None:
        size = len(rows)
        rows = np.concatenate([rows, partner[rows]])
        partner = np.arange(size, 2 * size)

    def of_rows(values: Rows) -> Rows:
        return None if values is None else values[rows]  # pyright: ignore[reportReturnType]

    step = replace(
        plan,
        indices=plan.indices[rows],
        flip=of_rows(plan.flip),
        shift=of_rows(plan.shift),
        erase=of_rows(plan.erase),
        partner=partner,
    )
    return step, part
