"""Options of the command line that set fields of the recipe. A field gets an option by one line in ``OPTIONS``."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, NamedTuple, get_args

from typer import Option

from mlpconv.cli.options import MAX_PIXELS_HELP
from mlpconv.optimizers import OptimizerName

RECIPE_HELP_TAIL = "a name or a TOML file (default: quick; folder for a folder of images)."
DATA_HELP = "Training data: a data set's name, a folder of images, or a CSV file of paths and labels."


class RecipeOption(NamedTuple):
    """An option for one field of the recipe."""

    field: str
    """The field's name, with a dot for a field of a table: "optimizer.momentum"."""
    type: type
    """The option's type; str for a field that takes a name."""
    help: str
    flag: str = ""
    """The option's name; by default the field's, with hyphens. A switch that also turns a field off has both names with
    a slash between them."""
    metavar: str | None = None


OPTIONS = (
    RecipeOption("model", str, "Network: a name, a JSON file, module:function, or auto to choose one for the images."),
    RecipeOption("data", str, DATA_HELP),
    RecipeOption("epochs", int, "Passes over the training images."),
    RecipeOption("learning_rate", float, "Peak learning rate.", flag="--lr"),
    RecipeOption("batch_size", int, "Images per training step."),
    RecipeOption("image_size", int, "Side in pixels to which images are resized."),
    RecipeOption("max_pixels", int, MAX_PIXELS_HELP),
    RecipeOption("optimizer", str, f"Optimizer: {', '.join(get_args(OptimizerName))}."),
    RecipeOption("initializer", str, "Initializer of the weights: xavier, he, torch, normal, open or identity."),
    RecipeOption("seed", int, "Seed for weight initialization, shuffling, augmentation and dropout."),
    RecipeOption("precision", str, "Precision: float32 or bfloat16; by default the fastest on this device."),
    RecipeOption(
        "on_trouble", str, "What to do when training diverges or loses a class: repair (the default), stop or ignore."
    ),
    RecipeOption(
        "validation",
        float,
        "Share of the training images to hold out as validation images, which select the best epoch.",
    ),
    RecipeOption(
        "target_accuracy",
        float,
        "Validation accuracy at which to stop; holds out 0.1 of the training images by default.",
    ),
    RecipeOption(
        "patience",
        int,
        "Epochs without a better validation accuracy after which to stop; holds out 0.1 of the images by default.",
    ),
    RecipeOption(
        "pretrained",
        str,
        "Run or .safetensors file whose weights to start from in all layers but the last block, for new classes "
        "(docs/how-to/start-weights.md).",
        metavar="RUN",
    ),
    RecipeOption(
        "freeze",
        bool,
        "Train the last block only, in seconds: the layers before it keep the weights of --pretrained. --no-freeze "
        "trains all layers where few photographs would not.",
        flag="--freeze/--no-freeze",
    ),
)


def with_recipe_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``OPTIONS`` in place of its parameter ``changes``. It receives there the values of
    the options that were given, as ``training.recipe.change`` takes them."""
    signature = inspect.signature(command)
    parameters: dict[str, inspect.Parameter] = {}
    for name, parameter in signature.parameters.items():
        if name != "changes":
            parameters[name] = parameter
            continue
        for option in OPTIONS:
            parameters[_parameter(option)] = inspect.Parameter(
                _parameter(option),
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[
                    option.type | None, Option(_flag(option), help=option.help, metavar=option.metavar)
                ],
            )

    @wraps(command)
    def with_options(**arguments: Any) -> None:
        changes: dict[str, Any] = {}
        for option in OPTIONS:
            value = arguments.pop(_parameter(option))
            if value is not None:
                *tables, field = option.field.split(".")
                table = changes
                for name in tables:
                    table = table.setdefault(name, {})
                table[field] = value
        command(changes=changes, **arguments)

    with_options.__signature__ = signature.replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
    with_options.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return with_options


def _flag(option: RecipeOption) -> str:
    return option.flag or "--" + option.field.rpartition(".")[2].replace("_", "-")


def _parameter(option: RecipeOption) -> str:
    return option.field.replace(".", "_")
