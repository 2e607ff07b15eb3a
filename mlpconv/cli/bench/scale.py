"""``mlpconv bench scale``: how cost grows."""

from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import ImageSize, Out, Result, Rounds, Threads, print_rows, run_benchmark, thread_count
from mlpconv.cli.output import Json, paragraph, say


def scale(
    processes: Annotated[
        list[int] | None,
        Option(min=1, help="Number of processes; can be repeated.", show_default="one, and one per processor"),
    ] = None,
    rounds: Rounds = 3,
    threads: Threads = None,
    data: Annotated[str, Option(help="Data set of the epochs with several processes.")] = "fashion-mnist",
    image_size: ImageSize = 70,
    out: Out = None,
    json: Json = False,
) -> None:
    """Cost of training as processes, images, image size, batch size and classes grow, with fitted exponents.

    Run nothing else meanwhile.

    Example: mlpconv bench scale --processes 1 --processes 2
    """
    from mlpconv.bench import scale as benchmark
    from mlpconv.drawing.plots import png

    count = thread_count(threads)
    settings = benchmark.Settings(processes or sorted({1, count}), rounds, count, data, image_size)

    def show(result: Result) -> None:
        print_rows(benchmark.PROCESS_TITLES, benchmark.process_rows(result))
        say()
        print_rows(benchmark.GROWTH_TITLES, benchmark.growth_rows(result), left=(0, 1))
        say()
        for line in benchmark.facts(result):
            paragraph(line)

    run_benchmark(
        "scale",
        lambda progress: benchmark.measure(settings, progress),
        show,
        benchmark.markdown,
        out=out,
        json=json,
        figure=lambda result: png(benchmark.figure(result)),
    )
