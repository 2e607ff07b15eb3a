"""``mlpconv bench guard``: the share of the training time that the guard takes."""

from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import Out, print_rows, run_benchmark
from mlpconv.cli.options import RecipeName
from mlpconv.cli.output import Json


def guard(
    name: RecipeName = "quick",
    epochs: Annotated[int, Option(min=1, help="Number of epochs.")] = 1,
    out: Out = None,
    json: Json = False,
) -> None:
    """Share of a recipe's training time that the guard takes.

    Example: mlpconv bench guard quick
    """
    from mlpconv.backends import allocator
    from mlpconv.bench import guard as benchmark

    allocator.keep_memory()
    run_benchmark(
        "guard",
        lambda progress: benchmark.measure(name, epochs, progress),
        lambda result: print_rows(benchmark.TITLES, benchmark.rows(result)),
        benchmark.markdown,
        out=out,
        json=json,
    )
