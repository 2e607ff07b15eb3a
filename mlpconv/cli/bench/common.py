"""What all benchmarks share: options, progress, the files they write, and the lines they end with."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from mlpconv.cli.output import Column, make_directory, paragraph, print_json, print_progress, say, table, write_results

Result = dict[str, Any]
"""What a benchmark measured, as its schema in docs/json describes it."""

Out = Annotated[Path | None, Option(help="Directory to write the result to, as JSON and as Markdown.")]
BatchSize = Annotated[int, Option(min=1, help="Images per training step.")]
ImageSize = Annotated[int, Option(min=1, help="Side in pixels to resize images to.")]
Steps = Annotated[int, Option(min=1, help="Timed steps per contender and round.")]
Warmup = Annotated[int, Option(min=1, help="Untimed steps before the timed ones.")]
Rounds = Annotated[int, Option(min=1, help="Number of rounds; each starts every contender once.")]
Threads = Annotated[int | None, Option(min=1, help="Threads per contender; by default one per processor.")]
Seeds = Annotated[int, Option(min=1, help="Number of seeds (0 to n−1).")]
RunsDirectory = Annotated[Path, Option(help="Directory for the runs; finished runs there are reused.")]


def run_benchmark(
    name: str,
    measure: Callable[[Callable[[str], None]], Result],
    show: Callable[[Result], None],
    markdown: Callable[[Result], str],
    *,
    out: Path | None,
    json: bool,
    figure: Callable[[Result], bytes] | None = None,
) -> None:
    """Measure, write the result to ``out`` and print it.

    Args:
        name: What the files in ``out`` are called.
        measure: The benchmark; it receives a function that prints a line of progress.
        show: Prints the result.
        markdown: The result as a page.
        out: Directory for NAME.json and NAME.md; None writes no files.
        json: Whether to print the result as JSON instead.
        figure: The result as a PNG file, written to NAME.png.
    """
    if out is not None:
        make_directory(out, "--out")
    result = measure(print_progress)
    written = []
    if out is not None:
        written = write_results(out, name, result, markdown(result), figure and figure(result))
    if json:
        print_json(result, indent=None)
        return
    show(result)
    if written:
        say(f"\nwritten: {', '.join(written)}")


def print_rows(titles: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print a table whose columns are aligned to the right, except those with the indices in ``left``."""
    table([Column(title, right=index not in left) for index, title in enumerate(titles)], rows)


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]], facts: Sequence[str]) -> None:
    """Print a table, and a line for each fact below it."""
    print_rows(titles, rows)
    say()
    for line in facts:
        paragraph(line)


def print_facts(facts: Sequence[str], gates: Sequence[str]) -> None:
    """Print a paragraph per fact and a line per gate."""
    for fact in facts:
        paragraph(fact)
    say()
    for gate in gates:
        say(gate)


def thread_count(threads: int | None) -> int:
    """The number of threads of --threads, or one per processor."""
    from mlpconv import hardware

    return threads or hardware.cpu_count()
