"""``mlpconv bench``: measure, ours beside its peers. One command a benchmark; without a name, all of them."""

from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Option

from mlpconv.bench import BENCHMARKS
from mlpconv.cli.bench_forecast import forecast, overhead
from mlpconv.cli.measured import Out, end, make, write
from mlpconv.cli.output import Column, Json, err, paragraph, print_json, say, table, write_file
from mlpconv.errors import MlpconvError

app = typer.Typer(help="Measure on this machine, ours beside its peers. Without a name: all benchmarks.")


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
    from mlpconv import hardware
    from mlpconv.bench import report
    from mlpconv.bench import train as benchmark
    from mlpconv.bench.contest import Job

    job = Job(
        batch_size=batch_size,
        image_size=image_size,
        steps=steps,
        warmup=warmup,
        threads=threads or hardware.cpu_count(),
        device=device,
        peak_size=peak_size,
    )
    if out is not None:
        make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    result = benchmark.measure(job, rounds, keras=keras, progress=progress)
    write(result, report.markdown(result), out)
    if json:
        print_json(result, indent=None)
        return
    paragraph(report.setting(result))
    say()
    table([Column(title, right=index > 0) for index, title in enumerate(report.TITLES)], report.rows(result))
    say()
    end(result, report.facts(result), out)


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
        make(out)

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
    table([Column(title, right=index < 7) for index, title in enumerate(benchmark.TITLES)], benchmark.rows(result))
    say()
    paragraph(benchmark.summary(result))


@app.command()
def explain(
    run: Annotated[str | None, Option(metavar="RUN", help="A run; by default nin_28 is trained for an epoch.")] = None,
    images: Annotated[int, Option(min=2, help="Images of the test set.")] = 200,
    steps: Annotated[int, Option(min=1, help="In how many steps pixels are taken and given.")] = 28,
    rounds: Annotated[int, Option(min=1, help="Times that each method is timed.")] = 5,
    runs: Annotated[Path, Option(help="Where the run that is trained goes.")] = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """How faithful class maps are, and what they cost, beside Grad-CAM on earlier layers, occlusion and chance.

    Example: mlpconv bench explain --run latest
    """
    from mlpconv.bench import explain as benchmark
    from mlpconv.bench import explain_report as report
    from mlpconv.drawing.plots import png
    from mlpconv.runs.run import Run

    if out is not None:
        make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    found = Run(run) if run else benchmark.trained(runs / "bench-explain-nin_28", progress)
    result = benchmark.measure(found, images, steps, rounds, progress)
    if out is not None:
        write_file(out / "explain.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / "explain.md", report.markdown(result), "--out")
        write_file(out / "explain.png", png(report.figure(result)), "--out")
    if json:
        print_json(result, indent=None)
        return
    paragraph(report.setting(result))
    say()
    table([Column(title, right=index > 0) for index, title in enumerate(report.TITLES)], report.rows(result))
    say()
    for line in [*report.words(result), report.gate(result)]:
        paragraph(line)


@app.command()
def accuracy(
    recipes: Annotated[
        list[str] | None, typer.Argument(help="Recipes' names; by default all that have a target.")
    ] = None,
    seeds: Annotated[int, Option(min=1, help="How many: 0, 1, 2 …")] = 5,
    runs: Annotated[Path, Option(help="Where the runs go; finished ones there are taken as they are.")] = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """What the named recipes reach and in what time, beside what they are meant to reach.

    Example: mlpconv bench accuracy quick --seeds 5
    """
    from mlpconv.bench import accuracy as benchmark
    from mlpconv.training.recipes import RECIPES, get_recipe

    names = recipes or [name for name, each in RECIPES.items() if each.target is not None]
    for name in names:
        get_recipe(name)
    result = benchmark.measure(names, seeds, runs, _to_stderr)
    _show(result, benchmark, "accuracy", out, json)


@app.command()
def guard(
    name: Annotated[str, typer.Argument(help="A recipe's name or a TOML file.")] = "quick",
    epochs: Annotated[int, Option(min=1, help="Times that each image is seen.")] = 1,
    out: Out = None,
    json: Json = False,
) -> None:
    """The share of a recipe's training time that the guard takes.

    Example: mlpconv bench guard quick
    """
    from mlpconv.backends import allocator
    from mlpconv.bench import guard as benchmark

    allocator.keep_memory()
    _show(benchmark.measure(name, epochs, _to_stderr), benchmark, "guard", out, json)


@app.command()
def checkpoint(
    rounds: Annotated[int, Option(min=1, help="Checkpoints that are saved and loaded.")] = 10,
    batch_size: Annotated[int, Option(min=1, help="Images a step.")] = 128,
    image_size: Annotated[int, Option(min=1, help="Side in pixels to which images are enlarged.")] = 80,
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    folder: Annotated[Path | None, Option(help="A directory on the disk to measure; for temporary files.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """What checkpoints cost: seconds, bytes, and the share of the training time at the default interval.

    Example: mlpconv bench checkpoint --folder .
    """
    from mlpconv.bench import checkpoint as benchmark

    if folder is not None and not folder.is_dir():
        raise MlpconvError(f"--folder {folder}: there is no such directory")
    if out is not None:
        make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    result = benchmark.measure(
        rounds, folder=folder, batch_size=batch_size, image_size=image_size, device=device, progress=progress
    )
    if out is not None:
        write_file(out / "checkpoint.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / "checkpoint.md", benchmark.markdown(result), "--out")
    if json:
        print_json(result, indent=None)
        return
    for line in benchmark.lines(result):
        paragraph(line)


@app.command()
def frameworks(
    batch_size: Annotated[int, Option(min=1, help="Images a step.")] = 128,
    image_size: Annotated[int, Option(min=1, help="Side in pixels to which images are enlarged.")] = 224,
    steps: Annotated[int, Option(min=1, help="Timed steps of each contender in each round.")] = 4,
    warmup: Annotated[int, Option(min=1, help="Steps before them that are not timed.")] = 2,
    rounds: Annotated[int, Option(min=1, help="Times that every contender is started.")] = 3,
    threads: Annotated[int | None, Option(min=1, help="Of each contender; all processors by default.")] = None,
    device: Annotated[str | None, Option(help="Of ours: cpu, cuda …; a GPU if there is one by default.")] = None,
    only: Annotated[list[str] | None, Option(help="torch, tensorflow, jax or mxnet; may be given again.")] = None,
    python: Annotated[
        list[str] | None,
        Option(metavar="NAME=PATH", help="The interpreter of a framework that has an environment of its own."),
    ] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Training on PyTorch, TensorFlow, JAX and MXNet: ours beside each framework's own way of the chapter, in float32.

    A framework that is not installed is left out, unless it is asked for.

    Example: mlpconv bench frameworks --python mxnet=.venv-mxnet/bin/python
    """
    from mlpconv import hardware
    from mlpconv.bench import frameworks as benchmark
    from mlpconv.bench.contest import Job

    pythons = benchmark.interpreters(python or [])
    job = Job(
        batch_size=batch_size,
        image_size=image_size,
        steps=steps,
        warmup=warmup,
        threads=threads or hardware.cpu_count(),
        device=device,
    )
    if out is not None:
        make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    result = benchmark.measure(job, rounds, pythons=pythons, only=only, progress=progress)
    if out is not None:
        write_file(out / "frameworks.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / "frameworks.md", benchmark.markdown(result), "--out")
    if json:
        print_json(result, indent=None)
        return
    paragraph(benchmark.setting(result))
    say()
    columns = [Column(title, right=1 <= index <= 3) for index, title in enumerate(benchmark.TITLES)]
    table(columns, benchmark.rows(result))
    say()
    for line in benchmark.notes(result):
        say(line)


def _to_stderr(line: str) -> None:
    err().print(line, markup=False)


def _show(result: dict[str, Any], benchmark: Any, stem: str, out: Path | None, json: bool) -> None:
    """Write and print the result of a benchmark that has TITLES, rows and markdown."""
    if out is not None:
        make(out)
        write_file(out / f"{stem}.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / f"{stem}.md", benchmark.markdown(result), "--out")
    if json:
        print_json(result, indent=None)
        return
    table([Column(title, right=index > 0) for index, title in enumerate(benchmark.TITLES)], benchmark.rows(result))


@app.command()
def folder(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="A folder of images; by default one is generated.")
    ] = None,
    generate: Annotated[
        int | None,
        Option(
            min=1000,
            show_default=False,
            help="Generate so many small images, in DIR if it is given, and keep those.  [default: 20000 without DIR]",
        ),
    ] = None,
    steps: Annotated[int, Option(min=1, help="Timed training steps.")] = 50,
    rounds: Annotated[int, Option(min=1, help="Times that training on few and on all images is timed.")] = 3,
    memory_gb: Annotated[float, Option(min=0.5, help="Gigabytes of its own that training may have.")] = 2.0,
    out: Out = None,
    json: Json = False,
) -> None:
    """A folder of images: decoded into the cache, batches from there, and training within a bound of memory.

    Example: mlpconv bench folder photos
    """
    from mlpconv.bench import folder as benchmark
    from mlpconv.bench import folder_report as report

    if out is not None:
        make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    if directory is None and generate is None:
        generate = 20_000
    result = benchmark.measure(
        directory, generate=generate, steps=steps, rounds=rounds, memory_gb=memory_gb, progress=progress
    )
    if out is not None:
        name = "folder-generated" if result["generated"] else "folder"
        write_file(out / f"{name}.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
        write_file(out / f"{name}.md", report.markdown(result), "--out")
    if json:
        print_json(result, indent=None)
        return
    for line in report.lines(result):
        paragraph(line)
    for line in report.gates(result):
        say(line)


app.command()(forecast)
app.command()(overhead)
_COMMANDS: dict[str, Any] = {
    "train": train,
    "forecast": forecast,
    "overhead": overhead,
    "recipe": recipe,
    "accuracy": accuracy,
    "guard": guard,
    "explain": explain,
    "checkpoint": checkpoint,
    "folder": folder,
    "frameworks": frameworks,
}
