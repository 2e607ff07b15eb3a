"""``mlpconv bench``: measure on this machine. One command per benchmark; without a name, all of them."""

import typer

from mlpconv.bench import BENCHMARKS
from mlpconv.cli.bench import (
    accuracy,
    checkpoint,
    explain,
    folder,
    forecast,
    frameworks,
    guard,
    overhead,
    predict,
    recipe,
    scale,
    serve,
    speedrun,
    train,
)
from mlpconv.cli.bench.common import Out
from mlpconv.cli.deprecated import command_class
from mlpconv.cli.output import Json

app = typer.Typer()

COMMANDS = {
    command.__name__: command
    for command in (
        train.train,
        predict.predict,
        serve.serve,
        forecast.forecast,
        overhead.overhead,
        recipe.recipe,
        accuracy.accuracy,
        speedrun.speedrun,
        guard.guard,
        explain.explain,
        checkpoint.checkpoint,
        folder.folder,
        frameworks.frameworks,
        scale.scale,
    )
}
assert tuple(COMMANDS) == BENCHMARKS
for command in COMMANDS.values():
    app.command(cls=command_class(command))(command)


@app.callback(invoke_without_command=True)
def bench(context: typer.Context, out: Out = None, json: Json = False) -> None:
    """Run benchmarks on this machine, mlpconv and its peers in turn. Without a name: all benchmarks.

    Example: mlpconv bench train
    """
    if context.invoked_subcommand is not None:
        if out is not None or json:
            raise typer.BadParameter(f"give --out and --json after {context.invoked_subcommand}")
        return
    for command in COMMANDS.values():
        command(out=out, json=json)
