"""``mlpconv runs``: the runs in a directory with their results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit

from mlpconv.cli.output import Column, Json, err, print_json, table, warn
from mlpconv.errors import RunError
from mlpconv.formatting import format_duration

if TYPE_CHECKING:
    from mlpconv.runs.run import Run


def runs(
    directory: Annotated[Path, Argument(help="Directory that holds the run directories.")] = Path("runs"),
    json: Json = False,
) -> None:
    """List the runs in a directory with their results.

    Example: mlpconv runs
    """
    from mlpconv.runs.run import list_runs

    rows, damaged = [], []
    for run in list_runs(directory):
        try:
            rows.append(_row(run))
        except RunError as error:  # of one run; the others are listed
            damaged.append(str(error))
    if json:
        print_json(rows)
    else:
        _print(rows, directory)
    for message in damaged:
        warn(message)
    if damaged:
        raise Exit(RunError.exit_code)


def _print(rows: list[dict[str, Any]], directory: Path) -> None:
    if not rows:
        err().print(f"no runs in {directory}; mlpconv train starts one", markup=False)
        return
    columns = [
        Column("run"),
        Column("model", leave_out=1),
        Column("data", leave_out=2),
        Column("seed", True, 4),
        Column("epochs", True, 3),
        Column("test acc", True),
        Column("test images", True, 5),
        Column("95 % interval", True, 6),
        Column("time", True),
    ]
    table(columns, [_cells(row) for row in rows])


def _row(run: "Run") -> dict[str, Any]:
    from mlpconv.runs.history import best_epoch
    from mlpconv.training.metrics import accuracy_interval

    recipe, result, history = run.config.recipe, run.result, run.history
    accuracy, images = history[best_epoch(history) - 1]["test_accuracy"] if history else None, run.config.data.test
    return {
        "run": str(run.path),
        "model": recipe.model,
        "data": recipe.data,
        "recipe": run.config.recipe_name,
        "seed": recipe.seed,
        "epochs": len(history),
        "of": recipe.epochs,
        "finished": result is not None,
        "test_accuracy": accuracy,
        "test_images": images,
        "test_accuracy_interval": None if accuracy is None else accuracy_interval(accuracy, images),
        "seconds": result.seconds if result else None,
    }


def _cells(row: dict[str, Any]) -> list[str]:
    from mlpconv.training.metrics import interval_text

    accuracy = "" if row["test_accuracy"] is None else f"{row['test_accuracy']:.4f}"
    interval = "" if row["test_accuracy"] is None else interval_text(row["test_accuracy"], row["test_images"])
    time = format_duration(row["seconds"]) if row["seconds"] is not None else "unfinished"
    epochs = f"{row['epochs']}/{row['of']}"
    return [
        row["run"],
        row["model"],
        row["data"],
        str(row["seed"]),
        epochs,
        accuracy,
        f"{row['test_images']:,}",
        interval,
        time,
    ]
