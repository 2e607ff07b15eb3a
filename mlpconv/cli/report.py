"""``mlpconv report``: the HTML report of a run."""

from pathlib import Path
from typing import Annotated

from typer import Option

from mlpconv.cli.options import RunPath
from mlpconv.cli.output import Json, print_json, say, warn, write_file
from mlpconv.formatting import format_bytes


def report(
    run: RunPath,
    out: Annotated[
        Path | None, Option(metavar="FILE", help="File to write; by default report.html in the run directory.")
    ] = None,
    open_: Annotated[bool, Option("--open", help="Open the report in the browser.")] = False,
    json: Json = False,
) -> None:
    """Write the report of a run: one HTML file with plan, curves, mistakes, costs and the command that repeats it.

    Example: mlpconv report latest --open
    """
    from mlpconv.reports.report import report_html
    from mlpconv.runs.run import REPORT, Run

    opened = Run(run)
    path, page = out or opened.path / REPORT, report_html(opened)
    write_file(path, page, "--out")
    size = len(page.encode())
    if json:
        print_json({"run": str(opened.path), "file": str(path), "bytes": size, "finished": opened.result is not None})
    else:
        say(f"{path}: {format_bytes(size)}{'' if opened.result else '; the run is not finished'}")
    if open_:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            warn(f"--open: no browser found; open {path} yourself")
