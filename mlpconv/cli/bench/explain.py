"""``mlpconv bench explain``: tests of class maps, and their cost."""

from pathlib import Path
from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import Out, Result, RunsDirectory, Seeds, print_rows, run_benchmark
from mlpconv.cli.output import Json, paragraph, say


def explain(
    run: Annotated[
        str | None, Option(metavar="RUN", help="Run to test; by default --recipe is trained with each seed.")
    ] = None,
    recipe: Annotated[str, Option(help="Recipe whose networks are tested.")] = "quick",
    shortcut_recipe: Annotated[
        str, Option(help="Recipe of the networks that are trained with a marker in one class.")
    ] = "fast",
    seeds: Seeds = 3,
    images: Annotated[
        int, Option(min=8, help="Number of test images; random weights and mosaics take an eighth.")
    ] = 200,
    rounds: Annotated[int, Option(min=1, help="Number of times that the cost is measured.")] = 5,
    runs: RunsDirectory = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """Tests of class maps against Grad-CAM, occlusion and chance: removed pixels, random weights, known places.

    Example: mlpconv bench explain --run latest
    """
    from mlpconv.bench import explain as benchmark
    from mlpconv.bench import explain_report as report
    from mlpconv.bench import recipe as recipes
    from mlpconv.drawing.plots import png
    from mlpconv.runs.run import Run
    from mlpconv.training.recipes import get_recipe

    get_recipe(recipe)
    get_recipe(shortcut_recipe)

    def show(result: Result) -> None:
        paragraph(report.setting(result))
        for test in report.COMPARED:
            say(f"\n{test.title}")
            paragraph(report.about(result, test.key))
            if result[test.key]["methods"]:
                print_rows(("method", *test.measures.values()), report.rows(result, test))
        say("\nRandom weights")
        paragraph(report.about(result, "weights"))
        print_rows(report.weight_titles(result), report.weight_rows(result))
        say()
        for line in [*report.words(result), *report.gates(result)]:
            paragraph(line)

    def measure(progress: benchmark.Progress) -> Result:
        marked = [benchmark.train_marked(shortcut_recipe, seed, runs, progress) for seed in range(seeds)]
        tested = [Run(run)] if run else [trained(seed, progress) for seed in range(seeds)]
        command = f"mlpconv bench explain {f'--run {run}' if run else f'--recipe {recipe}'} --seeds {seeds} "
        command += f"--shortcut-recipe {shortcut_recipe} --images {images} --rounds {rounds}"
        return benchmark.measure(tested, marked, benchmark.Budget(images, rounds), progress) | {"command": command}

    def trained(seed: int, progress: benchmark.Progress) -> Run:
        path = recipes.place(runs, recipe, seed)
        progress(f"{'reusing' if recipes.finished(path) else f'training {recipe}, seed {seed}, into'} {path}")
        return recipes.trained(recipe, seed, runs)

    run_benchmark(
        "explain",
        measure,
        show,
        report.markdown,
        out=out,
        json=json,
        figure=lambda result: png(report.figure(result)),
    )
