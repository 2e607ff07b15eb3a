"""``mlpconv evaluate``: loss, accuracy and confusion of a trained network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Option

from mlpconv.cli.options import AnyClassifier, Backend, DataDir, Device, MaxPixels, Precision
from mlpconv.cli.output import Download, Json, paragraph, print_json, say, warn, write_file
from mlpconv.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlpconv.data.folders.conflicts import Conflict
    from mlpconv.inference.mistakes import LabelError, Mistake

MAX_LISTED_PROBLEMS, MAX_LISTED_MISTAKES, MAX_LISTED_LABEL_ERRORS = 5, 5, 10


def evaluate(
    run: AnyClassifier,
    data: Annotated[
        str | None,
        Option(help="A data set's name, a folder or a CSV file; by default what the network was trained on."),
    ] = None,
    data_dir: DataDir = None,
    split: Annotated[
        str | None,
        Option(
            help="Split: test, train or validation; by default test, or all images of a folder without splits.",
            show_default=False,
        ),
    ] = None,
    backend: Backend = None,
    device: Device = None,
    precision: Precision = None,
    max_pixels: MaxPixels = None,
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="Write the misclassified images to this .csv file: file, classes, probabilities."),
    ] = None,
    json: Json = False,
) -> None:
    """Measure a trained network: loss, accuracy, accuracy by class and the confusion matrix.

    Example: mlpconv evaluate latest --out mistakes.csv
    """
    from mlpconv.backends import allocator
    from mlpconv.cli.train_output import print_class_accuracy
    from mlpconv.explain import border
    from mlpconv.formatting import format_number, printable
    from mlpconv.inference.classifier import Classifier
    from mlpconv.inference.mistakes import find_label_errors, find_mistakes, mistakes_csv
    from mlpconv.jobs.run_data import reload_run_data
    from mlpconv.training.metrics import accuracy_interval, interval_text

    if split not in (None, "test", "train", "validation"):
        raise DataError(f"--split {split}: expected test, train or validation")
    if out is not None and out.suffix != ".csv":
        raise DataError(f"--out {printable(out)}: expected a name that ends in .csv")
    allocator.keep_memory()
    classifier = Classifier(run, backend=backend, device=device, precision=precision, max_pixels=max_pixels)
    with Download() as progress:
        loaded = reload_run_data(classifier, data, split, directory=data_dir, progress=progress)
    dataset, problems, notes = loaded.dataset, loaded.problems, loaded.notes
    for note in notes:
        warn(note)
    if not notes:
        for problem in problems[:MAX_LISTED_PROBLEMS]:
            warn(f"skipped   {problem.path}: {problem.reason}")
        if len(problems) > MAX_LISTED_PROBLEMS:
            warn(f"          … and {len(problems) - MAX_LISTED_PROBLEMS:,} more; --json lists all")
    result = classifier.evaluate(dataset)
    mistakes = find_mistakes(result, dataset, loaded.files)
    if out is not None:
        write_file(out, mistakes_csv(mistakes, loaded.root if loaded.files else ""), "--out")
    doubted = None if loaded.trained_on else find_label_errors(result, dataset, loaded.files)
    stored = classifier.stored
    in_border = border.border_evidence(classifier.model, stored.network, stored.preprocess, dataset)
    names, counts = classifier.class_names, result.confusion.sum(1).tolist()
    by_class = {
        name: None if total == 0 else float(value)
        for name, value, total in zip(names, result.class_accuracy, counts, strict=True)
    }
    if json:
        print_json(
            {
                "run": str(classifier.path),
                "data": dataset.name,
                "images": len(dataset),
                "skipped": [problem._asdict() for problem in problems],
                "accuracy": result.accuracy,
                "accuracy_interval": accuracy_interval(result.accuracy, len(dataset)),
                "loss": result.loss,
                "class_accuracy": by_class,
                "class_accuracy_interval": {
                    name: None if value is None else accuracy_interval(value, total)
                    for (name, value), total in zip(by_class.items(), counts, strict=True)
                },
                "confusion": result.confusion.tolist(),
                "mistakes": [{**mistake._asdict(), "file": printable(mistake.file)} for mistake in mistakes],
                "out": str(out) if out else None,
                "label_errors": [{**error._asdict(), "file": printable(error.file)} for error in doubted]
                if doubted is not None
                else None,
                "border_evidence": border.as_json(in_border, names),
                "conflicts": [conflict._asdict() for conflict in loaded.conflicts]
                if loaded.conflicts is not None
                else None,
            }
        )
        return
    images = format_number(len(dataset), "image")
    interval = interval_text(result.accuracy, len(dataset))
    note = f" (95 % interval {interval})" if interval else ""
    say(f"{dataset.name}, {images}: accuracy {result.accuracy:.4f}{note}, loss {result.loss:.4f}")
    print_class_accuracy(by_class, counts, "accuracy by class")
    _print_confusion(names, result.confusion.tolist())
    _print_mistakes(mistakes, "" if loaded.files else "image ")
    _print_label_errors(doubted or [], "" if loaded.files else "image ")
    _print_conflicts(loaded.conflicts or ())
    if text := border.warning(in_border, names):
        warn(f"\n{text}")
    if out is not None:
        say(f"\n{out}: {format_number(len(mistakes), 'misclassified image')}")


def _print_confusion(names: tuple[str, ...], confusion: list[list[int]]) -> None:
    """Print the five pairs of classes that are confused most often."""
    from mlpconv.runs.evaluation import most_confused

    pairs = most_confused(names, confusion, 5)
    if pairs:
        say("\nmost often confused:")
    for pair in pairs:
        say(f"  {pair.label} classified as {pair.predicted}: {pair.mistakes}")


def _print_mistakes(mistakes: "list[Mistake]", prefix: str) -> None:
    """Print the most confident mistakes, with a prefix before the name of each image."""
    from mlpconv.formatting import printable

    if mistakes:
        say("\nmost confident mistakes:")
    for mistake in mistakes[:MAX_LISTED_MISTAKES]:
        name = f"{prefix}{printable(mistake.file)}"
        say(f"  {name}: {mistake.label} classified as {mistake.predicted}, probability {mistake.probability:.3f}")
    if (more := len(mistakes) - MAX_LISTED_MISTAKES) > 0:
        say(f"  … and {more:,} more; --out mistakes.csv lists all")


def _print_label_errors(errors: "Sequence[LabelError]", prefix: str) -> None:
    """Print the images whose labels are likely wrong, with a prefix before the name of each, and what that rests on."""
    from mlpconv.formatting import printable
    from mlpconv.inference.mistakes import LABEL_ERRORS_REST_ON

    if not errors:
        return
    say("\nlikely label errors:")
    for error in errors[:MAX_LISTED_LABEL_ERRORS]:
        say(
            f"  {prefix}{printable(error.file)}: labeled {error.label} ({error.label_probability:.3f}), seems to be "
            f"{error.suggested} ({error.probability:.3f})"
        )
    if (more := len(errors) - MAX_LISTED_LABEL_ERRORS) > 0:
        say(f"  … and {more:,} more; --json lists all")
    paragraph(f"{LABEL_ERRORS_REST_ON}.", indent=2)


def _print_conflicts(conflicts: "Sequence[Conflict]") -> None:
    """Print the copies in different classes."""
    from mlpconv.data.folders.conflicts import in_words

    if conflicts:
        say("\ncopies of a picture in different classes of the folder:")
    for each in conflicts[:MAX_LISTED_LABEL_ERRORS]:
        say(f"  {in_words(each)}")
    if (more := len(conflicts) - MAX_LISTED_LABEL_ERRORS) > 0:
        say(f"  … and {more:,} more; --json lists all")
