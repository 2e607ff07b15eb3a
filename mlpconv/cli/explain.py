"""``mlpconv explain``: what speaks for a class, and where on the picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mlpconv.cli.output import Download, Json, next_steps, print_json, say, warn, write_file
from mlpconv.cli.use import Device, Precision, RunPath, warn_inverted
from mlpconv.errors import DataError, MlpconvError, unknown

if TYPE_CHECKING:
    from mlpconv.explain.class_maps import ClassMaps
    from mlpconv.inference.classifier import Classifier


def explain(
    run: RunPath,
    images: Annotated[list[str] | None, Argument(metavar="[IMAGE…]", help="Image files of any kind and size.")] = None,
    class_: Annotated[
        list[str] | None, Option("--class", metavar="NAME", help="A class whose map to show too.")
    ] = None,
    top: Annotated[int, Option(min=1, help="Of the likeliest classes, how many maps to show.")] = 3,
    dense: Annotated[
        bool, Option("--dense", help="Leave pictures at their own size: a large one gives a large map.")
    ] = False,
    figure: Annotated[
        bool, Option("--figure", help="The paper's figure: maps of all classes, for a test image of each.")
    ] = False,
    invert: Annotated[bool, Option("--invert", help="Turn light and dark around first.")] = False,
    data_dir: Annotated[Path | None, Option(help="The directory that holds the data set's files.")] = None,
    out: Annotated[Path, Option(help="The directory for the pictures.")] = Path("class-maps"),
    device: Device = None,
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Show what a network sees: for each image the maps of its classes over it, whose means are the logits.

    Example: mlpconv explain latest shirt.jpg
    """
    from mlpconv.inference.classifier import Classifier

    if not images and not figure:
        raise DataError("explain: no image was given; give image files, or --figure for images of the test set")
    classifier = Classifier(run, device=device, precision=precision)
    names = classifier.class_names
    for name in class_ or []:
        if name not in names:
            raise MlpconvError(f"--class: {unknown('class', name, names)}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpconvError(f"--out {out}: cannot be made: {error.strerror or error}; give another place") from None
    chosen = [names.index(name) for name in class_ or []]
    found: list[dict[str, Any]] = []
    for image in images or []:
        path = _free(out, image, [row["picture"] for row in found])
        found.append(_explain(classifier, image, chosen, top, dense, invert, path))
    drawn, single = _figure(classifier, data_dir, out) if figure else (None, False)
    if single or any(row["map_size"] == [1, 1] for row in found):
        warn(
            "the maps of this network have one position: they say how much speaks for a class, not where. nin_28, or "
            "nin at --image-size 224, has larger ones; --dense shows where on a picture larger than the training images"
        )
    if not json:
        for row in found:
            _print(row)
    if json:
        print_json({"run": str(classifier.path), "images": found, "figure": str(drawn) if drawn else None})
        return
    if drawn:
        say(f"{drawn}: the maps of all classes, a test image of each")
    if found and not dense:
        next_steps(
            (f"mlpconv explain {run} --figure", "the paper's figure: the maps of all classes side by side"),
            (f"mlpconv explain {run} PICTURE --dense", "find the classes in a large picture"),
        )


def _free(out: Path, image: str, taken: list[str]) -> Path:
    """The file for an image's maps: its name, with a number where another image of this call has the same."""
    stem, number = Path(image).stem, 1
    while (path := out / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")) and str(path) in taken:
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
    warn_inverted(classifier, maps.names, maps.images, invert)
    logits = maps.logits
    if dense:
        # A large picture may show several things: what counts is the place where each is clearest.
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
    say(f"{row['file']}: {row['predicted']} {row['probability']:.3f}; the maps over it: {row['picture']}")
    width = max(len(each["label"]) for each in row["classes"])
    for each in row["classes"]:
        x, y = each["strongest_at"]
        say(
            f"  {each['label']:{width}}  logit {each['logit']:6.2f}  for it {each['evidence_for']:.2f}, "
            f"against it {-each['evidence_against'] or 0:.2f}; strongest at x {x:.0f}, y {y:.0f}"
        )


def _figure(classifier: "Classifier", data_dir: Path | None, out: Path) -> tuple[Path, bool]:
    """The paper's figure, and whether its maps have one position only."""
    import numpy as np

    from mlpconv.drawing.plots import png
    from mlpconv.explain.figures import paper_figure
    from mlpconv.jobs.run_data import reload_run_data

    name = classifier.stored.data
    if not name:
        raise DataError(
            f"{classifier.path}: does not say what it was trained on, so there are no test images; give some"
        )
    with Download() as progress:
        test = reload_run_data(name, classifier, directory=data_dir, progress=progress).test
    firsts = [np.flatnonzero(test.labels == label)[:1] for label in range(min(test.num_classes, 10))]
    chosen = test.subset(np.concatenate(firsts))
    maps = classifier.class_maps(chosen.images)
    path = out / "figure.png"
    classes = range(len(firsts))
    write_file(path, png(paper_figure(maps, chosen.labels, classes)), "--out")
    return path, maps.before.shape[2:] == (1, 1)
