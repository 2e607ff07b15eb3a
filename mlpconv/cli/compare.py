"""``mlpconv compare``: the differences between runs and their results."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlpconv.cli.output import Column, Json, print_json, say, table, write_file


def compare(
    runs: Annotated[list[str], Argument(metavar="RUN RUN…", help="Two or more run directories.")],
    out: Annotated[
        Path | None, Option(metavar="FILE", help="Write the curves to this file: .html (with the tables) or .png.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare runs: their settings, their results and, with --out, their curves in one plot.

    Example: mlpconv compare runs/quick-nin-1 runs/quick-nin-2 --out compared.html
    """
    from mlpconv.reports.compare import TITLES, chance, picture_or_page, shown
    from mlpconv.reports.compare import compare as compare_runs
    from mlpconv.runs.run import Run

    compared = compare_runs([Run(run) for run in runs])
    if out is not None:
        write_file(out, picture_or_page(compared, out), "--out")
    if json:
        print_json(
            {
                "runs": [str(run.path) for run in compared.runs],
                "results": {row.name: row.values for row in compared.results},
                "differences": {row.name: row.values for row in compared.differences},
                "class_accuracy": {row.name: row.values for row in compared.classes},
                "file": str(out) if out else None,
            }
        )
        return
    columns = [Column(name, right=True) for name in compared.names]
    table([Column("result"), *columns], [[TITLES[row.name], *shown(row)] for row in compared.results])
    margin = chance(compared)
    if margin is not None:
        say(f"a difference in test accuracy below {margin:.4f} between the two best may be chance")
    say()
    if compared.differences:
        left = [Column(name) for name in compared.names]
        rows = [[row.name, *("–" if value is None else value for value in row.values)] for row in compared.differences]
        table([Column("difference"), *left], rows)
    else:
        say("no differences: recipe, network, data, back end and versions are the same")
    if out is not None:
        say(f"\n{out}: the curves{' and the tables' if out.suffix != '.png' else ''}")
