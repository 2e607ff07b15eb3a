"""``mlpconv data``: list, download, show and check data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from mlpconv.arch.preprocess import MAX_PIXELS
from mlpconv.cli.options import MAX_PIXELS_HELP, DataDir
from mlpconv.cli.output import (
    Column,
    Download,
    Json,
    advise_fonts,
    next_steps,
    print_json,
    say,
    table,
    warn,
    write_file,
)
from mlpconv.errors import DataError
from mlpconv.formatting import format_bytes

if TYPE_CHECKING:
    from mlpconv.data import Location

app = Typer(help="List, download, show and check data sets.", no_args_is_help=True)

MAX_LISTED_CLASSES = 50
MAX_LISTED_FILES = 20

Name = Annotated[str, Argument(metavar="NAME", help="A data set listed by `mlpconv data list`.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """List the known data sets and their location on this machine, without downloading anything.

    Example: mlpconv data list
    """
    from mlpconv.arch.shapes import show
    from mlpconv.data import dataset_source, find_dataset, list_datasets

    sources = [(dataset_source(name), find_dataset(name)) for name in list_datasets()]
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
                    "path": location and str(location.path),
                    "origin": location and location.origin,
                }
                for source, location in sources
            ]
        )
        return
    columns = [
        Column("name"),
        Column("train", True),
        Column("test", True),
        Column("image"),
        Column("classes", True),
        Column("title, license and location"),
    ]
    rows = [
        [
            source.name,
            f"{source.counts[0]:,}",
            f"{source.counts[1]:,}",
            show(_channels_first(source.image_shape)),
            str(len(source.class_names)),
            f"{source.title}; license: {source.licence}; {_location(source.name, location)}",
        ]
        for source, location in sources
    ]
    table(columns, rows, flowing=True)
    next_steps(
        ("mlpconv data show fashion-mnist", "draw samples of each class"),
        ("mlpconv train --data digits", "train on a data set, downloading it if needed"),
    )


def _channels_first(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    height, width, channels = shape
    return channels, height, width


def _location(name: str, location: "Location | None") -> str:
    return f"in {location.path} ({location.origin})" if location else f"not here: {install_command(name)}"


def install_command(name: str) -> str:
    """The command to run to get a data set."""
    from mlpconv.data import dataset_source

    source = dataset_source(name)
    return f'pip install "mlpconv[{source.extra}]"' if source.extra else f"mlpconv data get {name}"


@app.command()
def get(
    name: Name,
    directory: Annotated[
        Path | None,
        Option(help="Directory to store the data set in, in a subdirectory of its name; by default the cache."),
    ] = None,
    json: Json = False,
) -> None:
    """Make sure that a data set is on this machine and verified; download it if necessary.

    Example: mlpconv data get fashion-mnist
    """
    from mlpconv.data import get_dataset

    with Download() as progress:
        location = get_dataset(name, into=directory, progress=progress)
    if json:
        print_json({"name": name, "path": str(location.path), "origin": location.origin})
        return
    say(f"{name}: complete and verified in {location.path}, from {location.origin}")
    option = f" --data-dir {directory}" if directory else ""
    next_steps((f"mlpconv train --data {name}{option}", "train on it"))


@app.command()
def show(
    name: Name,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="PNG file to write.  [default: NAME.png]", show_default=False)
    ] = None,
    split: Annotated[str, Option(help="Split of the data set: train or test.")] = "train",
    seed: Annotated[int, Option(min=0, help="Seed for the choice of images.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Draw samples of each class with their names, as a PNG file.

    Example: mlpconv data show fashion-mnist
    """
    from mlpconv.data import dataset_source, load_dataset, sample_sheet
    from mlpconv.drawing.plots import png

    if split not in ("train", "test"):
        raise DataError(f"--split {split}: expected train or test")
    source = dataset_source(name)
    with Download() as progress:
        splits = load_dataset(source, directory=data_dir, progress=progress)
    dataset = splits.train if split == "train" else splits.test
    path = out or Path(f"{name}.png")
    write_file(path, png(sample_sheet(dataset, seed=seed), "figure"), "--out")
    advise_fonts(dataset.class_names)
    say(str(path))


@app.command()
def check(
    directory: Annotated[Path, Argument(metavar="DIR", help="A folder of images, or a CSV file of path and label.")],
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="PNG file for samples.  [default: DIR-samples.png]", show_default=False),
    ] = None,
    image_size: Annotated[
        int | None, Option(min=1, help="Side in pixels to resize images to; by default what training would choose.")
    ] = None,
    fit: Annotated[str, Option(help="How to make images square: squash, crop or pad.")] = "squash",
    strict: Annotated[bool, Option("--strict", help="Fail if any file cannot be used.")] = False,
    follow_links: Annotated[
        bool, Option("--follow-links", help="Follow symbolic links that point outside the folder.")
    ] = False,
    max_pixels: Annotated[int, Option(min=1, max=(1 << 31) - 1, help=MAX_PIXELS_HELP, show_default=False)] = MAX_PIXELS,
    json: Json = False,
) -> None:
    """Check your own images before training: counts, sizes, unreadable files, duplicates, class balance, samples.

    Every image is decoded into the cache that training reads from.

    Example: mlpconv data check photos
    """
    from mlpconv.data import sample_sheet
    from mlpconv.data.folders.check import check as check_folder
    from mlpconv.data.folders.folder import FolderOptions, scan_folder
    from mlpconv.drawing.plots import png
    from mlpconv.training.automatic import choose_model

    if fit not in ("squash", "crop", "pad"):
        raise DataError(f"--fit {fit}: expected squash, crop or pad")
    with Download() as progress:
        folder = scan_folder(directory, options=FolderOptions(strict, follow_links, max_pixels), progress=progress)
        choice = choose_model(folder.typical_side)
        preprocess = folder.preprocess(image_size or choice.image_size, fit)
        loaded = folder.load(preprocess, progress)
    report = check_folder(loaded, preprocess, f"{choice.model} at {choice.image_size}×{choice.image_size}")
    path = out or Path(f"{directory.resolve().stem}-samples.png")
    write_file(path, png(sample_sheet(loaded.splits.train), "figure"), "--out")
    advise_fonts(folder.class_names)
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
    rows = [
        [each["name"], *(f"{each[split]:,}" for split in splits)] for each in report["classes"][:MAX_LISTED_CLASSES]
    ]
    table(columns, [*rows, ["all", *(f"{report['images'][split]:,}" for split in splits)]], total=True)
    if len(report["classes"]) > MAX_LISTED_CLASSES:
        say(f"… {len(report['classes']):,} classes in total; --json lists all")
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
        ("duplicate", [" = ".join(each["files"]) for each in report["duplicates"]]),
    ):
        for line in lines[:MAX_LISTED_FILES]:
            say(f"{key:<9} {line}")
        if len(lines) > MAX_LISTED_FILES:
            say(f"          … and {len(lines) - MAX_LISTED_FILES:,} more; --json lists all")
    for line in report["warnings"]:
        warn(f"warning   {line}")


@app.command()
def clean(
    dry_run: Annotated[bool, Option("--dry-run", help="Print what would be removed, and remove nothing.")] = False,
    json: Json = False,
) -> None:
    """Remove the decoded images of folders from the cache; the next training decodes them again.

    Example: mlpconv data clean
    """
    from mlpconv.data.folders.cache import clean as remove
    from mlpconv.data.folders.cache import entries, folders_directory

    removed = entries() if dry_run else remove()
    total = sum(entry.bytes for entry in removed)
    if json:
        rows = [{"path": str(entry.path), "bytes": entry.bytes} for entry in removed]
        print_json({"removed": not dry_run, "entries": rows, "bytes": total})
        return
    for entry in removed:
        say(f"{entry.path}  {format_bytes(entry.bytes)}")
    say(f"{format_bytes(total)} {'would be freed' if dry_run else 'freed'} in {folders_directory()}")
