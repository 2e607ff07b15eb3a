"""``mlpconv explain``: the evidence for each class and its position in the image."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mlpconv.cli.inverted import warn_if_inverted
from mlpconv.cli.options import Backend, DataDir, Device, Invert, Precision, RunPath
from mlpconv.cli.output import Download, Json, make_directory, next_steps, print_json, say, warn, write_file
from mlpconv.errors import DataError, MlpconvError, unknown

if TYPE_CHECKING:
    from mlpconv.explain.class_maps import ClassMaps
    from mlpconv.inference.classifier import Classifier


def explain(
    run: RunPath,
    images: Annotated[list[str] | None, Argument(metavar="IMAGE", help="Image files of any format and size.")] = None,
    class_: Annotated[
        list[str] | None,
        Option("--class", metavar="NAME", help="A class to show the map of, besides the top ones; repeatable."),
    ] = None,
    top: Annotated[int, Option(min=1, help="Number of top predicted classes to show maps for.")] = 3,
    dense: Annotated[bool, Option("--dense", help="Do not resize images: a large image gives a large map.")] = False,
    figure: Annotated[
        bool,
        Option("--figure", help="Draw the paper's figure: the maps of all classes for one test image of each class."),
    ] = False,
    invert: Invert = False,
    data_dir: DataDir = None,
    out: Annotated[Path, Option(help="Directory for the figures.")] = Path("class-maps"),
    backend: Backend = None,
    device: Device = None,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Show what a network sees: class maps drawn over each image, whose means are the logits.

    Example: mlpconv explain latest shirt.jpg
    """
    from mlpconv.arch.class_maps import single_position
    from mlpconv.inference.classifier import Classifier

    if not images and not figure:
        raise DataError("explain: no image given; give image files, or --figure for images of the test set")
    classifier = Classifier(run, backend=backend, device=device, precision=precision)
    names = classifier.class_names
    for name in class_ or []:
        if name not in names:
            raise MlpconvError(f"--class: {unknown('class', name, names)}")
    make_directory(out, "--out")
    chosen = [names.index(name) for name in class_ or []]
    explained: list[dict[str, Any]] = []
    for image in images or []:
        path = _unused_path(out, image, [row["picture"] for row in explained])
        explained.append(_explain(classifier, image, chosen, top, dense, invert, path))
    figure_path = _figure(classifier, data_dir, out) if figure else None
    single = single_position(classifier.stored.network)
    if single:
        hint = f" (mlpconv train --image-size {single.larger[0]})" if single.larger else ""
        untrained = "; in training at one position, most weights of the last window are never used" if dense else ""
        warn(f"{single}{hint}{untrained}")
    if not json:
        for row in explained:
            _print(row)
    if json:
        print_json(
            {"run": str(classifier.path), "images": explained, "figure": str(figure_path) if figure_path else None}
        )
        return
    if figure_path:
        say(f"{figure_path}: the maps of all classes for one test image of each")
    if explained and not dense:
        next_steps(
            (f"mlpconv explain {run} --figure", "the paper's figure: the maps of all classes side by side"),
            (f"mlpconv explain {run} IMAGE --dense", "find the classes in a large image"),
        )


def _unused_path(out: Path, image: str, used: list[str]) -> Path:
    """The file for the maps of an image: its name, with a number if another image of this call has the same name."""
    stem, number = Path(image).stem, 1
    while (path := out / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")) and str(path) in used:
        number += 1
    return path


def _explain(
    classifier: "Classifier", file: str, chosen: list[int], top: int, dense: bool, invert: bool, path: Path
) -> dict[str, Any]:
    import numpy as np

    from mlpconv.drawing.plots import png
    from mlpconv.explain.figures import overlay_figure
    from mlpconv.training.metrics import softmax

    maps = classifier.class_maps(file, dense=dense, invert=invert)
    warn_if_inverted(classifier, _inverted(classifier, maps), invert)
    logits = maps.logits
    if dense:
        # A large image may show several objects: use the position where the evidence is strongest.
        row, column = np.unravel_index(maps.before[0].max(axis=0).argmax(), maps.before.shape[2:])
        logits = maps.before[:, :, row, column]
    scores = maps.before[0].max(axis=(1, 2)) if dense else logits[0]
    order = [int(label) for label in np.argsort(-scores, kind="stable")]
    classes = list(dict.fromkeys(order[:top] + chosen))
    write_file(path, png(overlay_figure(maps, 0, classes)), "--out")
    return {
        "file": file,
        "predicted": maps.class_names[order[0]],
        "probability": float(softmax(logits)[0, order[0]]),
        "image_size": list(maps.images.shape[1:3]),
        "map_size": list(maps.before.shape[2:]),
        "classes": [_row(maps, label) for label in classes],
        "picture": str(path),
    }


def _inverted(classifier: "Classifier", maps: "ClassMaps") -> list[str]:
    """The names of the images whose background looks inverted."""
    from mlpconv.data.image import looks_inverted

    background = classifier.stored.background
    if background is None:
        return []
    return [name for name, image in zip(maps.names, maps.images, strict=True) if looks_inverted(image, background)]


def _row(maps: "ClassMaps", label: int) -> dict[str, Any]:
    import numpy as np

    values = maps.before[0, label]
    row, column = np.unravel_index(values.argmax(), values.shape)
    height, width = maps.images.shape[1:3]
    return {
        "label": maps.class_names[label],
        "logit": float(maps.logits[0, label]),
        "evidence_for": float(np.maximum(values, 0).mean()),
        "evidence_against": float(np.minimum(values, 0).mean()),
        "strongest_at": [
            float(np.clip(maps.columns[column], 0, width)),
            float(np.clip(maps.rows[row], 0, height)),
        ],
    }


def _print(row: dict[str, Any]) -> None:
    say(f"{row['file']}: {row['predicted']} {row['probability']:.3f}; class maps: {row['picture']}")
    width = max(len(each["label"]) for each in row["classes"])
    for each in row["classes"]:
        line = (
            f"  {each['label']:{width}}  logit {each['logit']:6.2f}  for it {each['evidence_for']:.2f}, "
            f"against it {-each['evidence_against'] or 0:.2f}"
        )
        if row["map_size"] != [1, 1]:
            x, y = each["strongest_at"]
            line += f"; strongest at x {x:.0f}, y {y:.0f}"
        say(line)


def _figure(classifier: "Classifier", data_dir: Path | None, out: Path) -> Path:
    """Draw the paper's figure; returns its path."""
    import numpy as np

    from mlpconv.drawing.plots import png
    from mlpconv.explain.figures import paper_figure
    from mlpconv.jobs.run_data import reload_run_data

    if not classifier.stored.data:
        raise DataError(
            f"{classifier.path}: does not record what it was trained on, so there are no test images; give image files"
        )
    with Download() as progress:
        test, _, notes = reload_run_data(classifier, directory=data_dir, progress=progress)
    for note in notes:
        warn(note)
    firsts = [np.flatnonzero(test.labels == label)[:1] for label in range(min(test.num_classes, 10))]
    chosen = test.subset(np.concatenate(firsts))
    maps = classifier.class_maps(chosen.images)
    path = out / "figure.png"
    classes = range(len(firsts))
    write_file(path, png(paper_figure(maps, chosen.labels, classes)), "--out")
    return path
