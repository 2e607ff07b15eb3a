"""The report of a run: one HTML file with setup, curves, mistakes and costs, made from the run directory alone."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

from mlpconv.arch.cost import Costs, Memory, count, prediction_memory, training_memory, value_bytes
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes, show
from mlpconv.data.folders.names import TEST
from mlpconv.drawing.charts import Chart, Event, Line, run_chart
from mlpconv.drawing.diagram import to_svg
from mlpconv.drawing.fonts import language_code
from mlpconv.explain.border import AREA, CELLS, GATHERED, IMAGES_PER_CLASS, from_array
from mlpconv.files import write_atomic
from mlpconv.inference.mistakes import LABEL_ERRORS_REST_ON
from mlpconv.reports.advice import ClassResult, class_results, warnings
from mlpconv.reports.page import render
from mlpconv.reports.pictures import class_maps_on_page, mistakes_on_page
from mlpconv.runs import data_files, evaluation
from mlpconv.runs.history import best_epoch, validation_accuracies
from mlpconv.runs.job import Job
from mlpconv.runs.outcome import few_images_lines
from mlpconv.runs.run import REPORT, Run
from mlpconv.training.ending import ending_words
from mlpconv.training.metrics import FEW_IMAGES, accuracy_interval, accuracy_note, interval_text
from mlpconv.training.recipe import describe, fields, to_toml
from mlpconv.version import __version__

MAX_MATRIX_CLASSES = 100
"""Number of classes up to which the confusion matrix is shown."""
MAX_SKIPPED_FILES = 500
"""Number of skipped files that are listed; skipped.csv in the run directory has all."""
MAX_CONFUSED_PAIRS = 10
MAX_CONFLICTS = 100
"""Number of copies in different classes that are listed; conflicts.csv in the run directory has all."""


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the report of a run.

    Args:
        run: The run.
        path: The file to write; by default report.html in the run directory.

    Returns:
        The path of the file.

    Raises:
        RunError: Files of the run are damaged.
        OSError: The report cannot be written.
    """
    path = path or run.path / REPORT
    write_atomic(path, report_html(run))
    return path


def report_html(run: Run) -> str:
    """The report as HTML. For an unfinished run, it says so. Raises RunError if files of the run are damaged."""
    from markupsafe import Markup

    config, result, history, newest = run.config, run.result, run.history, None
    stored = evaluation.load(run.path, len(config.data.class_names))
    if stored is not None and stored.epoch == len(history):
        newest = stored
    matrix = result.confusion if result else newest.confusion.tolist() if newest else None
    classes = class_results(config.data.class_names, matrix) if matrix else []
    network = config.make_network()
    costs = count(network)
    environment = run.environment
    repairs = [event for line in history for event in line.get("repairs", ())]
    repairs += run.failure.repairs if run.failure else []
    # All numbers of a page are of one epoch: that of the weights, and of an unfinished run the newest.
    shown = history[best_epoch(history) - 1 if result else -1] if history else None
    curves = run_chart(history, run.name, events=_events(repairs))
    skipped, files = data_files.read_skipped(run), data_files.read_files(run, TEST)
    doubted, conflicts = newest.label_errors if newest else None, data_files.read_conflicts(run.path)
    return render(
        "report.html.j2",
        run=run,
        config=config,
        result=result,
        history=history,
        last=history[-1] if history else None,
        shown=shown,
        test_interval=interval_text(shown["test_accuracy"], config.data.test) if shown else "",
        weights_note=_weights_note(run, shown),
        device=environment.get("device") or config.device,
        date=_format_date(environment.get("date")),
        lang=language_code(config.data.class_names),
        warnings=warnings(run, result, history, matrix, skipped, newest, len(conflicts)),
        skipped=skipped[:MAX_SKIPPED_FILES],
        skipped_more=max(len(skipped) - MAX_SKIPPED_FILES, 0),
        recipe_words=describe(config.recipe, config.recipe_name).partition(": ")[2],
        recipe_fields=fields(config.recipe),
        recipe_toml=to_toml(config.recipe),
        curves=curves,
        legend=_legend(curves, shown["epoch"]) if shown else [],
        validated=any(accuracy is not None for accuracy in validation_accuracies(history)),
        repairs=repairs,
        points=[point for line in history for point in line["curve"]],
        classes=[(each, _interval(each)) for each in classes],
        lowest_accuracy=min((each.accuracy for each in classes if each.accuracy is not None), default=None),
        matrix=_cells(matrix) if matrix and len(matrix) <= MAX_MATRIX_CLASSES else None,
        confused=evaluation.most_confused(config.data.class_names, matrix, MAX_CONFUSED_PAIRS) if matrix else [],
        mistakes=mistakes_on_page(newest.mistakes, config.data.class_names, files) if newest else None,
        label_errors=mistakes_on_page(doubted, config.data.class_names, files) if doubted is not None else None,
        more_label_errors=newest.label_error_count - len(doubted.indices) if newest and doubted is not None else 0,
        label_errors_rest_on=LABEL_ERRORS_REST_ON,
        conflicts=conflicts[:MAX_CONFLICTS],
        more_conflicts=max(len(conflicts) - MAX_CONFLICTS, 0),
        from_files=bool(files),
        border=list(zip(config.data.class_names, from_array(newest.border) or (), strict=False)) if newest else [],
        border_area=AREA,
        border_cells=CELLS,
        border_images=IMAGES_PER_CLASS,
        border_gathered=GATHERED,
        class_maps=class_maps_on_page(run, network, files) if result else None,
        network=network,
        diagram=Markup(to_svg(network)),
        costs=costs,
        layers=_layers(network, costs),
        shape=show(network.input_shape),
        image_shape=_image_shape(config),
        forecast=run.forecast,
        seconds=result.seconds if result else sum(line["seconds"] + line["evaluation_seconds"] for line in history),
        memory=_memory(config, network),
        environment=environment,
        command=_command(environment.get("command")),
        repeat_command=_repeat_command(run),
        packages=" ".join(f"{name}=={at}" for name, at in environment.get("versions", {}).items() if name != "python"),
        version=__version__,
    )


def _weights_note(run: Run, shown: dict[str, Any] | None) -> str:
    """Which epoch the weights are from, what was measured in addition, and why training ended before its last epoch."""
    notes = []
    accuracy = shown.get("validation_accuracy") if shown else None
    if run.result and shown and accuracy is not None:
        note = accuracy_note(accuracy, run.config.data.validation)
        notes.append(
            f"the weights, and with them all test results, are those of epoch {shown['epoch']}, the best on the "
            f"validation images: validation accuracy {accuracy:.3f}{note}"
        )
    if run.result:
        notes += few_images_lines(run.result, run.config.recipe.pretrained)
    if run.result and (reason := ending_words(run.config.recipe, validation_accuracies(run.history))):
        notes.append(f"training {reason}")
    text = "; ".join(notes)
    return text and f"{text[0].upper()}{text[1:]}."


def _legend(chart: Chart, epoch: int) -> list[tuple[Line, float | None]]:
    """Each line of the chart with its value in an epoch, or the newest one of a line that is not measured by epoch."""
    return [(line, next((y for x, y in line.points if line.markers and x == epoch), line.last)) for line in chart.lines]


def _interval(each: ClassResult) -> tuple[float, float] | None:
    """The 95 % interval of a class's accuracy, if it has few images."""
    few = each.accuracy is not None and each.images < FEW_IMAGES
    return accuracy_interval(each.accuracy, each.images) if few and each.accuracy is not None else None


def _events(repairs: list[dict[str, Any]]) -> list[Event]:
    return [
        Event(event["place"], f"epoch {event['place']:.3g}: {event['what']}; {event['action']}") for event in repairs
    ]


def _cells(matrix: list[list[int]]) -> list[list[tuple[int, int]]]:
    """Each count with its shade, 0 to 9: the square root of its share of the row, so that rare mistakes are visible."""
    return [[(value, round(9 * (value / max(sum(row), 1)) ** 0.5)) for value in row] for row in matrix]


def _layers(network: Network, costs: Costs) -> list[dict[str, Any]]:
    rows = zip(layer_shapes(network), costs.layers, strict=True)
    return [{"label": row.layer.label, "output": show(row.output_shape), "cost": cost} for row, cost in rows]


def _image_shape(config: Job) -> str:
    """The shape of the images in the data set: 1×28×28."""
    size, channels = config.preprocess.source_size, config.preprocess.channels
    return show((channels, *size)) if size else f"{channels} channel{'s' * (channels > 1)} and any size"


def _memory(config: Job, network: Network) -> dict[str, Memory]:
    """The calculated memory of training, at the largest image size of the recipe, and of prediction."""
    recipe, size = config.recipe, value_bytes(config.precision)
    side = max([config.preprocess.size, *(size for _, size in recipe.image_sizes)])
    shape = (network.input_channels, side, side)
    optimizer = recipe.optimizer.variant
    training = training_memory(network, shape, batch=recipe.batch_size, optimizer=optimizer, value_bytes=size)
    return {"training": training, "prediction": prediction_memory(network, value_bytes=size)}


def _format_date(text: str | None) -> str:
    """An ISO 8601 date as text: 5 November 2025, 14:03 UTC."""
    try:
        return f"{datetime.fromisoformat(text or ''):%d %B %Y, %H:%M %Z}".lstrip("0").strip()
    except ValueError:
        return ""


def _command(arguments: Any) -> str | None:
    """The command line that started the run; None if a Python program did."""
    if not isinstance(arguments, list) or not arguments:
        return None
    program, *options = map(str, arguments)
    name = Path(program).name
    if name == "__main__.py":
        return shlex.join(["python", "-m", "mlpconv", *options])
    return shlex.join(["mlpconv", *options]) if name == "mlpconv" else None


def _repeat_command(run: Run) -> str | None:
    """The command that repeats a run without depending on defaults; None if a Python program passed the images."""
    config = run.config
    if config.data.name != config.recipe.data:
        return None
    options = [
        "--from",
        str(run.path),
        "--backend",
        config.backend,
        "--device",
        config.device,
        "--precision",
        config.precision,
        *["--deterministic"] * config.deterministic,
    ]
    return shlex.join(["mlpconv", "train", *options])
