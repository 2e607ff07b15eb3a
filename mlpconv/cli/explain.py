"""``mlpconv explain``: the evidence for each class and its position in the image."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mlpconv.cli.inverted import warn_if_inverted
from mlpconv.cli.options import AnyClassifier, Backend, DataDir, Device, Invert, MaxPixels, Precision
from mlpconv.cli.output import (
    Download,
    Json,
    advise_fonts,
    make_directory,
    next_steps,
    print_json,
    say,
    warn,
    write_file,
)
from mlpconv.errors import DataError, MlpconvError, unknown

_OTHER_FIGURES = (".jpg", ".jpeg", ".svg", ".pdf", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".eps")

if TYPE_CHECKING:
    from mlpconv.explain.class_maps import ClassMaps
    from mlpconv.inference.classifier import Classifier


def explain(
    run: AnyClassifier,
    images: Annotated[list[str] | None, Argument(metavar="IMAGE", help="Image files of any format and size.")] = None,
    class_: Annotated[
        list[str] | None,
        Option("--class", metavar="NAME", help="A class to show the map of, besides the top ones; repeatable."),
    ] = None,
    against: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="A class to compare with: its map is subtracted from that of each --class, or of the top other class.",
        ),
    ] = None,
    top: Annotated[int, Option(min=1, help="Number of top predicted classes to show maps for.")] = 3,
    dense: Annotated[bool, Option("--dense", help="Do not resize images: a large image gives a large map.")] = False,
    figure: Annotated[
        bool,
        Option("--figure", help="Draw the paper's figure: the maps of all classes for one test image of each class."),
    ] = False,
    invert: Invert = False,
    data_dir: DataDir = None,
    out: Annotated[
        Path, Option(help="Directory for the figures; or, for a single figure, a file whose name ends in .png.")
    ] = Path("class-maps"),
    backend: Backend = None,
    device: Device = None,
    precision: Precision = None,
    max_pixels: MaxPixels = None,
    json: Json = False,
) -> None:
    """Show what a network sees: class maps drawn over each image, whose means are the logits.

    Example: mlpconv explain latest shirt.jpg
    """
    from mlpconv.arch.class_maps import single_position
    from mlpconv.backends import allocator
    from mlpconv.inference.classifier import Classifier

    if not images and not figure:
        raise DataError("explain: no image given; give image files, or --figure for images of the test set")
    if against is not None and not images:
        raise DataError("--against: no image given; give image files whose maps are to be compared")
    if against is not None and against in (class_ or []):
        raise MlpconvError(f"--against: {against!r} is also given with --class; choose two different classes")
    allocator.keep_memory()
    classifier = Classifier(run, backend=backend, device=device, precision=precision, max_pixels=max_pixels)
    names = classifier.class_names
    chosen = [_number(names, name, "--class") for name in class_ or []]
    other = None if against is None else _number(names, against, "--against")
    if other is not None and len(names) == 1:
        raise MlpconvError(
            f"--against: {against!r} is the only class of {classifier.path}; there is none to compare it with"
        )
    single_file = _single_file(out, len(images or []) + figure)
    make_directory(out.parent if single_file else out, "--out")
    explained: list[dict[str, Any]] = []
    for image in images or []:
        path = out if single_file else _unused_path(out, image, [row["picture"] for row in explained])
        maps = classifier.class_maps(image, dense=dense, invert=invert)
        warn_if_inverted(classifier, _inverted(classifier, maps), invert)
        explained.append(_explain(maps, image, chosen, other, top, dense, path))
    figure_path = _figure(classifier, data_dir, out if single_file else out / "figure.png") if figure else None
    advise_fonts(names)
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
        steps = [
            (f"mlpconv explain {run} --figure", "the paper's figure: the maps of all classes side by side"),
            (f"mlpconv explain {run} IMAGE --dense", "find the classes in a large image"),
            (f"mlpconv explain {run} IMAGE --against CLASS", "why this class and not that one"),
        ]
        if single:  # trained at one position, it does not find places in larger images either
            del steps[1]
        next_steps(*steps)


def _single_file(out: Path, figures: int) -> bool:
    """Whether ``--out`` names the file of the only figure, not a directory.

    Raises:
        DataError: It names a file, but there are more figures, or figures of that type are not written.
    """
    suffix = out.suffix.lower()
    if out.is_dir() or suffix not in (".png", *_OTHER_FIGURES):
        return False
    if suffix != ".png":
        raise DataError(f"--out {out}: figures are written as PNG; give a name that ends in .png, or a directory")
    if figures > 1:
        raise DataError(f"--out {out}: names one file, but there are {figures} figures; give a directory")
    return True


def _unused_path(out: Path, image: str, used: list[str]) -> Path:
    """The file for the maps of an image: its name, with a number if another image of this call has the same name."""
    stem, number = Path(image).stem, 1
    while (path := out / (f"{stem}.png" if number == 1 else f"{stem}-{number}.png")) and str(path) in used:
        number += 1
    return path


def _number(names: Sequence[str], name: str, option: str) -> int:
    if name not in names:
        raise MlpconvError(f"{option}: {unknown('class', name, names)}")
    return names.index(name)


def _explain(
    maps: "ClassMaps", file: str, chosen: list[int], against: int | None, top: int, dense: bool, path: Path
) -> dict[str, Any]:
    import numpy as np

    from mlpconv.drawing.plots import png
    from mlpconv.explain.figures import overlay_figure
    from mlpconv.training.metrics import softmax

    logits = maps.logits
    if dense:
        # A large image may show several objects: use the position where the evidence is strongest.
        row, column = np.unravel_index(maps.before[0].max(axis=0).argmax(), maps.before.shape[2:])
        logits = maps.before[:, :, row, column]
    scores = maps.before[0].max(axis=(1, 2)) if dense else logits[0]
    order = [int(label) for label in np.argsort(-scores, kind="stable")]
    classes = list(dict.fromkeys(order[:top] + chosen))
    pairs: list[tuple[int, int]] = []
    if against is not None:
        compared = chosen or [next(label for label in order if label != against)]
        pairs = [(label, against) for label in dict.fromkeys(compared)]
        classes = list(dict.fromkeys([*classes, *compared, against]))
    write_file(path, png(overlay_figure(maps, 0, classes, pairs)), "--out")
    return {
        "file": file,
        "predicted": maps.class_names[order[0]],
        "probability": float(softmax(logits)[0, order[0]]),
        "image_size": list(maps.images.shape[1:3]),
        "map_size": list(maps.before.shape[2:]),
        "receptive_field": list(maps.receptive_field) if maps.receptive_field else None,
        "classes": [_row(maps, label) for label in classes],
        "differences": [_difference(maps, *pair) for pair in pairs],
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

    from mlpconv.explain.class_maps import strongest

    values = maps.before[0, label]
    return {
        "label": maps.class_names[label],
        "logit": float(maps.logits[0, label]),
        "evidence_for": float(np.maximum(values, 0).mean()),
        "evidence_against": float(np.minimum(values, 0).mean()),
        "strongest_at": list(maps.place(*strongest(values))),
    }


def _difference(maps: "ClassMaps", label: int, against: int) -> dict[str, Any]:
    """The map of one class minus that of another: its mean, and the strongest place for either class, if any."""
    from mlpconv.explain.class_maps import strongest

    values = maps.difference(label, against)[0]

    def place(sign: int) -> dict[str, Any] | None:
        at = strongest(sign * values)
        if sign * values[at] <= 0:
            return None
        return {"at": list(maps.place(*at)), "value": float(values[at])}

    return {
        "label": maps.class_names[label],
        "against": maps.class_names[against],
        "logit_difference": float(values.mean()),
        "strongest_for": place(1),
        "strongest_against": place(-1),
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
    for each in row["differences"]:
        line = f"  {each['label']} − {each['against']}: logits differ by {each['logit_difference']:+.2f}"
        if row["map_size"] != [1, 1]:
            line += "".join(
                _strongest(each[name], each[key])
                for name, key in (("label", "strongest_for"), ("against", "strongest_against"))
            )
        say(line)


def _strongest(label: str, place: dict[str, Any] | None) -> str:
    if place is None:
        return f"; nowhere for {label}"
    x, y = place["at"]
    return f"; strongest for {label} at x {x:.0f}, y {y:.0f} ({place['value']:+.2f})"


def _figure(classifier: "Classifier", data_dir: Path | None, path: Path) -> Path:
    """Draw the paper's figure; returns ``path``."""
    import numpy as np

    from mlpconv.drawing.plots import png
    from mlpconv.explain.figures import paper_figure
    from mlpconv.jobs.run_data import reload_run_data

    if not classifier.stored.data:
        raise DataError(
            f"{classifier.path}: does not record what it was trained on, so there are no test images; give image files"
        )
    with Download() as progress:
        loaded = reload_run_data(classifier, directory=data_dir, progress=progress)
    for note in loaded.notes:
        warn(note)
    test = loaded.dataset
    firsts = [np.flatnonzero(test.labels == label)[:1] for label in range(min(test.num_classes, 10))]
    chosen = test.subset(np.concatenate(firsts))
    maps = classifier.class_maps(chosen.images)
    classes = range(len(firsts))
    write_file(path, png(paper_figure(maps, chosen.labels, classes)), "--out")
    return path
