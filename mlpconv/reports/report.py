"""The report of a run: one HTML file with everything that a person wants to see, made from the run directory alone."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.cost import Costs, Memory, count, prediction_memory, training_memory
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes, show
from mlpconv.drawing.diagram import layer_label, to_svg
from mlpconv.drawing.line_chart import Line, Note, line_chart
from mlpconv.drawing.plots import panel_lines
from mlpconv.explain import class_maps
from mlpconv.files import write_atomic
from mlpconv.reports.page import language, picture, render
from mlpconv.runs import data_files, evaluation
from mlpconv.runs.history import best_epoch, validation_accuracies
from mlpconv.runs.job import Job
from mlpconv.runs.run import REPORT, Result, Run
from mlpconv.training.ending import ending_words
from mlpconv.training.recipe import describe, fields, to_toml
from mlpconv.version import __version__

MOST_CLASSES = 100
"""Classes up to which the whole confusion matrix is shown."""
MOST_PASSED = 500
"""So many things that were passed over are listed; skipped.csv has all."""
CHARTS = (("wide", 952, 400), ("narrow", 358, 300))
"""The same chart for two widths of page, in pixels: text that shrinks with its chart cannot be read."""


class Class(NamedTuple):
    """One class in the newest evaluation. accuracy: the share that was recognised, None without images. predicted: how
    many images were taken for it."""

    name: str
    accuracy: float | None
    right: int
    images: int
    predicted: int


class Confused(NamedTuple):
    """``wrong`` of the ``images`` of one class were taken for another."""

    label: str
    predicted: str
    wrong: int
    images: int


def write_report(run: Run, path: Path | None = None) -> Path:
    """Write the report of a run, by default as report.html into its directory; the file's path.

    Raises RunError for a run whose files are damaged, OSError where the report cannot be written.
    """
    path = path or run.path / REPORT
    write_atomic(path, report_html(run))
    return path


def report_html(run: Run) -> str:
    """The report as HTML. A run that is not finished has one too, which says so."""
    from markupsafe import Markup

    config, result, history, newest = run.config, run.result, run.history, None
    kept = evaluation.load(run.path, len(config.data.class_names))
    if kept is not None and kept.epoch == len(history):
        newest = kept
    matrix = result.confusion if result else newest.confusion.tolist() if newest else None
    classes = _classes(config.data.class_names, matrix) if matrix else []
    network = config.make_network()
    costs = count(network)
    environment = run.environment
    repairs = [event for line in history for event in line.get("repairs", ())]
    repairs += run.failure.repairs if run.failure else []
    best = history[best_epoch(history) - 1] if history else None
    passed = data_files.read_skipped(run)
    return render(
        "report.html.j2",
        run=run,
        config=config,
        result=result,
        history=history,
        last=history[-1] if history else None,
        best=best,
        epochs_said=_epochs_said(run, best),
        device=environment.get("device") or config.device,
        date=_date(environment.get("date")),
        lang=language(config.data.class_names),
        warnings=warnings(run, result, history, classes, passed),
        passed=passed[:MOST_PASSED],
        passed_more=max(len(passed) - MOST_PASSED, 0),
        recipe_words=describe(config.recipe, config.recipe_name).partition(": ")[2],
        recipe_fields=fields(config.recipe),
        recipe_toml=to_toml(config.recipe),
        charts=[Markup(chart) for chart in _charts(history, run.name, repairs)],
        repairs=repairs,
        points=[point for line in history for point in line["curve"]],
        classes=classes,
        weakest=min((each.accuracy for each in classes if each.accuracy is not None), default=None),
        matrix=_cells(matrix) if matrix and len(matrix) <= MOST_CLASSES else None,
        confused=_most_confused(config.data.class_names, matrix) if matrix else [],
        mistakes=_pictures(newest.mistakes, config.data.class_names) if newest else None,
        evidence=_evidence(class_maps.load(run.path, config.data.class_names)) if result else None,
        network=network,
        diagram=Markup(to_svg(network)),
        costs=costs,
        layers=_layers(network, costs),
        shape=show(network.input_shape),
        source=_source(config),
        forecast=run.forecast,
        seconds=result.seconds if result else sum(line["seconds"] + line["evaluation_seconds"] for line in history),
        memory=_memory(config, network),
        environment=environment,
        made_by=_made_by(environment.get("command")),
        again=_again(run),
        packages=" ".join(f"{name}=={at}" for name, at in environment.get("versions", {}).items() if name != "python"),
        version=__version__,
    )


def _epochs_said(run: Run, best: dict[str, Any] | None) -> str:
    """Which epoch's weights a run has and why it ended before its last, in a sentence; empty where both are plain."""
    held = best and best.get("validation_accuracy")
    said = []
    if best and held is not None:
        said.append(f"the weights are of epoch {best['epoch']}, the best on the validation images ({held:.3f})")
    if run.result and (why := ending_words(run.config.recipe, validation_accuracies(run.history))):
        said.append(f"training {why}")
    text = "; ".join(said)
    return text and f"{text[0].upper()}{text[1:]}."


def warnings(
    run: Run,
    result: Result | None,
    history: list[dict[str, Any]],
    classes: list[Class],
    passed: list[tuple[str, str]],
) -> list[str]:
    """What the reader of a report has to know before its numbers, a sentence each."""
    said = []
    done, planned = len(history), run.config.recipe.epochs
    failure = run.failure
    if failure is not None:
        said.append(f"Training failed: {failure.message}.")
    elif result is None:
        then = "no epoch is over yet, so there is nothing to show" if not done else "all that follows is of these"
        said.append(
            f"This run is not finished: {done} of {planned} epochs are done; {then}. "
            f"To go on: mlpconv train --out {shlex.quote(str(run.path))} --resume"
        )
    if passed:
        said.append(
            f"{len(passed):,} thing{'s' * (len(passed) > 1)} in the folder could not be used; the plan lists them "
            "with reasons."
        )
    skipped = sum(line["skipped"] for line in history)
    if skipped:
        said.append(
            f"{skipped:,} update{'s were' if skipped > 1 else ' was'} left out, because the loss or a gradient was not "
            "finite; a lower learning rate makes training steadier."
        )
    dead = history[-1].get("dead_classes") if history else None
    if dead:
        whose = "these classes" if len(dead) > 1 else "this class"
        said.append(f"Dead: {', '.join(dead)}. The map of {whose} is shut at every position: no gradient passes.")
    never = [each.name for each in classes if not each.predicted and each.images]
    if never:
        said.append(
            f"Never predicted, though the test set has images of {'them' if len(never) > 1 else 'it'}: "
            f"{', '.join(never)}. Such a class is often dead: its last ReLU gives 0 everywhere. The recipe quick "
            "starts with every class open."
        )
    without = [each.name for each in classes if not each.images]
    if without:
        said.append(f"The test set has no image of: {', '.join(without)}.")
    return said


def _charts(history: list[dict[str, Any]], name: str, repairs: list[dict[str, Any]]) -> list[str]:
    if not history:
        return []
    lines = {label: found[0] for label, found in panel_lines([history]).items()}
    styles = ("loss", "train", "test")
    drawn = [Line(label, lines[label], style, style == "test") for label, style in zip(lines, styles, strict=True)]
    top = max(1.05, min(2.5, max((y for _, y in lines["train loss"]), default=0) * 1.05))
    notes = [
        Note(event["place"], f"epoch {event['place']:.3g}: {event['what']}; {event['action']}") for event in repairs
    ]
    title = f"Training loss, training accuracy and test accuracy of {name} over the epochs"
    return [
        f'<div class="{kind}">{line_chart(drawn, title=title, width=width, height=height, top=top, notes=notes)}</div>'
        for kind, width, height in CHARTS
    ]


def _classes(names: tuple[str, ...], matrix: list[list[int]]) -> list[Class]:
    columns = [sum(row[k] for row in matrix) for k in range(len(matrix))]
    return [
        Class(name, row[k] / sum(row) if sum(row) else None, row[k], sum(row), columns[k])
        for k, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]


def _cells(matrix: list[list[int]]) -> list[list[tuple[int, int]]]:
    """Each count with its shade, 0 to 9: the square root of its share of the row, so that rare mistakes are seen."""
    return [[(value, round(9 * (value / max(sum(row), 1)) ** 0.5)) for value in row] for row in matrix]


def _most_confused(names: tuple[str, ...], matrix: list[list[int]], most: int = 10) -> list[Confused]:
    pairs = [
        Confused(names[true], names[taken], value, sum(row))
        for true, row in enumerate(matrix)
        for taken, value in enumerate(row)
        if value and taken != true
    ]
    return sorted(pairs, key=lambda pair: -pair.wrong)[:most]


def _pictures(found: evaluation.Mistakes, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "index": int(index),
            "label": names[label],
            "predicted": names[predicted],
            "confidence": float(sure),
            "picture": picture(image),
        }
        for index, label, predicted, sure, image in zip(*found, strict=True)
    ]


def _evidence(kept: class_maps.Kept | None) -> dict[str, Any] | None:
    """The class maps of a few test images, each that of the class it was taken for; None where none were kept."""
    if kept is None:
        return None
    maps = kept.maps
    rows = np.arange(len(maps.images))
    values = maps.over_images(maps.before[rows, kept.predicted])
    found = []
    for index, label in enumerate(kept.predicted):
        image = class_maps.enlarged(maps.images[index])
        over = class_maps.enlarged(values[index, ..., None])[..., 0]
        limit = float(np.abs(maps.before[index]).max()) or 1.0
        found.append(
            {
                "index": maps.names[index],
                "label": maps.class_names[kept.labels[index]],
                "predicted": maps.class_names[label],
                "logit": float(maps.logits[index, label]),
                "picture": picture(image),
                "over": picture(class_maps.overlay(image, over, limit)),
            }
        )
    return {
        "size": show(maps.before.shape[2:]),
        "rectified": maps.rectified,
        "single": maps.before.shape[2:] == (1, 1),
        "images": found,
    }


def _layers(network: Network, costs: Costs) -> list[dict[str, Any]]:
    rows = zip(layer_shapes(network), costs.layers, strict=True)
    return [{"label": layer_label(row.layer), "output": show(row.output_shape), "cost": cost} for row, cost in rows]


def _source(config: Job) -> str:
    """The images as they are stored: 1×28×28."""
    side, channels = config.preprocess.source_size, config.preprocess.channels
    return show((channels, *side)) if side else f"{channels} channel{'s' * (channels > 1)}, of any size"


def _memory(config: Job, network: Network) -> dict[str, Memory]:
    """What the cost ledger predicts, at the largest image size of the recipe."""
    recipe, value_bytes = config.recipe, 2 if config.precision == "bfloat16" else 4
    side = max([config.preprocess.size, *(size for _, size in recipe.image_sizes)])
    shape = (network.input_channels, side, side)
    optimizer = recipe.optimizer.kind
    training = training_memory(network, shape, batch=recipe.batch_size, optimizer=optimizer, value_bytes=value_bytes)
    return {"training": training, "prediction": prediction_memory(network, value_bytes=value_bytes)}


def _date(text: str | None) -> str:
    """A date of ISO 8601 as one reads it."""
    try:
        return f"{datetime.fromisoformat(text or ''):%d %B %Y, %H:%M %Z}".lstrip("0").strip()
    except ValueError:
        return ""


def _made_by(command: Any) -> str | None:
    """The command line that began the run, as one types it; None for a program that called mlpconv."""
    if not isinstance(command, list) or not command:
        return None
    program, *options = map(str, command)
    name = Path(program).name
    if name == "__main__.py":
        return shlex.join(["python", "-m", "mlpconv", *options])
    return shlex.join(["mlpconv", *options]) if name == "mlpconv" else None


def _again(run: Run) -> str | None:
    """The command that does the same once more, with nothing left to a default; None where a program gave images."""
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
