"""``mlpconv summary``: the shapes and costs of networks. No framework is needed."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

from typer import Argument, Option

from mlpconv.arch.edition_output import EDITIONS, edition_lines
from mlpconv.cli.deprecated import renamed_options
from mlpconv.cli.output import Json, next_steps, print_json, say, write_file
from mlpconv.cli.summary_tables import Setting, Summary, print_network, print_side_by_side
from mlpconv.errors import NetworkError, RecipeError, unknown
from mlpconv.optimizers import VARIANTS

if TYPE_CHECKING:
    from mlpconv.arch.cost import LayerCost


@renamed_options({"--batch": "--batch-size"})
def summary(
    models: Annotated[
        list[str],
        Argument(metavar="MODEL", help="A network: a name, a JSON file, or module:function.", show_default=False),
    ],
    input: Annotated[
        str | None, Option(help="Channels, height and width, such as 3x32x32; by default the network's own.")
    ] = None,
    classes: Annotated[int | None, Option(help="Number of classes; by default the network's own.")] = None,
    batch_size: Annotated[int, Option(help="Images per batch in memory.")] = 128,
    optimizer: Annotated[str, Option(help=f"Optimizer for the training memory: {', '.join(VARIANTS)}.")] = "sgd",
    precision: Annotated[str, Option(help="Precision of the values in memory: float32 or bfloat16.")] = "float32",
    depth: Annotated[str, Option(help="Show one row per block or per layer.")] = "block",
    compare: Annotated[
        list[str] | None,
        Option(metavar="NAME…", help="Networks to show side by side with it: --compare alexnet vgg11 lenet."),
    ] = None,
    as_: Annotated[
        str | None,
        Option(
            "--as",
            metavar="EDITION",
            help=f"Print the shapes as the code of an edition of the chapter does: {', '.join(EDITIONS)}.",
        ),
    ] = None,
    svg: Annotated[
        Path | None, Option(metavar="FILE", help="Write a diagram of the network (and those to compare) to this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what a network computes and costs: shapes, parameters, multiply-accumulates, memory, receptive field.

    One MAC is one multiply-accumulate; FLOPs are 2 × MACs. The network is not run, and no framework is needed.

    Example: mlpconv summary nin --depth layer
    """
    from mlpconv.arch.cost import Precision

    # An option takes one value, so all names after the first of --compare arrive as arguments.
    first, *more = models
    if more and not compare:
        raise NetworkError(
            f"summary: expected one network, received {', '.join(models)}; to show them side by side: "
            f"mlpconv summary {first} --compare {' '.join(more)}"
        )
    for option, value, known in (
        ("--optimizer", optimizer, VARIANTS),
        ("--precision", precision, get_args(Precision)),
        ("--depth", depth, ("block", "layer")),
        *((("--as", as_, tuple(EDITIONS)),) if as_ is not None else ()),
    ):
        if value not in known:
            raise RecipeError(unknown(option, value, known))
    if batch_size < 1:
        raise RecipeError(f"--batch-size {batch_size}: expected at least 1 image")
    setting = Setting(batch_size, optimizer, precision)
    shape = _parse_shape(input) if input is not None else None
    summaries = [_summarize(name, shape, classes, setting) for name in (first, *(compare or []), *more)]
    main, *others = summaries
    if as_ is not None:
        if json or others or svg:
            raise NetworkError("--as: prints the shapes of one network; omit --json, --compare and --svg")
        for line in edition_lines(main.network, as_):
            print(line)  # unchanged: the console would expand the tabs
        return
    if svg:
        from mlpconv.drawing.diagram import compare_svg, to_svg

        drawing = compare_svg([each.network for each in summaries]) if others else to_svg(main.network)
        write_file(svg, drawing, "--svg")
    if json:
        compared = {"compare": [_to_json(other, setting) for other in others]} if others else {}
        print_json(_to_json(main, setting) | compared)
        return
    if others:
        print_side_by_side(summaries, setting)
    else:
        print_network(main, setting, depth)
    if svg:
        say(f"\ndiagram: {svg}")
    if not others:
        steps = [("--depth layer", "one row per layer")] if depth == "block" else []
        steps.append((f"--compare {'vgg11' if first == 'nin' else 'nin'}", "side by side with another network"))
        next_steps(*((f"mlpconv summary {first} {options}", gives) for options, gives in steps))


def _parse_shape(text: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})[x×](\d{1,6})", text.strip(), re.IGNORECASE)
    if not match or 0 in map(int, match.groups()):
        raise NetworkError(f"--input {text}: expected channels, height and width, such as 1x224x224 or 3x32x32")
    channels, height, width = map(int, match.groups())
    return channels, height, width


def _summarize(name: str, shape: tuple[int, int, int] | None, classes: int | None, setting: Setting) -> Summary:
    from mlpconv.arch.cost import Precision, count, last_map, prediction_memory, training_memory, value_bytes
    from mlpconv.arch.shapes import num_classes
    from mlpconv.models import create_model

    network = create_model(name, num_classes=classes, input_channels=shape[0] if shape else None)
    network = network.replace(input_size=shape[1:]) if shape else network
    batch, activation_bytes = setting.batch_size, value_bytes(cast(Precision, setting.precision))
    return Summary(
        network,
        count(network),
        num_classes(network),
        prediction_memory(network, batch=batch, value_bytes=activation_bytes),
        training_memory(network, batch=batch, optimizer=setting.optimizer, value_bytes=activation_bytes),
        last_map(network),
    )


def _to_json(summary: Summary, setting: Setting) -> dict[str, Any]:
    costs, seen = summary.costs, summary.last_map
    return {
        "format": 1,
        "name": summary.network.name,
        "input_shape": costs.input_shape,
        "num_classes": summary.classes,
        "parameters": costs.parameters,
        "fully_connected_parameters": costs.fully_connected_parameters,
        "macs": costs.macs,
        "flops": costs.flops,
        "training_flops": costs.training_flops,
        "memory": {
            "batch": setting.batch_size,
            "optimizer": setting.optimizer,
            "precision": setting.precision,
            "prediction": summary.prediction._asdict() | {"total": summary.prediction.total},
            "training": summary.training._asdict() | {"total": summary.training.total},
        },
        "receptive_field": seen and {"layer": seen.name, "size": seen.size, "stride": seen.stride},
        "digest": summary.network.digest,
        "layers": [_layer_json(layer) for layer in costs.layers],
    }


def _layer_json(layer: "LayerCost") -> dict[str, Any]:
    import msgspec

    hidden = ("backward_macs", "receptive_field")
    fields = {key: value for key, value in msgspec.structs.asdict(layer).items() if key not in hidden}
    return fields | {"parameters": layer.parameters, "macs": layer.macs, "flops": layer.flops}
