"""``mlpconv data``: the known data sets, where they are here, and what they look like."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option, Typer

from mlpconv.cli.output import Column, Download, Json, next_steps, print_json, say, table, write_file
from mlpconv.errors import DataError

if TYPE_CHECKING:
    from mlpconv.data import Location

app = Typer(help="Data sets: list them, get them, show what is in them.", no_args_is_help=True)

Name = Annotated[str, Argument(metavar="NAME", help="A data set of `mlpconv data list`.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the known data sets and where they are on this machine. Nothing is downloaded.

    Example: mlpconv data list
    """
    from mlpconv.arch.shapes import show
    from mlpconv.data import dataset_source, find_dataset, list_datasets

    found = [(dataset_source(name), find_dataset(name)) for name in list_datasets()]
    if json:
        print_json(
            [
                {
                    "name": source.name, "title": source.title, "train": source.counts[0], "test": source.counts[1],
                    "image_shape": _channels_first(source.image_shape), "class_names": source.class_names,
                    "licence": source.licence, "citation": source.citation, "path": place and str(place.path),
                    "origin": place and place.origin,
                }
                for source, place in found
            ]
        )  # fmt: skip
        return
    columns = [
        Column("name"), Column("train", True), Column("test", True), Column("image"), Column("classes", True),
        Column("licence"), Column("what and where"),
    ]  # fmt: skip
    rows = [
        [
            source.name, f"{source.counts[0]:,}", f"{source.counts[1]:,}", show(_channels_first(source.image_shape)),
            str(len(source.class_names)), source.licence,
            f"{source.title}; {_where(source.name, place)}",
        ]
        for source, place in found
    ]  # fmt: skip
    table(columns, rows, flowing=True)
    next_steps(
        ("mlpconv data show fashion-mnist", "a picture of samples from each class"),
        ("mlpconv train --data digits", "train on one; what is not here is fetched"),
    )


def _channels_first(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    height, width, channels = shape
    return channels, height, width


def _where(name: str, place: "Location | None") -> str:
    return f"in {place.path} ({place.origin})" if place else f"not here: {remedy(name)}"


def remedy(name: str) -> str:
    """How one comes by a data set that is not here."""
    from mlpconv.data import dataset_source

    source = dataset_source(name)
    return f'pip install "mlpconv[{source.extra}]"' if source.extra else f"mlpconv data get {name}"


@app.command()
def get(
    name: Name,
    directory: Annotated[
        Path | None, Option(help="Put the files into this directory (in one of the data set's name), not the cache.")
    ] = None,
    json: Json = False,
) -> None:
    """Make sure that a data set is on this machine, whole and verified; fetch it where it is not.

    Example: mlpconv data get fashion-mnist
    """
    from mlpconv.data import get_dataset

    with Download() as progress:
        place = get_dataset(name, into=directory, progress=progress)
    if json:
        print_json({"name": name, "path": str(place.path), "origin": place.origin})
        return
    say(f"{name}: whole and verified in {place.path}, from {place.origin}")
    option = f" --data-dir {directory}" if directory else ""
    next_steps((f"mlpconv train --data {name}{option}", "train on it"))


@app.command()
def show(
    name: Name,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="The picture.  [default: NAME.png]", show_default=False)
    ] = None,
    split: Annotated[str, Option(help="train or test.")] = "train",
    seed: Annotated[int, Option(min=0, help="Chooses the images.")] = 0,
    data_dir: Annotated[Path | None, Option(help="The directory that holds the data set's files.")] = None,
) -> None:
    """Draw samples of each class with its name, as a PNG.

    Example: mlpconv data show fashion-mnist
    """
    import io

    from mlpconv.data import dataset_source, load_dataset, sample_sheet

    if split not in ("train", "test"):
        raise DataError(f"--split {split}: a data set has the splits train and test")
    source = dataset_source(name)
    with Download() as progress:
        splits = load_dataset(source, directory=data_dir, progress=progress)
    picture = io.BytesIO()
    sample_sheet(splits.train if split == "train" else splits.test, seed=seed).savefig(picture, format="png")
    path = out or Path(f"{name}.png")
    write_file(path, picture.getvalue(), "--out")
    say(str(path))
