"""``mlpconv data``: the known data sets, where they are here, and what they look like."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from mlpconv.cli.output import Column, Download, Json, next_steps, print_json, say, table, warn, write_file
from mlpconv.errors import DataError
from mlpconv.formatting import format_bytes

if TYPE_CHECKING:
    from mlpconv.data import Location

app = Typer(help="Data sets: list them, get them, show and check what is in them.", no_args_is_help=True)

_MOST_CLASSES, _MOST_LINES = 50, 20

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
                    "name": source.name,
                    "title": source.title,
                    "train": source.counts[0],
                    "test": source.counts[1],
                    "image_shape": _channels_first(source.image_shape),
                    "class_names": source.class_names,
                    "licence": source.licence,
                    "citation": source.citation,
                    "path": place and str(place.path),
                    "origin": place and place.origin,
                }
                for source, place in found
            ]
        )
        return
    columns = [
        Column("name"),
        Column("train", True),
        Column("test", True),
        Column("image"),
        Column("classes", True),
        Column("what and where"),
    ]
    rows = [
        [
            source.name,
            f"{source.counts[0]:,}",
            f"{source.counts[1]:,}",
            show(_channels_first(source.image_shape)),
            str(len(source.class_names)),
            f"{source.title}; licence: {source.licence}; {_where(source.name, place)}",
        ]
        for source, place in found
    ]
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


@app.command()
def check(
    directory: Annotated[Path, Argument(metavar="DIR", help="A folder of images, or a CSV file of path and label.")],
    out: Annotated[
        Path | None, Option(metavar="FILE", help="The sample sheet.  [default: DIR-samples.png]", show_default=False)
    ] = None,
    image_size: Annotated[int | None, Option(min=1, help="The side in pixels that training will take.")] = None,
    fit: Annotated[str, Option(help="squash, crop or pad: how images become square.")] = "squash",
    strict: Annotated[bool, Option("--strict", help="Fail where anything in it cannot be used.")] = False,
    follow_links: Annotated[bool, Option("--follow-links", help="Also links that lead out of the folder.")] = False,
    json: Json = False,
) -> None:
    """Look at your own images before training: counts, sizes, what is unreadable, duplicate or uneven; a sample sheet.

    Every image is decoded, into the cache from which training will take it.

    Example: mlpconv data check photos
    """
    import io

    from mlpconv.data import sample_sheet
    from mlpconv.data.folders.check import check as look
    from mlpconv.data.folders.folder import scan_folder
    from mlpconv.training.automatic import choose_model

    if fit not in ("squash", "crop", "pad"):
        raise DataError(f"--fit {fit}: images become square by squash, crop or pad")
    with Download() as progress:
        folder = scan_folder(directory, strict=strict, follow_links=follow_links, progress=progress)
        choice = choose_model(folder.typical_side)
        preprocess = folder.preprocess(image_size or choice.image_size, fit)
        loaded = folder.load(preprocess, progress)
    report = look(loaded, preprocess, f"{choice.model} at {choice.image_size}×{choice.image_size}")
    picture = io.BytesIO()
    sample_sheet(loaded.splits.train).savefig(picture, format="png")
    path = out or Path(f"{directory.resolve().stem}-samples.png")
    write_file(path, picture.getvalue(), "--out")
    if json:
        print_json(report | {"sheet": str(path)})
        return
    _print_check(report)
    say(f"\nsamples: {path}")
    next_steps((f"mlpconv train --data {directory}", f"train {report['chosen']} on it"))


def _print_check(report: dict[str, Any]) -> None:
    splits = [split for split, count in report["images"].items() if count]
    say(f"{report['path']}: {sum(report['images'].values()):,} images ({report['layout']})\n")
    columns = [Column("class"), *(Column(split, True) for split in splits)]
    rows = [[each["name"], *(f"{each[split]:,}" for split in splits)] for each in report["classes"][:_MOST_CLASSES]]
    table(columns, [*rows, ["all", *(f"{report['images'][split]:,}" for split in splits)]], total=True)
    if len(report["classes"]) > _MOST_CLASSES:
        say(f"… {len(report['classes']):,} classes in all; --json lists them")
    sizes = report["sizes"]
    low, high = ("×".join(map(str, sizes[key])) for key in ("smallest", "largest"))
    say(
        f"\nsizes     {low} to {high} (height×width), typically {sizes['typical_side']} pixels"
        if low != high
        else f"\nsizes     all {low}"
    )
    say(f"modes     {', '.join(f'{mode} {count:,}' for mode, count in report['modes'].items())}")
    for note in report["notes"]:
        say(f"note      {note}")
    for key, lines in (
        ("skipped", [f"{each['path']}: {each['reason']}" for each in report["skipped"]]),
        ("twice", [" = ".join(each["files"]) for each in report["duplicates"]]),
    ):
        for line in lines[:_MOST_LINES]:
            say(f"{key:<10}{line}")
        if len(lines) > _MOST_LINES:
            say(f"          … and {len(lines) - _MOST_LINES:,} more; --json lists them")
    for line in report["warnings"]:
        warn(f"warning   {line}")


@app.command()
def clean(
    dry_run: Annotated[bool, Option("--dry-run", help="Say what would be removed.")] = False,
    json: Json = False,
) -> None:
    """Remove the decoded images of folders from the cache. Nothing is lost: the next training decodes them anew.

    Example: mlpconv data clean
    """
    from mlpconv.data.folders.cache import clean as remove
    from mlpconv.data.folders.cache import entries, folders_directory

    found = entries() if dry_run else remove()
    total = sum(entry.bytes for entry in found)
    if json:
        rows = [{"path": str(entry.path), "bytes": entry.bytes} for entry in found]
        print_json({"removed": not dry_run, "entries": rows, "bytes": total})
        return
    for entry in found:
        say(f"{entry.path}  {format_bytes(entry.bytes)}")
    did = "would be freed" if dry_run else "freed"
    say(f"{format_bytes(total)} {did} in {folders_directory()}")
