"""``mlpconv bench``: measure, ours beside its peers. One command a benchmark; without a name, all of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from mlpconv.bench import BENCHMARKS
from mlpconv.cli.output import Json, err, print_json, say
from mlpconv.errors import RunError

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="Measure on this machine, ours beside its peers. Without a name: all benchmarks.")
Out = Annotated[Path | None, Option(help="Also write the result into this directory, as JSON and as Markdown.")]


@app.callback(invoke_without_command=True)
def bench(context: typer.Context, out: Out = None, json: Json = False) -> None:
    """Measure on this machine, ours beside its peers. Without a name: all benchmarks.

    Example: mlpconv bench train
    """
    if context.invoked_subcommand is not None:
        if out is not None or json:
            raise typer.BadParameter(f"give --out and --json behind {context.invoked_subcommand}")
        return
    for name in BENCHMARKS:
        _COMMANDS[name](out=out, json=json)


@app.command()
def train(
    batch_size: Annotated[int, Option(min=1, help="Images a step.")] = 128,
    image_size: Annotated[int, Option(min=1, help="Side in pixels to which images are enlarged.")] = 224,
    steps: Annotated[int, Option(min=1, help="Timed steps of each contender in each round.")] = 6,
    warmup: Annotated[int, Option(min=1, help="Steps before them that are not timed.")] = 2,
    rounds: Annotated[int, Option(min=1, help="Times that every contender is started.")] = 3,
    threads: Annotated[int | None, Option(min=1, help="Of each contender; all processors by default.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    keras: Annotated[bool, Option(help="Whether the TensorFlow contender takes part.")] = True,
    peak_size: Annotated[int, Option(min=1, help="Side of the matrices whose product is the machine's peak.")] = 4096,
    out: Out = None,
    json: Json = False,
) -> None:
    """Images a second of training the chapter's network: ours, the chapter in PyTorch, the chapter in TensorFlow.

    Every contender is started anew in each round, in turn; let no other work run meanwhile. About five minutes on two
    cores. The gates are what mlpconv means to hold; they do not change the exit code.

    Example: mlpconv bench train --rounds 5
    """
    from mlpconv.backends import hardware
    from mlpconv.bench import report
    from mlpconv.bench import train as benchmark
    from mlpconv.bench.contest import Job

    job = Job(
        batch_size=batch_size, image_size=image_size, steps=steps, warmup=warmup,
        threads=threads or hardware.cpu_count(), device=device, peak_size=peak_size,
    )  # fmt: skip
    if out is not None:
        _make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    result = benchmark.measure(job, rounds, keras=keras, progress=progress)
    if out is not None:
        _write(out, "train", result, report.markdown(result))
    if json:
        print_json(result, indent=None)
        return
    from mlpconv.cli.output import out as console

    say(report.setting(result) + "\n")
    console().print(_table(report.TITLES, report.rows(result)))
    say()
    for line in report.facts(result):
        say(line)
    say()
    for line in report.gates(result):
        say(line)
    if out is not None:
        say(f"\nwritten to {out / 'train.json'} and {out / 'train.md'}")


_COMMANDS: dict[str, Any] = {"train": train}


def _table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for index, title in enumerate(titles):
        table.add_column(title, justify="right" if index else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{directory}: cannot be made: {error.strerror or error}; choose another --out") from None


def _write(directory: Path, name: str, result: dict[str, Any], page: str) -> None:
    from json import dumps

    from mlpconv.runs.files import write_atomic

    try:
        write_atomic(directory / f"{name}.json", dumps(result, indent=1, ensure_ascii=False) + "\n")
        write_atomic(directory / f"{name}.md", page)
    except OSError as error:
        raise RunError(f"{directory}: cannot be written: {error.strerror or error}; choose another --out") from None
