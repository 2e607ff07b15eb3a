"""``mlpconv bench explain``: the faithfulness and cost of class maps."""

from pathlib import Path
from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import Out, Result, print_rows, run_benchmark
from mlpconv.cli.output import Json, paragraph, say


def explain(
    run: Annotated[
        str | None, Option(metavar="RUN", help="Run to explain; by default nin_28 is trained for one epoch.")
    ] = None,
    images: Annotated[int, Option(min=2, help="Number of test images.")] = 200,
    steps: Annotated[int, Option(min=1, help="Number of steps in the deletion and insertion curves.")] = 28,
    rounds: Annotated[int, Option(min=1, help="Number of times that each method is timed.")] = 5,
    runs: Annotated[Path, Option(help="Directory for the run that is trained.")] = Path("runs"),
    out: Out = None,
    json: Json = False,
) -> None:
    """Faithfulness and cost of class maps, compared with Grad-CAM on earlier layers, occlusion and chance.

    Example: mlpconv bench explain --run latest
    """
    from mlpconv.bench import explain as benchmark
    from mlpconv.bench import explain_report as report
    from mlpconv.drawing.plots import png
    from mlpconv.runs.run import Run

    def show(result: Result) -> None:
        paragraph(report.setting(result))
        say()
        print_rows(report.TITLES, report.rows(result))
        say()
        for line in [*report.words(result), report.gate(result)]:
            paragraph(line)

    def measure(progress: benchmark.Progress) -> Result:
        trained = Run(run) if run else benchmark.trained(runs / "bench-explain-nin_28", progress)
        return benchmark.measure(trained, images, steps, rounds, progress)

    run_benchmark(
        "explain",
        measure,
        show,
        report.markdown,
        out=out,
        json=json,
        figure=lambda result: png(report.figure(result)),
    )
