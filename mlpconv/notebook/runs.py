"""A run as a page: how it ended, its curves, and what it was told."""

from mlpconv.errors import MlpconvError
from mlpconv.formatting import format_duration
from mlpconv.notebook.chart import curves_html
from mlpconv.notebook.page import Column, Html, bar, details, element, page, table
from mlpconv.runs.run import Result, Run
from mlpconv.training.recipe import to_toml


def run_html(run: Run) -> Html:
    """The result as the chapter prints it, the curves, and, folded away, accuracy by class and the recipe."""
    config = run.config
    title = element("p", element("strong", run.name), f" in {run.path}")
    told = (
        f"{config.recipe.model} on {config.data.name} ({config.data.train:,} training and {config.data.test:,} test "
        f"images), recipe {config.recipe_name}, {config.backend} on {config.device}, {config.precision}"
    )
    recipe = details("recipe", element("pre", to_toml(config.recipe)))
    try:
        history, result = run.history, run.result
    except MlpconvError as error:  # a damaged file must not keep the rest from being shown
        return page(title, element("p", told), element("p", str(error)), recipe)
    curves = [curves_html(history, epochs=config.recipe.epochs)] if history else []
    if result is None:
        state = f"not finished: {len(history)} of {config.recipe.epochs} epochs are done; resume=True goes on with it"
        return page(title, element("p", told), element("p", state), *curves, recipe)
    return page(title, element("p", told), _outcome(result), *curves, _by_class(result), recipe)


def _outcome(result: Result) -> Html:
    return table(
        [Column(title, True) for title in ("loss", "train acc", "test acc", "examples/sec", "time")],
        [
            [
                f"{result.loss:.3f}",
                f"{result.train_accuracy:.3f}",
                f"{result.test_accuracy:.3f}",
                f"{result.examples_per_second:,.1f}",
                format_duration(result.seconds),
            ]
        ],
    )


def _by_class(result: Result) -> Html:
    rows = [
        [name, "no images" if share is None else f"{share:.3f}", "" if share is None else bar(share)]
        for name, share in result.class_accuracy.items()
    ]
    columns = [Column("class"), Column("test acc", True), Column("")]
    return details("test accuracy by class", table(columns, rows))
