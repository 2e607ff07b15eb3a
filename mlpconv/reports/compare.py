"""Several runs beside each other: what was different in them, and what came of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlpconv.arch.cost import count
from mlpconv.arch.shapes import show
from mlpconv.drawing.line_chart import Line, line_chart
from mlpconv.drawing.plots import compared_curves, panel_lines, png
from mlpconv.errors import RunError
from mlpconv.reports.page import language, render
from mlpconv.runs.history import best_epoch
from mlpconv.runs.run import Run
from mlpconv.training.recipe import fields
from mlpconv.version import __version__

CHARTS = (("wide", 300, 250), ("narrow", 358, 260))
MOST_RUNS = 10
"""As many as have a colour of their own."""
TITLES = {
    "epochs": "epochs",
    "finished": "finished",
    "test_accuracy": "test accuracy",
    "test_loss": "test loss",
    "train_accuracy": "train accuracy",
    "loss": "train loss",
    "examples_per_second": "examples/s",
    "seconds": "time",
    "peak_resident_bytes": "resident memory",
}
"""What a row of results is called."""


class Row(NamedTuple):
    """One thing, as it is in each run; None where a run does not have it."""

    name: str
    values: list[Any]


class Comparison(NamedTuple):
    """Runs in the order given. differences: what they were told, where it is not the same for all. results: what they
    reached, numbers, None for what is not known yet. classes: test accuracy by class, empty where their classes differ.
    """

    runs: list[Run]
    names: list[str]
    differences: list[Row]
    results: list[Row]
    classes: list[Row]


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare two to ten runs. Raises RunError for fewer, more, or the same run twice."""
    if not 2 <= len(runs) <= MOST_RUNS:
        raise RunError(f"compare: takes 2 to {MOST_RUNS} runs, received {len(runs)}")
    places = [run.path.resolve() for run in runs]
    for place in places:
        if places.count(place) > 1:
            raise RunError(f"{place}: was given twice; a run is compared with another one")
    told = [_told(run) for run in runs]
    names = list(dict.fromkeys(name for each in told for name in each))
    rows = [Row(name, [each.get(name) for each in told]) for name in names]
    reached = [_reached(run) for run in runs]
    results = [Row(name, [each[name] for each in reached]) for name in reached[0]]
    differ = [row for row in rows if len(set(row.values)) > 1]
    return Comparison(list(runs), _short_names(runs), differ, results, _by_class(runs))


def _told(run: Run) -> dict[str, str]:
    """Everything that a run was told, and where it ran, as texts."""
    config, network = run.config, run.config.make_network()
    costs, environment = count(network), run.environment
    said = {"recipe": config.recipe_name, **fields(config.recipe)}
    said |= {
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
    said |= {f"version of {package}": str(at) for package, at in environment.get("versions", {}).items()}
    return said


def _reached(run: Run) -> dict[str, Any]:
    result, history = run.result, run.history
    last = history[-1] if history else {}
    best = history[best_epoch(history) - 1] if history else {}
    return {
        "epochs": len(history),
        "finished": result is not None,
        "test_accuracy": best.get("test_accuracy"),
        "test_loss": best.get("test_loss"),
        "train_accuracy": last.get("train_accuracy"),
        "loss": last.get("loss"),
        "examples_per_second": result.examples_per_second if result else last.get("examples_per_second"),
        "seconds": result.seconds if result else None,
        "peak_resident_bytes": result.peak_resident_bytes if result else None,
    }


def _by_class(runs: Sequence[Run]) -> list[Row]:
    names = [run.config.data.class_names for run in runs]
    if len(set(names)) > 1:
        return []
    known = [history[-1]["class_accuracy"] if (history := run.history) else {} for run in runs]
    return [Row(name, [each.get(name) for each in known]) for name in names[0]]


def _short_names(runs: Sequence[Run]) -> list[str]:
    """The directories' names, or their whole paths where two have the same name."""
    names = [run.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def chance(comparison: Comparison) -> float | None:
    """Two standard errors of the difference between the two best test accuracies, as if measured on different images:
    a difference below it may be chance. None where fewer than two runs have one.
    """
    accuracies = next(row.values for row in comparison.results if row.name == "test_accuracy")
    known = sorted(
        (p, run.config.data.test) for p, run in zip(accuracies, comparison.runs, strict=True) if p is not None
    )[-2:]
    return 2 * sum(p * (1 - p) / n for p, n in known) ** 0.5 if len(known) == 2 else None


def picture_or_page(comparison: Comparison, path: Path) -> bytes | str:
    """The content of a file by the end of its name: .html a page, .png the curves. Raises RunError for another."""
    if path.suffix.lower() in (".html", ".htm"):
        return comparison_html(comparison)
    if path.suffix.lower() == ".png":
        return png(compared_curves([run.history for run in comparison.runs], comparison.names))
    raise RunError(f"--out {path}: expected a name that ends in .html or .png")


def comparison_html(comparison: Comparison) -> str:
    """The comparison as one self-contained page."""
    from markupsafe import Markup

    charts = []
    for label, lines in panel_lines([run.history for run in comparison.runs]).items():
        drawn = [
            Line(f"{name}, {label}", points, f"c{index}", label == "test acc")
            for index, (name, points) in enumerate(zip(comparison.names, lines, strict=True))
        ]
        title = f"{label} over the epochs: {', '.join(comparison.names)}"
        sizes = [
            f'<div class="{kind}">{line_chart(drawn, title=title, width=width, height=height)}</div>'
            for kind, width, height in CHARTS
        ]
        charts.append((label, Markup("".join(sizes))))
    class_names = [row.name for row in comparison.classes]
    return render(
        "compare.html.j2",
        names=comparison.names,
        runs=comparison.runs,
        charts=charts,
        differences=comparison.differences,
        results=[(TITLES[row.name], shown(row)) for row in comparison.results],
        chance=chance(comparison),
        classes=comparison.classes,
        lang=language(class_names),
        version=__version__,
    )


def shown(row: Row) -> list[str]:
    """The values of a row of results as one reads them."""
    from mlpconv.formatting import format_bytes, format_duration

    def show_one(value: Any) -> str:
        match row.name:
            case _ if value is None:
                return "–"
            case "finished":
                return "yes" if value else "no"
            case "epochs":
                return str(value)
            case "seconds":
                return format_duration(value)
            case "peak_resident_bytes":
                return format_bytes(value)
            case "examples_per_second":
                return f"{value:,.1f}"
            case _:
                return f"{value:.4f}"

    return [show_one(value) for value in row.values]
