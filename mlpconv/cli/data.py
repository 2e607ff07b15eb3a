"""``mlpconv data``: list, download, show and check data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option, Typer

from mlpconv.arch.preprocess import FITS, MAX_PIXELS
from mlpconv.cli.options import MAX_PIXELS_HELP, DataDir
from mlpconv.cli.output import (
    Column,
    Download,
    Json,
    advise_fonts,
    next_steps,
    paragraph,
    print_json,
    say,
    table,
    warn,
    write_file,
)
from mlpconv.errors import DataError
from mlpconv.formatting import format_bytes, format_number

if TYPE_CHECKING:
    from mlpconv.arch.preprocess import Preprocess
    from mlpconv.data import ImageDataset, Location
    from mlpconv.data.folders.folder import FolderOptions, Loaded

app = Typer(help="List, download, show and check data sets.", no_args_is_help=True)

MAX_LISTED_CLASSES = 50
MAX_LISTED_FILES = 20

MAX_LISTED_OF_A_KIND = 3
"""Number of skipped files that are printed of each kind."""

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
    name: Annotated[
        str,
        Argument(metavar="NAME", help="A data set listed by `mlpconv data list`, a folder of images or a CSV file."),
    ],
    out: Annotated[
        Path | None,
        Option(metavar="FILE", help="PNG file to write.  [default: NAME.png or DIR-samples.png]", show_default=False),
    ] = None,
    split: Annotated[str, Option(help="Split: train, test or, of a folder, validation.")] = "train",
    seed: Annotated[int, Option(min=0, help="Seed for the choice of images.")] = 0,
    data_dir: DataDir = None,
) -> None:
    """Draw samples of each class with their names, as a PNG file.

    Example: mlpconv data show fashion-mnist
    """
    from mlpconv.data import dataset_source, load_dataset, sample_sheet
    from mlpconv.drawing.plots import png
    from mlpconv.jobs.run_data import is_folder, shadowed_folder

    if split not in ("train", "test", "validation"):
        raise DataError(f"--split {split}: expected train, test or validation")
    if is_folder(name):
        if data_dir is not None:
            raise DataError(f"{name}: is a folder itself; leave --data-dir {data_dir} out")
        dataset, path = _folder_split(Path(name).expanduser(), split), out or _sheet_path(Path(name))
    else:
        if split == "validation":
            raise DataError(f"--split validation: {name} has test and train; only folders have validation images")
        source = dataset_source(name)
        with Download() as progress:
            splits = load_dataset(source, directory=data_dir, progress=progress)
        if note := shadowed_folder(name):
            warn(note)
        dataset, path = splits.train if split == "train" else splits.test, out or Path(f"{name}.png")
    write_file(path, png(sample_sheet(dataset, seed=seed), "figure"), "--out")
    advise_fonts(dataset.class_names)
    say(str(path))


def _folder_split(directory: Path, split: str) -> "ImageDataset":
    """The images of a split of a folder, at the size of training."""
    from mlpconv.data.folders.folder import NO_OPTIONS

    loaded, _, _ = _load_folder(directory, NO_OPTIONS, None, "squash")
    dataset = {"train": loaded.splits.train, "test": loaded.splits.test, "validation": loaded.validation}[split]
    if dataset is None:
        raise DataError(f"--split validation: {loaded.folder.name} has no validation images, only train and test")
    if count := len(loaded.problems):
        warn(
            f"{format_number(count, 'file or folder was', 'files or folders were')} skipped; mlpconv data check "
            f"{directory} says why"
        )
    return dataset


def _load_folder(
    directory: Path, options: "FolderOptions", image_size: int | None, fit: str
) -> "tuple[Loaded, Preprocess, str]":
    """The images of a folder, how they were decoded, and the network that training would choose for them."""
    from mlpconv.data.folders.folder import scan_folder
    from mlpconv.jobs.run_data import FOLDER, choose_for_folder
    from mlpconv.training.automatic import Wishes
    from mlpconv.training.recipes import PHOTOS, get_recipe

    with Download() as progress:
        folder = scan_folder(directory, options=options, progress=progress)
        recipe, side, _ = choose_for_folder(get_recipe(FOLDER), folder, Wishes(get_recipe(PHOTOS)))
        preprocess = folder.preprocess(image_size or side, fit)
        return folder.load(preprocess, progress), preprocess, f"{recipe.model} at {side}×{side}"


def _sheet_path(directory: Path) -> Path:
    return Path(f"{directory.expanduser().resolve().stem}-samples.png")


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
    fit: Annotated[str, Option(help=f"How to make images square: {', '.join(FITS[:-1])} or {FITS[-1]}.")] = "squash",
    strict: Annotated[bool, Option("--strict", help="Fail if any file cannot be used.")] = False,
    follow_links: Annotated[
        bool, Option("--follow-links", help="Follow symbolic links that point outside the folder.")
    ] = False,
    max_pixels: Annotated[int, Option(min=1, max=(1 << 31) - 1, help=MAX_PIXELS_HELP, show_default=False)] = MAX_PIXELS,
    cleaned: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write a list of the usable images, with one of each group of copies, to this .csv file for --data.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Check your own images before training: counts, sizes, unreadable files, copies, class balance, samples.

    Every image is decoded into the cache that training reads from.

    Example: mlpconv data check photos --cleaned photos.csv
    """
    from mlpconv.data import sample_sheet
    from mlpconv.data.folders.check import check as check_folder
    from mlpconv.data.folders.cleaned import cleaned_list
    from mlpconv.data.folders.folder import FolderOptions
    from mlpconv.drawing.plots import png

    if fit not in FITS:
        raise DataError(f"--fit {fit}: expected {', '.join(FITS[:-1])} or {FITS[-1]}")
    if cleaned is not None and cleaned.suffix != ".csv":
        raise DataError(f"--cleaned {cleaned}: expected a name that ends in .csv")
    options = FolderOptions(strict, follow_links, max_pixels)
    loaded, preprocess, chosen = _load_folder(directory, options, image_size, fit)
    report = check_folder(loaded, preprocess, chosen)
    path = out or _sheet_path(directory)
    write_file(path, png(sample_sheet(loaded.splits.train), "figure"), "--out")
    advise_fonts(loaded.folder.class_names)
    rest = None
    if cleaned is not None:
        rest = cleaned_list(loaded, cleaned.absolute().parent)
        write_file(cleaned, rest.content, "--cleaned")
    if json:
        written = None if rest is None else {"path": str(cleaned), "images": rest.images, "copies": rest.copies}
        print_json(report | {"sheet": str(path), "cleaned": written})
        return
    _print_check(report)
    say(f"\nsamples: {path}")
    if rest is not None:
        copies = format_number(rest.copies, "copy is", "copies are")
        say(f"cleaned list: {cleaned}, with {format_number(rest.images, 'image')}; {copies} left out")
    source = directory if rest is None else cleaned
    next_steps((f"mlpconv train --data {source}", f"train {report['chosen']} on it"))


def _print_check(report: dict[str, Any]) -> None:
    from mlpconv.data.folders.conflicts import Conflict, in_words

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
    _print_skipped(report)
    for key, lines in (
        ("duplicate", [" = ".join(each["files"]) for each in report["duplicates"]]),
        ("near copy", [" ≈ ".join(each["files"]) for each in report["near_copies"]]),
        ("conflict", [in_words(Conflict(**each)) for each in report["conflicts"]]),
    ):
        for line in lines[:MAX_LISTED_FILES]:
            say(f"{key:<9} {line}")
        if len(lines) > MAX_LISTED_FILES:
            say(f"          … and {len(lines) - MAX_LISTED_FILES:,} more; --json lists all")
    for line in report["warnings"]:
        warn(f"warning   {line}")


def _print_skipped(report: dict[str, Any]) -> None:
    """Print the skipped files by kind, with what to do about each kind."""
    for number, kind in enumerate(report["skipped_kinds"]):
        start = f"{'' if number else 'skipped':<10}"
        paragraph(f"{kind['kind']} ({kind['count']:,}): {kind['remedy']}", first=start, indent=10)
        files = [each for each in report["skipped"] if each["kind"] == kind["kind"]]
        for each in files[:MAX_LISTED_OF_A_KIND]:
            say(f"            {each['path']}: {each['reason']}")
        if (more := len(files) - MAX_LISTED_OF_A_KIND) > 0:
            say(f"            … and {more:,} more; --json lists all")


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
