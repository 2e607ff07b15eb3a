"""How commands speak: tables and sentences for people on standard output, JSON for machines, progress on standard
error."""

import json
import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from mlpconv.errors import MlpconvError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines; its schema is in docs/json.")]


@cache
def out() -> "Console":
    """Standard output; plain text where it is no terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


@cache
def err() -> "Console":
    """Standard error, for progress and warnings, so that standard output holds the result alone."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str = "", *, style: str | None = None) -> None:
    """Print text for people, as it is: brackets in a name are no markup."""
    out().print(text, style=style, markup=False)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err().print(text, style="yellow", markup=False)


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False), flush=True)


class Column(NamedTuple):
    """A column of a table. leave_out: where not all fit, those with the highest number go first; 0 never goes."""

    title: str
    right: bool = False
    leave_out: int = 0


def width() -> int | None:
    """The columns of the terminal, or of the environment's COLUMNS; None where there is no bound, as in a file."""
    if out().is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return out().width
    return None


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    total: bool = False,
    flowing: bool = False,
    indent: int = 0,
) -> None:
    """Print rows under their titles; what does not fit is left out by whole columns and named below.

    total: the last row is the sum of the others. flowing: the last column is running text, which is broken into lines,
    or stands below its row where little room is beside it.
    """
    from rich.cells import cell_len

    sizes = [max(map(cell_len, texts)) for texts in zip([c.title for c in columns], *rows, strict=True)]
    room = width()
    kept = _fitting(columns, sizes[:-1] if flowing else sizes, room and room - indent)
    start = indent + sum(sizes[k] + 2 for k in kept)
    beside = flowing and (room is None or room - start >= 40)

    def line(texts: Sequence[str]) -> str:
        cells = []
        for k in kept:
            space = " " * (sizes[k] - cell_len(texts[k]))
            cells.append(space + texts[k] if columns[k].right else texts[k] + space)
        return " " * indent + "  ".join(cells)

    rule = " " * indent + "─" * ((room or start + sizes[-1]) - indent if beside else start - 2 - indent)
    say((line([c.title for c in columns]) + (f"  {columns[-1].title}" if beside else "")).rstrip())
    for index, row in enumerate(rows):
        if index == 0 or (total and index == len(rows) - 1):
            say(rule)
        if beside:
            paragraph(row[-1], first=line(row) + "  ", indent=start)
            continue
        say(line(row).rstrip())
        if flowing:
            paragraph(row[-1], indent=indent + 4)
    if missing := [c.title for k, c in enumerate(columns) if k not in kept and not (flowing and k == len(columns) - 1)]:
        paragraph(f"no room for {', '.join(missing)}: a wider terminal or --json shows them", indent=indent)


def _fitting(columns: Sequence[Column], sizes: Sequence[int], room: int | None) -> list[int]:
    """The columns that have room beside each other."""
    kept = list(range(len(sizes)))
    while room is not None and sum(sizes[k] + 2 for k in kept) - 2 > room:
        most = max(kept, key=lambda k: columns[k].leave_out)
        if not columns[most].leave_out:
            break
        kept.remove(most)
    return kept


def paragraph(text: str, *, indent: int = 0, first: str | None = None) -> None:
    """Print text broken between words where the terminal ends. first: what the first line begins with instead."""
    import textwrap

    begin, room = " " * indent if first is None else first, width()
    if room is None:
        say(begin + text)
        return
    for line in textwrap.wrap(
        text,
        max(room, indent + 20),
        initial_indent=begin,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
        break_long_words=False,
    ):
        say(line)


def next_steps(*steps: tuple[str, str]) -> None:
    """What one may do next: commands, each with what it gives."""
    size = max(len(command) for command, _ in steps)
    say("\nnext:")
    for command, gives in steps:
        say(f"  {command:{size}}   {gives}")


def write_file(path: Path, content: bytes | str, option: str) -> None:
    """Write a result's file, whole or not at all. option: what the user changes where it cannot be written."""
    from mlpconv.files import write_atomic

    if path.is_dir():
        raise MlpconvError(f"{option} {path}: is a directory; give the name of a file")
    try:
        write_atomic(path, content)
    except OSError as error:
        reason = error.strerror or error
        raise MlpconvError(f"{option} {path}: cannot be written: {reason}; give another place") from None


IMAGES = ("reading", "decoding", "predicting")
"""What is counted in images; everything else that goes on is a download, in bytes."""


class Download:
    """A progress bar for downloads and for images on standard error, made when there is something to show; to be used
    with ``with``."""

    def __init__(self) -> None:
        self._bars: dict[bool, Any] = {}
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Callable[[str, int, int], None]:
        return self._update

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for bar in self._bars.values():
            bar.stop()
        if kind is KeyboardInterrupt and {"reading", "decoding"} & self._tasks.keys():
            warn("stopped; what was read and decoded is kept: the same command goes on from there")

    def _update(self, name: str, done: int, total: int) -> None:
        images = name in IMAGES
        if name not in self._tasks:
            if images and (other := self._bars.pop(True, None)) is not None:
                other.stop()  # one after the other
            if images not in self._bars:
                self._bars[images] = self._bar(images)
            what = f"{name} images" if images else f"fetching {name}"
            self._tasks[name] = self._bars[images].add_task(what, total=total or None)
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
        bar = Progress(*columns, console=err(), disable=not err().is_terminal)
        bar.start()
        return bar
