"""``mlpconv bench speedrun``: seconds to an accuracy on Fashion-MNIST, for the table that others can enter."""

import shlex
from pathlib import Path
from typing import Annotated

from typer import Argument, BadParameter, Option

from mlpconv.cli.bench.common import Out, Result, Seeds, print_rows, run_benchmark
from mlpconv.cli.output import Json, say, write_results


def speedrun(
    recipes: Annotated[
        list[str] | None, Argument(help="Names of recipes; by default those for the speedrun (fast, fast-92 …).")
    ] = None,
    command: Annotated[
        str | None, Option(help="A program to measure instead; it takes --seed N and prints its result as JSON.")
    ] = None,
    name: Annotated[str | None, Option(help="The name of the program's entry.")] = None,
    seeds: Seeds = 5,
    out: Out = None,
    json: Json = False,
) -> None:
    """Seconds that recipes, or any program, take to learn Fashion-MNIST. Entries in --out are kept.

    Example: mlpconv bench speedrun --name mine --command "python mine.py" --out benchmarks
    """
    from mlpconv.bench import speedrun as benchmark
    from mlpconv.training.recipes import get_recipe

    if (name is None) != (command is None):
        raise BadParameter("give --name and --command together")
    if command is not None and recipes:
        raise BadParameter(f"give either recipes ({', '.join(recipes)}) or --command")
    if out is not None and seeds < benchmark.FEWEST_SEEDS:
        raise BadParameter(
            f"--seeds {seeds}: the table in --out takes entries of at least {benchmark.FEWEST_SEEDS} seeds; "
            "for a trial, leave --out away"
        )
    commands = {}
    if name is not None and command is not None:
        commands[name] = shlex.split(command)
    else:
        for recipe in recipes or benchmark.RECIPES:
            get_recipe(recipe)
            commands[f"mlpconv {Path(recipe).stem}"] = benchmark.command_of(recipe)

    def measure(progress: benchmark.Progress) -> Result:
        result = benchmark.merged(benchmark.read_entries(out / "speedrun.json") if out is not None else [], [])
        for entry in commands.items():
            result = benchmark.merged(result["entries"], [benchmark.measure(*entry, seeds, progress)])
            if out is not None:  # so that the failure of a later entry does not lose this one
                write_results(out, "speedrun", result, benchmark.markdown(result))
        return result

    def show(result: Result) -> None:
        for title, rows in benchmark.tables(result):
            say(f"\n{title}")
            print_rows(benchmark.TITLES, rows, left=(0, 6))

    run_benchmark("speedrun", measure, show, benchmark.markdown, out=out, json=json)
