"""``mlpconv predict``: the classes of images."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from mlpconv.cli.inverted import warn_if_inverted
from mlpconv.cli.options import AnyClassifier, Backend, Device, ExecutorAddress, Invert, MaxPixels, Precision
from mlpconv.cli.output import Download, Json, print_json, say, warn

MAX_LISTED_PROBLEMS = 20


def predict(
    run: AnyClassifier,
    images: Annotated[
        list[str],
        Argument(metavar="IMAGE", help="Image files of any format and size, folders, or patterns ('*.jpg')."),
    ],
    top: Annotated[int, Option(min=1, help="Number of classes to print for each image.")] = 3,
    invert: Invert = False,
    backend: Backend = None,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="Write one line per image to this .csv or .jsonl file instead.")
    ] = None,
    device: Device = None,
    precision: Precision = None,
    max_pixels: MaxPixels = None,
    executor: ExecutorAddress = None,
    json: Json = False,
) -> None:
    """Classify images, or all images of a folder: class names and probabilities.

    A file that is given by name and cannot be read is reported, the others are classified, and the exit code is 2.

    Example: mlpconv predict latest photos --out predictions.csv
    """
    from mlpconv.backends import allocator
    from mlpconv.executors import open_workers
    from mlpconv.formatting import format_number, printable
    from mlpconv.inference.classifier import Classifier
    from mlpconv.inference.distributed import Opened, predict_by_workers
    from mlpconv.inference.predictions import Unreadable, as_json, find_files, open_predictions, predict_files

    allocator.keep_memory()
    classifier = Classifier(run, backend=backend, device=device, precision=precision, max_pixels=max_pixels)
    files = find_files(images)
    top = min(top, len(classifier.class_names))
    listed, inverted, problems, predicted = [], [], [], 0
    with (
        Download() as progress,
        open_predictions(out, top) if out else nullcontext() as writer,
        open_workers(executor) if executor else nullcontext() as workers,
    ):
        shown = progress if out else None
        if workers is None:
            items = predict_files(classifier, files, top=top, invert=invert, progress=shown)
        else:
            opened = Opened(str(classifier.path.absolute()), backend, device, precision, max_pixels)
            items = predict_by_workers(workers, opened, files, top=top, invert=invert, progress=shown)
        for item in items:
            if isinstance(item, Unreadable):
                problems.append(item)
            else:
                predicted += 1
                if item.looks_inverted:
                    inverted.append(printable(item.file))
            if writer is not None:
                writer.write(item)
            elif json:
                listed.append(as_json(item))
            elif not isinstance(item, Unreadable):
                guesses = ", ".join(f"{guess.label} {guess.probability:.3f}" for guess in item.top)
                say(f"{printable(item.file)}: {guesses}")
    warn_if_inverted(classifier, inverted, invert)
    named = {file.path for file in files if file.named}
    failed = [problem for problem in problems if problem.file in named]
    if json:
        print_json({"out": str(out), "images": predicted, "skipped": len(problems)} if out else listed)
    for problem in failed[:MAX_LISTED_PROBLEMS]:
        warn(f"error: {printable(problem.file)}: {problem.reason}")
    skipped = [] if json else [problem for problem in problems if problem.file not in named]
    for problem in skipped[:MAX_LISTED_PROBLEMS]:
        warn(f"{printable(problem.file)}: skipped: {problem.reason}")
    more = sum(max(0, len(each) - MAX_LISTED_PROBLEMS) for each in (failed, skipped))
    if more:
        warn(f"… and {more:,} more")
    if out and not json:
        counts = [f"{format_number(predicted, 'prediction')} in {out}"]
        if problems:
            counts.append(f"{format_number(len(problems), 'file')} skipped")
        say(", ".join(counts))
    if failed:
        raise typer.Exit(2)
