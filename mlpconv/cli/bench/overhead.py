"""``mlpconv bench overhead``: the cost of progress, plans, notebook and report."""

from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import BatchSize, Out, Threads, print_facts, run_benchmark, thread_count
from mlpconv.cli.options import Device
from mlpconv.cli.output import Json


def overhead(
    batch_size: BatchSize = 128,
    steps: Annotated[int, Option(min=1, help="Number of steps per measurement.")] = 300,
    rounds: Annotated[int, Option(min=1, help="Number of measurements.")] = 4,
    image_size: Annotated[
        int | None, Option(min=1, help="Side in pixels to resize images to; by default the recipe's.")
    ] = None,
    threads: Threads = None,
    device: Device = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Cost of progress, plans, notebook and report relative to training itself, with the recipe study.

    Run nothing else meanwhile. Less than two minutes on two cores. The gates do not change the exit code.

    Example: mlpconv bench overhead --rounds 10
    """
    from mlpconv.bench import forecast_report, report
    from mlpconv.bench import overhead as benchmark
    from mlpconv.bench.overhead_case import Job

    job = Job(
        batch_size=batch_size,
        steps=steps,
        rounds=rounds,
        image_size=image_size,
        threads=thread_count(threads),
        device=device,
    )
    run_benchmark(
        "overhead",
        lambda progress: benchmark.measure(job),
        lambda result: print_facts(forecast_report.overhead_facts(result), report.gates(result)),
        forecast_report.overhead_markdown,
        out=out,
        json=json,
    )
