"""`mlpconv bench guard`: the share of a recipe's training time that the guard takes."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlpconv.formatting import markdown_table
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.reports.provenance import HARDWARE_OF_DEVICE, hardware, provenance_line
from mlpconv.runs.run import environment
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe
from mlpconv.training.trainer import EpochEnded

MAX_SHARE = 0.01
"""The gate: the guard's share of the training time."""
TITLES = ("recipe", "training", "guard", "share", "gate")


def measure(recipe: str, epochs: int, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Train for ``epochs`` epochs and time the guard: checking metrics and class maps, keeping a good state.

    The time is taken within the run itself, so it does not depend on differences between two runs.
    """
    changed = change(get_recipe(recipe), {"epochs": epochs})
    prepared = prepare(Request(recipe=changed, recipe_name=Path(recipe).stem))
    seconds = []
    with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as folder:
        execution = execute(prepared, Path(folder) / "run")
        for event in execution:
            if isinstance(event, EpochEnded):
                seconds.append(event.seconds)
                progress(
                    f"epoch {event.epoch + 1}: {event.seconds:.1f} s, the guard so far {execution.guard.seconds:.2f} s"
                )
    guard, total = execution.guard.seconds, sum(seconds)
    job = prepared.job
    here = environment(prepared.backend.describe_device(job.device))
    return {
        "format": 1,
        "recipe": recipe,
        "epochs": epochs,
        "training_seconds": total,
        "guard_seconds": guard,
        "share": guard / total,
        "gate": {"bound": MAX_SHARE, "passed": guard / total < MAX_SHARE},
        "repairs": execution.guard.guard.state.repairs,
        "precision": job.precision,
        "hardware": hardware(here, HARDWARE_OF_DEVICE),
        "versions": here["versions"],
        "date": here["date"],
        "command": f"mlpconv bench guard {recipe} --epochs {epochs}",
    }


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of the only row, in the order of ``TITLES``."""
    gate = result["gate"]
    return [
        (
            result["recipe"],
            f"{result['training_seconds']:.1f} s",
            f"{result['guard_seconds']:.2f} s",
            f"{result['share']:.2%}",
            f"{'pass' if gate['passed'] else 'FAIL'} (< {gate['bound']:.0%})",
        )
    ]


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    table = markdown_table(TITLES, rows(result))
    return "\n".join(["# What the guard costs", "", *table, "", provenance_line(result), ""])
