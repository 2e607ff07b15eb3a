"""``mlpconv bench train``: the training speed of mlpconv and of the chapter's own code."""

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
    print_facts,
    print_rows,
    run_benchmark,
    thread_count,
)
from mlpconv.cli.options import Device
from mlpconv.cli.output import Json, paragraph, say


def train(
    batch_size: BatchSize = 128,
    image_size: ImageSize = 224,
    steps: Steps = 6,
    warmup: Warmup = 2,
    rounds: Rounds = 3,
    threads: Threads = None,
    device: Device = None,
    keras: Annotated[bool, Option(help="Include the TensorFlow contender.")] = True,
    peak_size: Annotated[
        int, Option(min=1, help="Side of the matrices whose product measures the peak of this machine.")
    ] = 4096,
    out: Out = None,
    json: Json = False,
) -> None:
    """Training speed of the chapter's network: mlpconv, the chapter in PyTorch, the chapter in TensorFlow.

    Every contender is started again in each round, in turn; run nothing else meanwhile. About five minutes on two
    cores. The gates are mlpconv's targets; they do not change the exit code.

    Example: mlpconv bench train --rounds 5
    """
    from mlpconv.bench import report
    from mlpconv.bench import train as benchmark
    from mlpconv.bench.contest import Job

    job = Job(
        batch_size=batch_size,
        image_size=image_size,
        steps=steps,
        warmup=warmup,
        threads=thread_count(threads),
        device=device,
        peak_size=peak_size,
    )

    def show(result: Result) -> None:
        paragraph(report.setting(result))
        say()
        print_rows(report.TITLES, report.rows(result))
        say()
        print_facts(report.facts(result), report.gates(result))

    run_benchmark(
        "train",
        lambda progress: benchmark.measure(job, rounds, keras=keras, progress=progress),
        show,
        report.markdown,
        out=out,
        json=json,
    )
