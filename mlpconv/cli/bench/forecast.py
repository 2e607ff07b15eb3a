"""``mlpconv bench forecast``: forecast time and memory compared with the measured."""

from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import Out, Result, Threads, print_facts, print_rows, run_benchmark, thread_count
from mlpconv.cli.deprecated import renamed_options
from mlpconv.cli.options import Device
from mlpconv.cli.output import Json, say


@renamed_options({"--network": "--model", "--most-images": "--max-images"})
def forecast(
    model: Annotated[
        list[str] | None, Option(help="A network; repeatable.  [default: four networks]", show_default=False)
    ] = None,
    batch_size: Annotated[
        list[int] | None,
        Option(min=1, help="Images per step; repeatable.  [default: 32, 128, 256]", show_default=False),
    ] = None,
    max_images: Annotated[
        int | None, Option(min=1, help="Largest number of training images in a timed run; by default no limit.")
    ] = None,
    threads: Threads = None,
    device: Device = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Forecast of training time and memory, compared with the measured time and memory.

    Every network runs in separate processes; run nothing else meanwhile. About six minutes on two cores. The gates are
    mlpconv's targets; they do not change the exit code.

    Example: mlpconv bench forecast --model nin --batch-size 128
    """
    from mlpconv.bench import forecast as benchmark
    from mlpconv.bench import forecast_report, report

    def show(result: Result) -> None:
        tables = (
            (forecast_report.TIME_TITLES, forecast_report.time_rows(result)),
            (forecast_report.MEMORY_TITLES, forecast_report.memory_rows(result)),
        )
        for titles, rows in tables:
            print_rows(titles, rows, left=(0, 1, 2))
            say()
        print_facts(forecast_report.NOTES, report.gates(result))

    run_benchmark(
        "forecast",
        lambda progress: benchmark.measure(
            model or tuple(benchmark.RUN_IMAGES),
            batch_size or benchmark.BATCH_SIZES,
            most_images=max_images,
            threads=thread_count(threads),
            device=device,
            progress=progress,
        ),
        show,
        forecast_report.markdown,
        out=out,
        json=json,
    )
