"""``mlpconv report`` and ``compare``: runs for people who would rather look than read."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlpconv.cli.output import Column, Json, print_json, say, table, warn, write_file
from mlpconv.cli.use import RunPath
from mlpconv.formatting import format_bytes


def report(
    run: RunPath,
    out: Annotated[Path | None, Option(help="The file; report.html in the run directory by default.")] = None,
    open_: Annotated[bool, Option("--open", help="Show it in the browser.")] = False,
    json: Json = False,
) -> None:
    """Write the report of a run: one HTML file with plan, curves, mistakes, costs and how to repeat it.

    Example: mlpconv report latest --open
    """
    from mlpconv.reports.report import report_html
    from mlpconv.runs.run import REPORT, Run

    found = Run(run)
    path, page = out or found.path / REPORT, report_html(found)
    write_file(path, page, "--out")
    count = len(page.encode())
    if json:
        print_json({"run": str(found.path), "file": str(path), "bytes": count, "finished": found.result is not None})
    else:
        say(f"{path}: {format_bytes(count)}{'' if found.result else ', of a run that is not finished'}")
    if open_:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            warn(f"--open: no browser was found; open {path} yourself")


def compare(
    runs: Annotated[list[str], Argument(metavar="RUN RUN…", help="Run directories, two or more.")],
    out: Annotated[Path | None, Option(help="A file for the curves: .html (with the tables) or .png.")] = None,
    json: Json = False,
) -> None:
    """Compare runs: what was different, what came of it, and with --out their curves over each other.

    Example: mlpconv compare runs/quick-nin-1 runs/quick-nin-2 --out compared.html
    """
    from mlpconv.reports.compare import TITLES, chance, picture_or_page, shown
    from mlpconv.reports.compare import compare as compared
    from mlpconv.runs.run import Run

    found = compared([Run(run) for run in runs])
    if out is not None:
        write_file(out, picture_or_page(found, out), "--out")
    if json:
        print_json(
            {
                "runs": [str(run.path) for run in found.runs],
                "results": {row.name: row.values for row in found.results},
                "differences": {row.name: row.values for row in found.differences},
                "class_accuracy": {row.name: row.values for row in found.classes},
                "file": str(out) if out else None,
            }
        )
        return
    columns = [Column(name, right=True) for name in found.names]
    table([Column("result"), *columns], [[TITLES[row.name], *shown(row)] for row in found.results])
    room = chance(found)
    if room is not None:
        say(f"between the two best a difference of test accuracy below {room:.4f} may be chance")
    say()
    if found.differences:
        left = [Column(name) for name in found.names]
        rows = [[row.name, *("–" if value is None else value for value in row.values)] for row in found.differences]
        table([Column("what was different"), *left], rows)
    else:
        say("nothing was different: recipe, network, data, back end and versions are the same")
    if out is not None:
        say(f"\n{out}: the curves{' and the tables' if out.suffix != '.png' else ''}")
