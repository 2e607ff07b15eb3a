"""The command line. Each command composes what the rooms below compute; nothing heavy is imported before it is
needed."""

from typing import Annotated

import typer

from mlpconv.cli import bench, convert, data, doctor, explain, network, recipes, report, study, train, tune, use
from mlpconv.cli.deprecated import command_class
from mlpconv.version import __version__

app = typer.Typer(
    name="mlpconv",
    help="Network in Network: learn it, train it fast and reliably, explain it, ship it.",
    epilog="Begin with: mlpconv train",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mlpconv {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for command in (
    train.train,
    use.evaluate,
    use.predict,
    explain.explain,
    use.runs,
    report.report,
    report.compare,
    study.study,
    tune.tune,
    network.summary,
    network.models,
    recipes.recipes,
    convert.convert,
    doctor.doctor,
):
    app.command(cls=command_class(command))(command)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")
