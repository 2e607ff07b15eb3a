"""``mlpconv bench accuracy``: the results of the named recipes compared with their targets."""

from pathlib import Path
from typing import Annotated

from typer import Argument

from mlpconv.cli.bench.common import Out, RunsDirectory, Seeds, print_rows, run_benchmark
from mlpconv.cli.output import Json


def accuracy(
    recipes: Annotated[list[str] | None, Argument(help="Names of recipes; by default all with a target.")] = None,
    seeds: Seeds = 5,
    runs: RunsDirectory = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """Accuracy and time of the named recipes, compared with their targets.

    Example: mlpconv bench accuracy quick --seeds 5
    """
    from mlpconv.bench import accuracy as benchmark
    from mlpconv.training.recipes import RECIPES, get_recipe

    names = recipes or [name for name, named in RECIPES.items() if named.target is not None]
    for name in names:
        get_recipe(name)
    run_benchmark(
        "accuracy",
        lambda progress: benchmark.measure(names, seeds, runs, progress),
        lambda result: print_rows(benchmark.TITLES, benchmark.rows(result)),
        benchmark.markdown,
        out=out,
        json=json,
    )
