"""``mlpconv bench recipe``: the results of one recipe with several seeds."""

from pathlib import Path

from mlpconv.cli.bench.common import Out, Result, RunsDirectory, Seeds, print_rows, run_benchmark
from mlpconv.cli.options import RecipeName
from mlpconv.cli.output import Json, paragraph, say


def recipe(
    name: RecipeName = "quick",
    seeds: Seeds = 5,
    runs: RunsDirectory = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """Accuracy, time and lost classes of a recipe with several seeds. An interrupted benchmark can be continued.

    Example: mlpconv bench recipe quick --seeds 5
    """
    from mlpconv.bench import recipe as benchmark

    def show(result: Result) -> None:
        print_rows(benchmark.TITLES, benchmark.rows(result), left=(len(benchmark.TITLES) - 1,))
        say()
        paragraph(benchmark.summary(result))

    run_benchmark(
        f"recipe-{Path(name).stem}",
        lambda progress: benchmark.measure(name, seeds, runs, progress),
        show,
        benchmark.markdown,
        out=out,
        json=json,
    )
