"""``mlpconv bench``: measure, ours beside its peers. One command a benchmark; without a name, all of them."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from mlpconv.bench import BENCHMARKS
from mlpconv.cli.output import Column, Json, err, paragraph, print_json, say, table, write_file
from mlpconv.errors import MlpconvError

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
    _write(result, report.markdown(result), out)
    if json:
        print_json(result, indent=None)
        return
    paragraph(report.setting(result))
    say()
    table([Column(title, right=index > 0) for index, title in enumerate(report.TITLES)], report.rows(result))
    say()
    _end(result, report.facts(result), out)


@app.command()
def forecast(
    network: Annotated[list[str] | None, Option(help="A network; may be given again.  [default: four]")] = None,
    batch_size: Annotated[list[int] | None, Option(min=1, help="May be given again.  [default: 32, 128, 256]")] = None,
    most_images: Annotated[int | None, Option(min=1, help="A bound on the training images of a timed run.")] = None,
    threads: Annotated[int | None, Option(min=1, help="All processors by default.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """What the forecast says of time and memory, and what it then is.

    Every network runs in processes of its own; let no other work run meanwhile. About six minutes on two cores. The
    gates are what mlpconv means to hold; they do not change the exit code.

    Example: mlpconv bench forecast --network nin --batch-size 128
    """
    from mlpconv.backends import hardware
    from mlpconv.bench import forecast as benchmark
    from mlpconv.bench import forecast_report as told

    if out is not None:
        _make(out)
    result = benchmark.measure(
        network or tuple(benchmark.RUN_IMAGES), batch_size or benchmark.BATCH_SIZES, most_images=most_images,
        threads=threads or hardware.cpu_count(), device=device, progress=lambda line: err().print(line, markup=False),
    )  # fmt: skip
    _write(result, told.markdown(result), out)
    if json:
        print_json(result, indent=None)
        return
    tables = ((told.TIME_TITLES, told.time_rows(result)), (told.MEMORY_TITLES, told.memory_rows(result)))
    for titles, rows in tables:
        table([Column(title, right=index > 2) for index, title in enumerate(titles)], rows)
        say()
    _end(result, told.NOTES, out)


@app.command()
def overhead(
    batch_size: Annotated[int, Option(min=1, help="Images a step.")] = 128,
    steps: Annotated[int, Option(min=1, help="Steps of each measurement.")] = 60,
    rounds: Annotated[int, Option(min=1, help="Times that each is measured.")] = 4,
    image_size: Annotated[int | None, Option(min=1, help="Side in pixels; the recipe's by default.")] = None,
    threads: Annotated[int | None, Option(min=1, help="All processors by default.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """What progress, plan, notebook and report cost beside training itself, with the recipe quick.

    Let no other work run meanwhile. Under two minutes on two cores. The gates do not change the exit code.

    Example: mlpconv bench overhead --rounds 10
    """
    from mlpconv.backends import hardware
    from mlpconv.bench import forecast_report as told
    from mlpconv.bench import overhead as benchmark
    from mlpconv.bench.overhead_case import Job

    if out is not None:
        _make(out)
    job = Job(
        batch_size=batch_size, steps=steps, rounds=rounds, image_size=image_size,
        threads=threads or hardware.cpu_count(), device=device,
    )  # fmt: skip
    result = benchmark.measure(job)
    _write(result, told.overhead_markdown(result), out)
    if json:
        print_json(result, indent=None)
        return
    _end(result, told.overhead_facts(result), out)


def _write(result: dict[str, Any], page: str, out: Path | None) -> None:
    if out is not None:
        name = result["benchmark"]
        write_file(out / f"{name}.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / f"{name}.md", page, "--out")


def _end(result: dict[str, Any], facts: Sequence[str], out: Path | None) -> None:
    from mlpconv.bench import report

    for line in facts:
        paragraph(line)
    say()
    for line in report.gates(result):
        say(line)
    if out is not None:
        name = result["benchmark"]
        say(f"\nwritten: {out / f'{name}.json'} and {out / f'{name}.md'}")


@app.command()
def recipe(
    name: Annotated[str, typer.Argument(help="A recipe's name or a TOML file.")] = "quick",
    seeds: Annotated[int, Option(min=1, help="How many: 0, 1, 2 …")] = 5,
    runs: Annotated[Path, Option(help="Where the runs go; finished ones there are taken as they are.")] = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """What a recipe reaches with several seeds: accuracy, time, lost classes. Interrupted, it goes on where it was.

    Example: mlpconv bench recipe quick --seeds 5
    """
    from mlpconv.bench import recipe as benchmark

    if out is not None:
        _make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    result = benchmark.measure(name, seeds, runs, progress)
    if out is not None:
        stem = f"recipe-{Path(name).stem}"
        write_file(out / f"{stem}.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / f"{stem}.md", benchmark.markdown(result), "--out")
    if json:
        print_json(result, indent=None)
        return
    table([Column(title, right=index < 6) for index, title in enumerate(benchmark.TITLES)], benchmark.rows(result))
    say()
    paragraph(benchmark.summary(result))


_COMMANDS: dict[str, Any] = {"train": train, "forecast": forecast, "overhead": overhead, "recipe": recipe}


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpconvError(
            f"--out {directory}: cannot be made: {error.strerror or error}; give another place"
        ) from None
