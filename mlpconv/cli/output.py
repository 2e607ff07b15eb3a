"""How commands speak: tables and sentences for people on standard output, JSON for machines, progress on standard
error."""

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

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


def duration(seconds: float) -> str:
    """Seconds as one says them: 42 s, 3 min 5 s, 5 h 24 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def amount(count: float, unit: str = "") -> str:
    """A large count in three digits: 1.99 M, 762 M, 1.52 G."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            value = count / size
            digits = 2 if value < 10 else 1 if value < 100 else 0
            return f"{value:.{digits}f} {prefix}{unit}"
    return f"{count:g} {unit}".strip()


def size(count: int) -> str:
    """Bytes as one says them: 7.60 MiB."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.2f} {unit}" if value < 10 else f"{value:.1f} {unit}"
