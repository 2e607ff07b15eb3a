"""The report of a run: one HTML file with setup, curves, mistakes and costs, made from the run directory alone."""

import shlex
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.class_maps import single_position
from mlpconv.arch.cost import Costs, Memory, count, prediction_memory, training_memory, value_bytes
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import layer_shapes, show
from mlpconv.drawing.charts import Event, run_chart
from mlpconv.drawing.diagram import to_svg
from mlpconv.drawing.fonts import language_code
from mlpconv.drawing.images import png_data_uri
from mlpconv.explain import stored_class_maps
from mlpconv.explain.class_maps import receptive_field, strongest
from mlpconv.explain.overlay import enlarge, overlay
from mlpconv.files import write_atomic
from mlpconv.reports.page import render
from mlpconv.runs import data_files, evaluation
from mlpconv.runs.history import best_epoch, validation_accuracies
from mlpconv.runs.job import Job
from mlpconv.runs.run import REPORT, Result, Run
from mlpconv.training.ending import ending_words
from mlpconv.training.recipe import describe, fields, to_toml
from mlpconv.version import __version__

MAX_MATRIX_CLASSES = 100
"""Number of classes up to which the confusion matrix is shown."""
MAX_SKIPPED_FILES = 500
"""Number of skipped files that are listed; skipped.csv in the run directory has all."""
MAX_CONFUSED_PAIRS = 10


class ClassResult(NamedTuple):
    """The result of one class on the test set."""

    name: str
    accuracy: float | None
    """The share of its images that were classified correctly; None without images."""
    correct: int
    images: int
    predicted: int
    """The number of images that were classified as this class."""


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
    classes = _class_results(config.data.class_names, matrix) if matrix else []
    network = config.make_network()
    costs = count(network)
    environment = run.environment
    repairs = [event for line in history for event in line.get("repairs", ())]
    repairs += run.failure.repairs if run.failure else []
    best = history[best_epoch(history) - 1] if history else None
    skipped = data_files.read_skipped(run)
    return render(
        "report.html.j2",
        run=run,
        config=config,
        result=result,
        history=history,
        last=history[-1] if history else None,
        best=best,
        weights_note=_weights_note(run, best),
        device=environment.get("device") or config.device,
        date=_format_date(environment.get("date")),
        lang=language_code(config.data.class_names),
        warnings=warnings(run, result, history, classes, skipped),
        skipped=skipped[:MAX_SKIPPED_FILES],
        skipped_more=max(len(skipped) - MAX_SKIPPED_FILES, 0),
        recipe_words=describe(config.recipe, config.recipe_name).partition(": ")[2],
        recipe_fields=fields(config.recipe),
        recipe_toml=to_toml(config.recipe),
        curves=run_chart(history, run.name, events=_events(repairs)),
        repairs=repairs,
        points=[point for line in history for point in line["curve"]],
        classes=classes,
        lowest_accuracy=min((each.accuracy for each in classes if each.accuracy is not None), default=None),
        matrix=_cells(matrix) if matrix and len(matrix) <= MAX_MATRIX_CLASSES else None,
        confused=evaluation.most_confused(config.data.class_names, matrix, MAX_CONFUSED_PAIRS) if matrix else [],
        mistakes=_mistakes(newest.mistakes, config.data.class_names) if newest else None,
        class_maps=_class_maps(run, network) if result else None,
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


def _weights_note(run: Run, best: dict[str, Any] | None) -> str:
    """Which epoch the weights are from, and why training ended before its last epoch; empty if neither needs a note."""
    notes = []
    accuracy = best.get("validation_accuracy") if best else None
    if best and accuracy is not None:
        epoch = best["epoch"]
        notes.append(f"the weights are those of epoch {epoch}, the best on the validation images ({accuracy:.3f})")
    if run.result and (reason := ending_words(run.config.recipe, validation_accuracies(run.history))):
        notes.append(f"training {reason}")
    text = "; ".join(notes)
    return text and f"{text[0].upper()}{text[1:]}."


def warnings(
    run: Run,
    result: Result | None,
    history: list[dict[str, Any]],
    classes: list[ClassResult],
    skipped: list[tuple[str, str]],
) -> list[str]:
    """What the reader of a report has to know before its numbers, one sentence or two for each."""
    sentences = []
    done, planned = len(history), run.config.recipe.epochs
    failure = run.failure
    if failure is not None:
        sentences.append(f"Training failed: {failure.message}.")
    elif result is None:
        shown = "the results below are of these epochs" if done else "there are no results yet"
        sentences.append(
            f"This run is not finished: {done} of {planned} epochs are done; {shown}. "
            f"To resume it: mlpconv train --out {shlex.quote(str(run.path))} --resume"
        )
    if skipped:
        files = "file in the folder was" if len(skipped) == 1 else "files in the folder were"
        sentences.append(f"{len(skipped):,} {files} skipped; see Setup for the reasons.")
    updates = sum(line["skipped"] for line in history)
    if updates:
        sentences.append(
            f"{updates:,} update{'s were' if updates > 1 else ' was'} skipped because the loss or a gradient was not "
            "finite; a lower learning rate makes training more stable."
        )
    dead = history[-1].get("dead_classes") if history else None
    if dead:
        maps = "maps of these classes are" if len(dead) > 1 else "map of this class is"
        sentences.append(
            f"Dead classes: {', '.join(dead)}. The {maps} zero at every position, so that no gradient passes."
        )
    never = [each.name for each in classes if not each.predicted and each.images]
    if never:
        sentences.append(
            f"Never predicted, although the test set has images of {'them' if len(never) > 1 else 'it'}: "
            f"{', '.join(never)}. Such a class is often dead: its last ReLU is 0 everywhere. The recipe quick starts "
            "with weights that keep every class alive."
        )
    without = [each.name for each in classes if not each.images]
    if without:
        sentences.append(f"The test set has no images of: {', '.join(without)}.")
    return sentences


def _events(repairs: list[dict[str, Any]]) -> list[Event]:
    return [
        Event(event["place"], f"epoch {event['place']:.3g}: {event['what']}; {event['action']}") for event in repairs
    ]


def _class_results(names: tuple[str, ...], matrix: list[list[int]]) -> list[ClassResult]:
    predicted = [sum(row[k] for row in matrix) for k in range(len(matrix))]
    return [
        ClassResult(name, row[k] / sum(row) if sum(row) else None, row[k], sum(row), predicted[k])
        for k, (name, row) in enumerate(zip(names, matrix, strict=True))
    ]


def _cells(matrix: list[list[int]]) -> list[list[tuple[int, int]]]:
    """Each count with its shade, 0 to 9: the square root of its share of the row, so that rare mistakes are visible."""
    return [[(value, round(9 * (value / max(sum(row), 1)) ** 0.5)) for value in row] for row in matrix]


def _mistakes(mistakes: evaluation.Mistakes, names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [
        {
            "index": int(index),
            "label": names[label],
            "predicted": names[predicted],
            "confidence": float(confidence),
            "image": png_data_uri(image),
        }
        for index, label, predicted, confidence, image in zip(*mistakes, strict=True)
    ]


def _class_maps(run: Run, network: Network) -> dict[str, Any] | None:
    """The stored class maps, of each image that of its predicted class; None if there are none."""
    stored = stored_class_maps.load(run.path, run.config.data.class_names)
    if stored is None:
        return None
    preprocess, shape = run.config.preprocess, stored.maps.images.shape[1:3]
    field = receptive_field(network, (preprocess.size, preprocess.size), shape, preprocess.fit)
    maps = stored.maps._replace(receptive_field=field)
    rows = np.arange(len(maps.images))
    values = maps.over_images(maps.before[rows, stored.predicted])
    images = []
    for index, label in enumerate(stored.predicted):
        image = enlarge(maps.images[index])
        limit = float(np.abs(maps.before[index]).max()) or 1.0
        over = overlay(image, enlarge(values[index, ..., None])[..., 0], limit)
        place = strongest(maps.before[index, label])
        images.append(
            {
                "index": maps.names[index],
                "label": maps.class_names[stored.labels[index]],
                "predicted": maps.class_names[label],
                "logit": float(maps.logits[index, label]),
                "image": png_data_uri(image),
                "overlay": png_data_uri(over),
                "place": maps.place(*place),
                "field": maps.field_of(*place),
            }
        )
    size = maps.before.shape[2:]
    return {
        "size": show(size),
        "rectified": maps.rectified,
        "single": single_position(network) if size == (1, 1) else None,
        "image_size": shape,
        "field": show(tuple(round(side) for side in field)),
        "images": images,
    }


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
