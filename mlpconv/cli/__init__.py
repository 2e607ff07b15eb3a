"""The command line: one module per command. Nothing heavy is imported before a command needs it."""

from typing import Annotated

import typer

from mlpconv.cli import (
    bench,
    compare,
    convert,
    data,
    dead_classes,
    doctor,
    evaluate,
    explain,
    export,
    models,
    predict,
    recipes,
    report,
    runs,
    serve,
    study,
    summary,
    train,
    tune,
)
from mlpconv.cli.deprecated import command_class
from mlpconv.version import __version__

app = typer.Typer(
    name="mlpconv",
    help="Network in Network: learn it, train it fast and reliably, explain it, ship it.",
    epilog="Start with: mlpconv train",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        print(f"mlpconv {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for command in (
    train.train,
    evaluate.evaluate,
    predict.predict,
    explain.explain,
    runs.runs,
    report.report,
    compare.compare,
    study.study,
    dead_classes.dead_classes,
    tune.tune,
    summary.summary,
    models.models,
    recipes.recipes,
    convert.convert,
    export.export,
    serve.serve,
    doctor.doctor,
):
    app.command(cls=command_class(command))(command)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
