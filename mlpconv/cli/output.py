"""Output of the commands: tables and text or JSON on standard output, progress and warnings on standard error."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mlpconv.errors import MlpconvError
from mlpconv.formatting import json_text
from mlpconv.hardware import started_threads

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines; its schema is in docs/json.")]


@cache
def out() -> "Console":
    """The console for standard output; plain text if that is not a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@cache
def err() -> "Console":
    """The console for standard error: progress and warnings, so that standard output holds only the result."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def has_progress_bars() -> bool:
    """Whether progress bars are shown: on a terminal, if the thread that draws them can be started."""
    return err().is_terminal and started_threads(1) == 1


def say(text: str = "", *, style: str | None = None) -> None:
    """Print text on standard output, unchanged: brackets are not markup."""
    out().print(text, style=style, markup=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err().print(text, style="yellow", markup=False)


def advise_fonts(names: Iterable[str]) -> None:
    """Say on standard error which font to install, if a figure shows these names and no font has their characters."""
    from mlpconv.drawing.fonts import font_advice

    if advice := font_advice(names):
        warn(advice)


def print_progress(line: str) -> None:
    """Print a line of progress on standard error."""
    err().print(line, markup=False)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print a value as JSON on standard output."""
    print(json_text(value, indent), flush=True)


class Column(NamedTuple):
    """A column of a table."""

    title: str
    right: bool = False
    """Whether the cells are aligned to the right."""
    leave_out: int = 0
    """Where not all columns fit, those with the highest number are left out first; 0 is always shown."""


MIN_FLOWING_WIDTH = 40
"""Running text with less space than this next to its row is printed below the row."""


def width() -> int | None:
    """The width of the terminal, or COLUMNS from the environment; None if the width is unlimited, as in a file."""
    if out().is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return out().width
    return None


# Not rich.table: in a pipe it cuts a table at 80 columns and pads each line with spaces; in a narrow terminal it breaks
# words, paths and commands, where whole columns can be left out instead.
def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    total: bool = False,
    flowing: bool = False,
    indent: int = 0,
) -> None:
    """Print a table; columns that do not fit are left out and named below.

    Args:
        columns: Titles, alignment, and the order in which columns are left out.
        rows: The cells of each row.
        total: Whether the last row is the sum of the others, below a rule.
        flowing: Whether the last column is running text, which is wrapped, or printed below its row where
            the terminal is narrow.
        indent: Spaces before each line.
    """
    from rich.cells import cell_len

    sizes = [max(map(cell_len, texts)) for texts in zip([c.title for c in columns], *rows, strict=True)]
    last, available = len(columns) - 1, width()
    kept = _fitting(columns, sizes[:-1] if flowing else sizes, available and available - indent)
    text_start = indent + sum(sizes[k] + 2 for k in kept)
    text_in_row = flowing and (available is None or available - text_start >= MIN_FLOWING_WIDTH)

    def line(texts: Sequence[str]) -> str:
        cells = []
        for k in kept:
            space = " " * (sizes[k] - cell_len(texts[k]))
            cells.append(space + texts[k] if columns[k].right else texts[k] + space)
        return " " * indent + "  ".join(cells)

    titles = line([column.title for column in columns]) + (f"  {columns[last].title}" if text_in_row else "")
    end = (available or text_start + sizes[last]) if text_in_row else text_start - 2
    rule = " " * indent + "─" * (end - indent)
    say(titles.rstrip())
    for index, row in enumerate(rows):
        if index == 0 or (total and index == len(rows) - 1):
            say(rule)
        if text_in_row:
            paragraph(row[last], first=line(row) + "  ", indent=text_start)
        else:
            say(line(row).rstrip())
            if flowing:
                paragraph(row[last], indent=indent + 4)
    shown = {*kept, last} if flowing else set(kept)
    if left_out := [column.title for k, column in enumerate(columns) if k not in shown]:
        paragraph(f"no space for {', '.join(left_out)}; shown in a wider terminal or with --json", indent=indent)


def _fitting(columns: Sequence[Column], sizes: Sequence[int], available: int | None) -> list[int]:
    """The indices of the columns that fit side by side."""
    kept = list(range(len(sizes)))
    while available is not None and sum(sizes[k] + 2 for k in kept) - 2 > available:
        first = max(kept, key=lambda k: columns[k].leave_out)
        if not columns[first].leave_out:
            break
        kept.remove(first)
    return kept


def paragraph(text: str, *, indent: int = 0, first: str | None = None) -> None:
    """Print text, wrapped between words at the width of the terminal.

    Args:
        text: The text.
        indent: Spaces before each line.
        first: What the first line starts with instead of these spaces.
    """
    import textwrap

    start, available = " " * indent if first is None else first, width()
    if available is None:
        say(start + text)
        return
    for line in textwrap.wrap(
        text,
        max(available, indent + 20),
        initial_indent=start,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    ):
        say(line)


def next_steps(*steps: tuple[str, str]) -> None:
    """Print commands to try next, each with what it does."""
    size = max(len(command) for command, _ in steps)
    say("\nnext:")
    for command, description in steps:
        say(f"  {command:{size}}   {description}")


def write_file(path: Path, content: bytes | str, option: str) -> None:
    """Write a file of results, whole or not at all.

    Args:
        path: The file.
        content: Its content.
        option: The option that names the file, for the error message.

    Raises:
        MlpconvError: The file cannot be written.
    """
    from mlpconv.files import unwritable, write_atomic

    if path.is_dir():
        raise MlpconvError(f"{option} {path}: is a directory; expected the name of a file")
    try:
        write_atomic(path, content)
    except OSError as error:
        raise MlpconvError(unwritable(f"{option} {path}", error)) from None


def make_directory(path: Path, option: str) -> None:
    """Create a directory for results, unless it exists.

    Args:
        path: The directory.
        option: The option that names it, for the error message.

    Raises:
        MlpconvError: The directory cannot be created.
    """
    from mlpconv.files import unwritable

    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = unwritable(f"{option} {path}", error).replace("cannot be written", "cannot be created")
        raise MlpconvError(message) from None


def write_results(out: Path, name: str, result: Mapping[str, Any], page: str, figure: bytes | None = None) -> list[str]:
    """Write the result of a study or benchmark as JSON and as Markdown.

    Args:
        out: The directory, which exists.
        name: What the files are called.
        result: The result, written to NAME.json.
        page: The result as a page, written to NAME.md.
        figure: The result as a PNG file, written to NAME.png.

    Returns:
        The paths of the files.

    Raises:
        MlpconvError: A file cannot be written.
    """
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    files: dict[Path, str | bytes] = {out / f"{name}.json": text, out / f"{name}.md": page}
    if figure is not None:
        files[out / f"{name}.png"] = figure
    for path, content in files.items():
        write_file(path, content, "--out")
    return [str(path) for path in files]


IMAGES = ("reading", "decoding", "predicting")
"""The steps whose progress is counted in images; all others are downloads, counted in bytes."""


class Download:
    """A context manager that shows progress bars of downloads and of images on standard error.

    Entering it gives the function to report progress with: name, how much is done, total. Bars appear on first use.
    """

    def __init__(self) -> None:
        self._bars: dict[bool, Any] = {}
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._update

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for bar in self._bars.values():
            bar.stop()
        if kind is KeyboardInterrupt and {"reading", "decoding"} & self._tasks.keys():
            warn("stopped; the images read and decoded so far are kept: run the same command to continue")

    def _update(self, name: str, done: int, total: int) -> None:
        images = name in IMAGES
        if name not in self._tasks:
            if images and (other := self._bars.pop(True, None)) is not None:
                other.stop()  # only one bar of images at a time
            if images not in self._bars:
                self._bars[images] = self._bar(images)
            description = f"{name} images" if images else f"downloading {name}"
            self._tasks[name] = self._bars[images].add_task(description, total=total or None)
        if images in self._bars:
            self._bars[images].update(self._tasks[name], completed=done)

    def _bar(self, images: bool) -> Any:
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        counts = (MofNCompleteColumn(), TimeRemainingColumn(compact=True)) if images else (DownloadColumn(),)
        columns = (TextColumn("{task.description}"), BarColumn(), *counts)
        bar = Progress(*columns, console=err(), disable=not has_progress_bars())
        bar.start()
        return bar
