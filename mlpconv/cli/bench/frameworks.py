"""``mlpconv bench frameworks``: training on every framework, mlpconv and the framework's own version."""

from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import (
    BatchSize,
    ImageSize,
    Out,
    Result,
    Rounds,
    Steps,
    Threads,
    Warmup,
    print_rows,
    run_benchmark,
    thread_count,
)
from mlpconv.cli.deprecated import renamed_options
from mlpconv.cli.options import Device
from mlpconv.cli.output import Json, paragraph, say


@renamed_options({"--only": "--framework"})
def frameworks(
    batch_size: BatchSize = 128,
    image_size: ImageSize = 224,
    steps: Steps = 4,
    warmup: Warmup = 2,
    rounds: Rounds = 3,
    threads: Threads = None,
    device: Device = None,
    framework: Annotated[
        list[str] | None, Option(help="Framework to measure, such as jax; repeatable. By default all installed ones.")
    ] = None,
    python: Annotated[
        list[str] | None,
        Option(metavar="NAME=PATH", help="Interpreter of a framework that is installed in another environment."),
    ] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Training in float32 on each framework: mlpconv, and the framework's version of the chapter.

    A framework that is not installed is skipped, unless --framework names it.

    Example: mlpconv bench frameworks --python mxnet=.venv-mxnet/bin/python
    """
    from mlpconv.bench import frameworks as benchmark
    from mlpconv.bench.contest import Job

    pythons = benchmark.interpreters(python or [])
    job = Job(
        batch_size=batch_size,
        image_size=image_size,
        steps=steps,
        warmup=warmup,
        threads=thread_count(threads),
        device=device,
    )

    def show(result: Result) -> None:
        paragraph(benchmark.setting(result))
        say()
        print_rows(benchmark.TITLES, benchmark.rows(result), left=(0, 4))
        say()
        for line in benchmark.notes(result):
            say(line)

    run_benchmark(
        "frameworks",
        lambda progress: benchmark.measure(job, rounds, pythons=pythons, only=framework, progress=progress),
        show,
        benchmark.markdown,
        out=out,
        json=json,
    )
