"""``mlpconv evaluate``, ``predict`` and ``runs``: what one does with a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from mlpconv.cli.output import Column, Download, Json, err, print_json, say, table, warn
from mlpconv.errors import DataError
from mlpconv.formatting import format_duration

if TYPE_CHECKING:
    from mlpconv.backends.base import Images
    from mlpconv.inference.classifier import Classifier

RunPath = Annotated[str, Argument(metavar="RUN", help="A run directory, latest, or a .safetensors file.")]
Device = Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")]
Backend = Annotated[
    str | None, Option(help="torch, tensorflow, jax or mxnet; by default what the network was trained in.")
]
Precision = Annotated[str | None, Option(help="float32 or bfloat16; the fastest by default.")]


def evaluate(
    run: RunPath,
    data: Annotated[
        str | None, Option(help="A data set's name, a folder or a CSV file; the run's own by default.")
    ] = None,
    data_dir: Annotated[Path | None, Option(help="The directory that holds the data set's files.")] = None,
    split: Annotated[str, Option(help="test or train.")] = "test",
    backend: Backend = None,
    device: Device = None,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Measure a trained network: loss, accuracy, accuracy by class and the confusion matrix.

    Example: mlpconv evaluate latest
    """
    from mlpconv.cli.train_output import print_class_accuracy
    from mlpconv.inference.classifier import Classifier
    from mlpconv.jobs.run_data import reload_run_data

    if split not in ("test", "train"):
        raise DataError(f"--split {split}: a data set has the splits test and train")
    classifier = Classifier(run, backend=backend, device=device, precision=precision)
    name = data or classifier.stored.data
    if not name:
        raise DataError(f"{run}: does not say what it was trained on; name a data set: --data fashion-mnist")
    with Download() as progress:
        splits = reload_run_data(name, classifier, directory=data_dir, progress=progress)
    dataset = splits.test if split == "test" else splits.train
    result = classifier.evaluate(dataset)
    names = classifier.class_names
    by_class = {
        name: None if total == 0 else float(value)
        for name, value, total in zip(names, result.class_accuracy, result.confusion.sum(1), strict=True)
    }
    if json:
        print_json(
            {
                "run": str(classifier.path),
                "data": dataset.name,
                "images": len(dataset),
                "accuracy": result.accuracy,
                "loss": result.loss,
                "class_accuracy": by_class,
                "confusion": result.confusion.tolist(),
            }
        )
        return
    say(f"{dataset.name}, {len(dataset):,} images: accuracy {result.accuracy:.4f}, loss {result.loss:.4f}")
    print_class_accuracy(by_class)
    _print_confusion(names, result.confusion.tolist())


def _print_confusion(names: tuple[str, ...], confusion: list[list[int]]) -> None:
    """The pairs of classes that are most often taken for each other."""
    pairs = sorted(
        (
            (count, true, predicted)
            for true, row in enumerate(confusion)
            for predicted, count in enumerate(row)
            if true != predicted and count
        ),
        reverse=True,
    )
    if pairs:
        say("\nmost often mistaken:")
    for count, true, predicted in pairs[:5]:
        say(f"  {names[true]} for {names[predicted]}: {count}")


def predict(
    run: RunPath,
    images: Annotated[
        list[str], Argument(metavar="IMAGE…", help="Image files of any kind and size, folders, or patterns ('*.jpg').")
    ],
    top: Annotated[int, Option(min=1, help="How many classes to name for each image.")] = 3,
    invert: Annotated[bool, Option("--invert", help="Turn light and dark around first.")] = False,
    backend: Backend = None,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="Write a line an image into this .csv or .jsonl file instead.")
    ] = None,
    device: Device = None,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Say what is on an image, or on all images of a folder: names and probabilities.

    Example: mlpconv predict latest photos --out predictions.csv
    """
    from contextlib import nullcontext

    from mlpconv.data.folders.listing import Problem
    from mlpconv.formatting import printable
    from mlpconv.inference.classifier import Classifier
    from mlpconv.inference.predictions import Lines, as_json, find_files, predict_files

    classifier = Classifier(run, backend=backend, device=device, precision=precision)
    files = find_files(images)
    top = min(top, len(classifier.class_names))
    listed, other, problems, done = [], [], [], 0
    with Download() as progress, Lines(out, top) if out else nullcontext() as lines:
        for one in predict_files(classifier, files, top=top, invert=invert, progress=progress if out else None):
            if isinstance(one, Problem):
                problems.append(one)
            else:
                done += 1
                if one.looks_inverted:
                    other.append(printable(one.file))
            if lines is not None:
                lines.put(one)
            elif json:
                listed.append(as_json(one))
            elif not isinstance(one, Problem):
                guesses = ", ".join(f"{guess.label} {guess.probability:.3f}" for guess in one.top)
                say(f"{printable(one.file)}: {guesses}")
    say_inverted(classifier, other, invert)
    if json:
        print_json({"out": str(out), "images": done, "skipped": len(problems)} if out else listed)
        return
    for problem in problems[:20]:
        warn(f"{problem.path}: passed over: {problem.reason}")
    if len(problems) > 20:
        warn(f"… and {len(problems) - 20:,} more")
    if out:
        say(f"{done:,} predictions in {out}" + (f", {len(problems):,} files passed over" if problems else ""))


def warn_inverted(classifier: "Classifier", names: list[str], images: "Images", invert: bool) -> None:
    """Name the images whose background is on the other side of grey than that of the training images."""
    from mlpconv.data.image import looks_inverted

    background = classifier.stored.background
    other = [
        name
        for name, image in zip(names, images, strict=True)
        if background is not None and looks_inverted(image, background)
    ]
    say_inverted(classifier, other, invert)


def say_inverted(classifier: "Classifier", names: list[str], invert: bool) -> None:
    """Warn of images that are light on dark where training was dark on light, or the other way round."""
    if not names:
        return
    background = classifier.stored.background
    assert background is not None
    learnt = "dark on light" if background > 0.5 else "light on dark"
    listed = ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")
    warn(
        f"{listed}: the background is unlike that of the training images, which are {learnt}; "
        + ("try without --invert" if invert else "--invert turns an image around")
    )


def runs(
    directory: Annotated[Path, Argument(help="Where the run directories are.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs here with their results.

    Example: mlpconv runs
    """
    from mlpconv.runs.history import best_epoch
    from mlpconv.runs.run import list_runs

    rows = []
    for run in list_runs(directory):
        recipe, result, history = run.config.recipe, run.result, run.history
        rows.append(
            {
                "run": str(run.path),
                "model": recipe.model,
                "data": recipe.data,
                "recipe": run.config.recipe_name,
                "seed": recipe.seed,
                "epochs": len(history),
                "of": recipe.epochs,
                "finished": result is not None,
                "test_accuracy": history[best_epoch(history) - 1]["test_accuracy"] if history else None,
                "seconds": result.seconds if result else None,
            }
        )
    if json:
        print_json(rows)
        return
    if not rows:
        err().print(f"no runs in {directory}; mlpconv train makes one", markup=False)
        return
    columns = [
        Column("run"),
        Column("model", leave_out=1),
        Column("data", leave_out=2),
        Column("seed", True, 4),
        Column("epochs", True, 3),
        Column("test acc", True),
        Column("time", True),
    ]
    cells = []
    for row in rows:
        accuracy = "" if row["test_accuracy"] is None else f"{row['test_accuracy']:.4f}"
        time = format_duration(row["seconds"]) if row["seconds"] is not None else "unfinished"
        epochs = f"{row['epochs']}/{row['of']}"
        cells.append([row["run"], row["model"], row["data"], str(row["seed"]), epochs, accuracy, time])
    table(columns, cells)
