"""`mlpconv bench accuracy`: the accuracy and time of each named recipe, next to its target."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlpconv.arch.cost import count
from mlpconv.bench import recipe as benchmark
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance_line
from mlpconv.runs.run import Run
from mlpconv.training.recipes import RECIPES

TITLES = ("recipe", "network", "parameters", "target", "test accuracy", "lowest", "seconds", "seeds", "repairs", "gate")


def measure(
    recipes: Sequence[str], seeds: int, runs: Path, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Train each recipe with the seeds 0 to ``seeds`` − 1 into ``runs``; finished runs there are reused.

    ``test_accuracy`` and ``seconds`` of a recipe are medians over its seeds; seconds run from the start of reading the
    data to the end of the last evaluation, including new starts.

    Args:
        recipes: The names of the recipes.
        seeds: The number of seeds.
        runs: The directory for the runs.
        progress: Called with a line for each run.

    Raises:
        BenchmarkFailed: A training failed; the message names its recipe and seed.
    """
    lines, shared = [], {}
    for name in recipes:
        found = benchmark.measure(name, seeds, runs, lambda line, name=name: progress(f"{name}, {line}"))
        config = Run(benchmark.place(runs, name, 0)).config
        network = config.make_network()
        target = RECIPES[name].target if name in RECIPES else None
        accuracy = found["median"]["test_accuracy"]
        shared = {key: found[key] for key in ("hardware", "precision", "versions", "date")}
        lines.append(
            {
                "recipe": name,
                "network": network.name,
                "parameters": count(network).parameters,
                "target": target,
                "seconds": found["median"]["seconds"],
                "test_accuracy": accuracy,
                "lowest_test_accuracy": found["lowest_test_accuracy"],
                "reached": None if target is None else accuracy >= target,
                "seeds": found["seeds"],
            }
        )
    command = f"mlpconv bench accuracy {' '.join(recipes)} --seeds {seeds}"
    return {"format": 1, "recipes": lines, **shared, "command": command}


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of each recipe, in the order of ``TITLES``."""
    marks = {True: "pass", False: "FAIL", None: "none"}
    return [
        (
            line["recipe"],
            line["network"],
            f"{line['parameters']:,}",
            "–" if line["target"] is None else f"{line['target']:.3f}",
            f"{line['test_accuracy']:.4f}",
            f"{line['lowest_test_accuracy']:.4f}",
            f"{line['seconds']:.1f}",
            str(len(line["seeds"])),
            str(sum(row["repairs"] for row in line["seeds"])),
            marks[line["reached"]],
        )
        for line in result["recipes"]
    ]


def markdown(result: dict[str, Any]) -> str:
    """The result as a page, with every seed."""
    lines = [
        "# Accuracy and time of the recipes",
        "",
        "Medians over seeds. Training uses no test images; a run's test accuracy is that after its last epoch.",
        "",
        *markdown_table(TITLES, rows(result), left=(0, 1)),
    ]
    for line in result["recipes"]:
        lines += ["", f"## {line['recipe']}", ""]
        lines += markdown_table(benchmark.TITLES, benchmark.rows(line), left=(len(benchmark.TITLES) - 1,))
    return "\n".join([*lines, "", provenance_line(result), ""])
