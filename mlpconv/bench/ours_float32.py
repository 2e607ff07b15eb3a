"""The contender "ours_float32": the contender "ours" in float32."""

from typing import Any

from mlpconv.bench import ours
from mlpconv.bench.contest import Job


def measure(job: Job) -> dict[str, Any]:
    """As `mlpconv.bench.ours`, in float32."""
    return ours.measure(job, precision="float32")
