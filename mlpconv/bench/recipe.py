"""The accuracy and time of a recipe: the same training with several seeds, each in a separate process."""

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from mlpconv.bench.programs import output_of
from mlpconv.errors import RunError
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import hardware, provenance_line
from mlpconv.runs.outcome import lost_classes
from mlpconv.runs.run import Run
from mlpconv.training.recipes import get_recipe


def measure(recipe: str, seeds: int, runs: Path, progress: Callable[[str], None]) -> dict[str, Any]:
    """Train ``recipe`` with the seeds 0 to ``seeds`` − 1 into ``runs``; finished runs there are reused.

    Raises:
        RecipeError: The recipe does not exist.
        BenchmarkFailed: A training failed; the message names its seed.
    """
    get_recipe(recipe)
    rows = []
    for seed in range(seeds):
        rows.append(_row(trained(recipe, seed, runs)))
        progress(f"seed {seed}: test accuracy {rows[-1]['test_accuracy']:.4f} in {rows[-1]['seconds']:.0f} s")
    first = Run(place(runs, recipe, 0))
    trained_in = first.environment
    middle = {key: median(row[key] for row in rows) for key in ("test_accuracy", "seconds", "examples_per_second")}
    held = [row["validation_accuracy"] for row in rows]
    middle["validation_accuracy"] = None if None in held else median(held)
    return {
        "format": 1,
        "recipe": recipe,
        "seeds": rows,
        "median": middle,
        "lowest_test_accuracy": min(row["test_accuracy"] for row in rows),
        "hardware": hardware(trained_in),
        "precision": first.config.precision,
        "versions": trained_in.get("versions", {}),
        "date": trained_in.get("date"),
        "command": f"mlpconv bench recipe {recipe} --seeds {seeds}",
    }


def trained(recipe: str, seed: int, runs: Path) -> Run:
    """The run of ``recipe`` with a seed in ``runs``; if it is not finished, it is trained first, in another process.

    Raises:
        BenchmarkFailed: The training failed; the message names the seed.
    """
    path = place(runs, recipe, seed)
    if not finished(path):
        # Resuming starts over where nothing was saved, so the same command continues an interrupted benchmark.
        resume = ["--resume"] if (path / "config.json").exists() else []
        command = ["train", "--recipe", recipe, "--seed", str(seed), "--out", str(path), "--json", *resume]
        output_of([sys.executable, "-m", "mlpconv", *command], f"recipe {recipe}, seed {seed}")
    return Run(path)


def place(runs: Path, recipe: str, seed: int) -> Path:
    """The run directory of one seed."""
    return runs / f"{Path(recipe).stem}-seed-{seed}"


def finished(path: Path) -> bool:
    """Whether a directory holds a finished run."""
    try:
        return Run(path).result is not None
    except RunError:
        return False


def _row(run: Run) -> dict[str, Any]:
    result = run.result
    assert result is not None
    return {
        "seed": run.config.recipe.seed,
        "test_accuracy": result.test_accuracy,
        "validation_accuracy": result.validation_accuracy,
        "train_accuracy": result.train_accuracy,
        "loss": result.loss,
        "seconds": result.seconds,
        "examples_per_second": result.examples_per_second,
        "dead_classes": result.dead_classes,
        "repairs": result.repairs,
        "lost_classes": lost_classes(result),
    }


TITLES = ("seed", "test accuracy", "held out", "train accuracy", "loss", "seconds", "examples/s", "lost classes")
"""held out: the accuracy on the validation images, if the recipe has some; only they may be used to choose a recipe."""


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of each seed, in the order of ``TITLES``."""
    return [
        (
            str(row["seed"]),
            f"{row['test_accuracy']:.4f}",
            "–" if row["validation_accuracy"] is None else f"{row['validation_accuracy']:.4f}",
            f"{row['train_accuracy']:.4f}",
            f"{row['loss']:.3f}",
            f"{row['seconds']:.0f}",
            f"{row['examples_per_second']:,.0f}",
            ", ".join(row["lost_classes"]) or "none",
        )
        for row in result["seeds"]
    ]


def summary(result: dict[str, Any]) -> str:
    """The result in one sentence."""
    middle = result["median"]
    held = middle["validation_accuracy"]
    said = f"{result['recipe']}, {len(result['seeds'])} seeds: median test accuracy {middle['test_accuracy']:.4f}, "
    said += "" if held is None else f"on held-out images {held:.4f}, "
    return f"{said}lowest {result['lowest_test_accuracy']:.4f}, median {middle['seconds']:.0f} s"


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    table = markdown_table(TITLES, rows(result), left=(len(TITLES) - 1,))
    return "\n".join(
        [f"# Recipe {result['recipe']}", "", summary(result) + ".", "", *table, "", provenance_line(result), ""]
    )
