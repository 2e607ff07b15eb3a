"""Quantities and file names as text, for terminals and pages."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any


def format_duration(seconds: float) -> str:
    """Seconds as text: 4.2 s, 42 s, 3 min 5 s, 5 h 24 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_count(count: float, unit: str = "") -> str:
    """A large count with three digits and a unit: 1.99 M, 762 M, 1.52 G."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            value = count / size
            digits = 2 if value < 10 else 1 if value < 100 else 0
            return f"{value:.{digits}f} {prefix}{unit}"
    return f"{count:g} {unit}".strip()


def format_number(count: int, one: str, several: str = "") -> str:
    """A number of things: 1 image, 2,000 images.

    Args:
        count: The number.
        one: What one is called.
        several: What several are called; by default with an s.
    """
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def first_names(names: Sequence[str], most: int = 5) -> str:
    """The first of some names: "a, b, c …"."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def format_bytes(count: int) -> str:
    """Bytes as text: 512 B, 7.60 MiB."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"


def printable(name: str | os.PathLike[str]) -> str:
    """A file name with characters that cannot be printed escaped."""
    text = os.fspath(name)
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def json_text(value: Any, indent: int | None = None) -> str:
    r"""A value as JSON that can be written in UTF-8.

    The bytes of a file name that is not UTF-8 are escaped as Python represents them: ``\udcff``. Strings are the same
    again when the text is read.

    Args:
        value: What `json.dumps` takes.
        indent: Likewise.

    Raises:
        ValueError: A number is not finite.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def markdown_table(
    titles: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] | None = (0,)
) -> list[str]:
    """The lines of a Markdown table.

    Args:
        titles: The titles of the columns.
        rows: The cells of each row.
        left: The indices of the columns that are aligned to the left; the others are aligned to the right. None aligns
            all to the left.
    """
    rule = ["---" if left is None or index in left else "---:" for index in range(len(titles))]
    escaped = [[cell.replace("|", "&#124;") for cell in cells] for cells in (titles, *rows)]
    return ["| " + " | ".join(cells) + " |" for cells in (escaped[0], rule, *escaped[1:])]
