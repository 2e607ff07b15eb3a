"""The comparison of several runs: their settings and results, as values, as a page and as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlpconv.arch.cost import count
from mlpconv.arch.shapes import show
from mlpconv.drawing.charts import MAX_RUNS, comparison_charts
from mlpconv.drawing.fonts import language_code
from mlpconv.drawing.plots import comparison_figure, png
from mlpconv.errors import RunError
from mlpconv.formatting import format_bytes, format_duration
from mlpconv.reports.page import render
from mlpconv.runs.history import best_epoch
from mlpconv.runs.run import Run
from mlpconv.training.metrics import accuracy_interval
from mlpconv.training.recipe import fields
from mlpconv.version import __version__

RESULT_TITLES = {
    "epochs": "epochs",
    "finished": "finished",
    "test_accuracy": "test accuracy",
    "test_images": "test images",
    "test_accuracy_interval": "95 % interval of it",
    "test_loss": "test loss",
    "train_accuracy": "train accuracy",
    "loss": "train loss",
    "examples_per_second": "examples/s",
    "seconds": "time",
    "peak_resident_bytes": "resident memory",
}
"""The titles of the results in tables, by the name of their row."""


class Row(NamedTuple):
    """A setting or result of each run."""

    name: str
    values: list[Any]
    """One value for each run; None if a run does not have it."""


class Comparison(NamedTuple):
    """Several runs compared."""

    runs: list[Run]
    names: list[str]
    differences: list[Row]
    """The settings that are not the same for all runs."""
    results: list[Row]
    """The results as numbers; None for what is not known yet."""
    classes: list[Row]
    """The test accuracy of each class; empty if the runs have different classes."""


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare runs.

    Args:
        runs: Two to ten runs. The comparison keeps their order.

    Raises:
        RunError: There are too few or too many runs, or the same run twice.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise RunError(f"compare: expected 2 to {MAX_RUNS} runs, received {len(runs)}")
    paths = [run.path.resolve() for run in runs]
    for path in paths:
        if paths.count(path) > 1:
            raise RunError(f"{path}: this run was given twice; give different runs")
    settings = [_settings(run) for run in runs]
    names = list(dict.fromkeys(name for of_run in settings for name in of_run))
    rows = [Row(name, [of_run.get(name) for of_run in settings]) for name in names]
    differences = [row for row in rows if len(set(row.values)) > 1]
    results = [_results(run) for run in runs]
    result_rows = [Row(name, [of_run[name] for of_run in results]) for name in results[0]]
    return Comparison(list(runs), _unique_names(runs), differences, result_rows, _class_rows(runs))


def _settings(run: Run) -> dict[str, str]:
    """All settings of a run and its environment, as text."""
    config, network = run.config, run.config.make_network()
    costs, environment = count(network), run.environment
    settings = {"recipe": config.recipe_name, **fields(config.recipe)}
    settings |= {
        "network": f"{network.name or 'unnamed'} {network.digest[:12]}",
        "input": show(network.input_shape),
        "parameters": f"{costs.parameters:,}",
        "MACs": f"{costs.macs:,}",
        "training images": f"{config.data.train:,}",
        "test images": f"{config.data.test:,}",
        "classes": f"{len(config.data.class_names)}",
        "training set": config.data.fingerprint[:12],
        "backend": config.backend,
        "device": environment.get("device") or config.device,
        "computed in": config.precision,
        "deterministic": "yes" if config.deterministic else "no",
    }
    versions = environment.get("versions", {})
    return settings | {f"version of {package}": str(version) for package, version in versions.items()}


def _results(run: Run) -> dict[str, Any]:
    result, history = run.result, run.history
    last = history[-1] if history else {}
    best = history[best_epoch(history) - 1] if history else {}
    accuracy, images = best.get("test_accuracy"), run.config.data.test
    return {
        "epochs": len(history),
        "finished": result is not None,
        "test_accuracy": accuracy,
        "test_images": images,
        "test_accuracy_interval": None if accuracy is None else accuracy_interval(accuracy, images),
        "test_loss": best.get("test_loss"),
        "train_accuracy": last.get("train_accuracy"),
        "loss": last.get("loss"),
        "examples_per_second": result.examples_per_second if result else last.get("examples_per_second"),
        "seconds": result.seconds if result else None,
        "peak_resident_bytes": result.peak_resident_bytes if result else None,
    }


def _class_rows(runs: Sequence[Run]) -> list[Row]:
    class_names = [run.config.data.class_names for run in runs]
    if len(set(class_names)) > 1:
        return []
    histories = [run.history for run in runs]
    accuracies = [history[best_epoch(history) - 1]["class_accuracy"] if history else {} for history in histories]
    return [Row(name, [of_run.get(name) for of_run in accuracies]) for name in class_names[0]]


def _unique_names(runs: Sequence[Run]) -> list[str]:
    """The names of the directories, or their paths if two have the same name."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def chance_margin(comparison: Comparison) -> float | None:
    """The difference between the two best test accuracies below which it may be chance.

    It is two standard errors, as if the runs had been measured on different images; None if fewer than two runs have a
    test accuracy.
    """
    accuracies = next(row.values for row in comparison.results if row.name == "test_accuracy")
    known = sorted(
        (accuracy, run.config.data.test)
        for accuracy, run in zip(accuracies, comparison.runs, strict=True)
        if accuracy is not None and run.config.data.test
    )
    variances = [accuracy * (1 - accuracy) / images for accuracy, images in known[-2:]]
    return 2 * sum(variances) ** 0.5 if len(variances) == 2 else None


def comparison_file(comparison: Comparison, path: Path) -> bytes | str:
    """The content of a file for the comparison: a page for .html, the curves for .png. Raises RunError otherwise."""
    match path.suffix.lower():
        case ".html" | ".htm":
            return comparison_html(comparison)
        case ".png":
            return png(comparison_figure([run.history for run in comparison.runs], comparison.names))
        case _:
            raise RunError(f"--out {path}: expected a name that ends in .html or .png")


def comparison_html(comparison: Comparison) -> str:
    """The comparison as one self-contained page."""
    return render(
        "compare.html.j2",
        names=comparison.names,
        runs=comparison.runs,
        charts=comparison_charts([run.history for run in comparison.runs], comparison.names),
        differences=comparison.differences,
        results=[(RESULT_TITLES[row.name], format_results(row)) for row in comparison.results],
        chance_margin=chance_margin(comparison),
        classes=comparison.classes,
        lang=language_code(row.name for row in comparison.classes),
        version=__version__,
    )


def format_results(row: Row) -> list[str]:
    """The values of a row of results as text."""

    def format_value(value: Any) -> str:
        match row.name:
            case _ if value is None:
                return "–"
            case "finished":
                return "yes" if value else "no"
            case "epochs" | "test_images":
                return f"{value:,}"
            case "test_accuracy_interval":
                return f"{value[0]:.3f} to {value[1]:.3f}"
            case "seconds":
                return format_duration(value)
            case "peak_resident_bytes":
                return format_bytes(value)
            case "examples_per_second":
                return f"{value:,.1f}"
            case _:
                return f"{value:.4f}"

    return [format_value(value) for value in row.values]
