"""What the commands under ``mlpconv bench`` share: where results go, and how they end."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from mlpconv.cli.output import paragraph, say, write_file
from mlpconv.errors import MlpconvError

Out = Annotated[Path | None, Option(help="Also write the result into this directory, as JSON and as Markdown.")]


def make(directory: Path) -> None:
    """The directory of --out. Raises MlpconvError where it cannot be."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpconvError(
            f"--out {directory}: cannot be made: {error.strerror or error}; give another place"
        ) from None


def write(result: dict[str, Any], page: str, out: Path | None) -> None:
    """A result as JSON and as a page, under its benchmark's name."""
    if out is not None:
        name = result["benchmark"]
        write_file(out / f"{name}.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / f"{name}.md", page, "--out")


def end(result: dict[str, Any], facts: Sequence[str], out: Path | None) -> None:
    """The last lines on the screen: facts, gates, and what was written."""
    from mlpconv.bench import report

    for line in facts:
        paragraph(line)
    say()
    for line in report.gates(result):
        say(line)
    if out is not None:
        name = result["benchmark"]
        say(f"\nwritten: {out / f'{name}.json'} and {out / f'{name}.md'}")
