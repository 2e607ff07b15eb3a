"""The display of a run: its result, curves and recipe."""

from mlpconv.errors import MlpconvError
from mlpconv.formatting import format_duration
from mlpconv.notebook.chart import curves_html
from mlpconv.notebook.page import Column, Html, bar, render
from mlpconv.runs.run import Result, Run
from mlpconv.training.metrics import accuracy_note
from mlpconv.training.recipe import to_toml

_RESULT_COLUMNS = [Column(title, right=True) for title in ("loss", "train acc", "test acc", "examples/sec", "time")]
_CLASS_COLUMNS = [Column("class"), Column("test acc", right=True), Column(""), Column("")]


def run_html(run: Run) -> Html:
    """The result as the chapter prints it and the curves; a click opens the accuracy by class and the recipe."""
    config = run.config
    history, result, state = [], None, ""
    try:
        history, result = run.history, run.result
        if result is None:
            done = f"{len(history)} of {config.recipe.epochs} epochs are done"
            state = f"not finished: {done}; train with resume=True to continue"
    except MlpconvError as error:  # a damaged file must not keep the rest from being shown
        state = str(error)
    return render(
        "run",
        run=run,
        summary=(
            f"{config.recipe.model} on {config.data.name} ({config.data.train:,} training and {config.data.test:,} "
            f"test images), recipe {config.recipe_name}, {config.backend} on {config.device}, {config.precision}"
        ),
        state=state,
        result_columns=_RESULT_COLUMNS,
        result=_result_row(result) if result else None,
        interval=_interval(result) if result else "",
        curves=curves_html(history, epochs=config.recipe.epochs) if history else "",
        class_columns=_CLASS_COLUMNS,
        class_rows=_class_rows(result) if result else [],
        recipe=to_toml(config.recipe),
    )


def _result_row(result: Result) -> list[str]:
    return [
        f"{result.loss:.3f}",
        f"{result.train_accuracy:.3f}",
        f"{result.test_accuracy:.3f}",
        f"{result.examples_per_second:,.1f}",
        format_duration(result.seconds),
    ]


def _interval(result: Result) -> str:
    note = accuracy_note(result.test_accuracy, sum(map(sum, result.confusion)))
    return f"test acc of {note.strip(' ()')}" if note else ""


def _class_rows(result: Result) -> list[list[str]]:
    return [
        [name, "no images", "", ""]
        if accuracy is None
        else [name, f"{accuracy:.3f}", bar(accuracy), accuracy_note(accuracy, sum(images)).strip(" ()")]
        for (name, accuracy), images in zip(result.class_accuracy.items(), result.confusion, strict=True)
    ]
