"""``mlpconv predict``: the classes of images."""

from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlpconv.cli.inverted import warn_if_inverted
from mlpconv.cli.options import Backend, Device, Invert, Precision, RunPath
from mlpconv.cli.output import Download, Json, print_json, say, warn

MAX_LISTED_PROBLEMS = 20


def predict(
    run: RunPath,
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
    json: Json = False,
) -> None:
    """Classify images, or all images of a folder: class names and probabilities.

    Example: mlpconv predict latest photos --out predictions.csv
    """
    from mlpconv.data.folders.listed import Problem
    from mlpconv.formatting import printable
    from mlpconv.inference.classifier import Classifier
    from mlpconv.inference.predictions import as_json, find_files, open_predictions, predict_files

    classifier = Classifier(run, backend=backend, device=device, precision=precision)
    files = find_files(images)
    top = min(top, len(classifier.class_names))
    listed, inverted, problems, predicted = [], [], [], 0
    with Download() as progress, open_predictions(out, top) if out else nullcontext() as writer:
        for item in predict_files(classifier, files, top=top, invert=invert, progress=progress if out else None):
            if isinstance(item, Problem):
                problems.append(item)
            else:
                predicted += 1
                if item.looks_inverted:
                    inverted.append(printable(item.file))
            if writer is not None:
                writer.write(item)
            elif json:
                listed.append(as_json(item))
            elif not isinstance(item, Problem):
                guesses = ", ".join(f"{guess.label} {guess.probability:.3f}" for guess in item.top)
                say(f"{printable(item.file)}: {guesses}")
    warn_if_inverted(classifier, inverted, invert)
    if json:
        print_json({"out": str(out), "images": predicted, "skipped": len(problems)} if out else listed)
        return
    for problem in problems[:MAX_LISTED_PROBLEMS]:
        warn(f"{problem.path}: skipped: {problem.reason}")
    if len(problems) > MAX_LISTED_PROBLEMS:
        warn(f"… and {len(problems) - MAX_LISTED_PROBLEMS:,} more")
    if out:
        say(f"{predicted:,} predictions in {out}" + (f", {len(problems):,} files skipped" if problems else ""))
