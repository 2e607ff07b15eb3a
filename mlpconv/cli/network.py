"""``mlpconv models`` and ``summary``: networks, their shapes and what they cost. No framework takes part."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from mlpconv.cli.ledger import Summary, print_beside, print_one
from mlpconv.cli.output import Column, Json, next_steps, print_json, say, table, write_file
from mlpconv.errors import NetworkError, RecipeError, unknown

if TYPE_CHECKING:
    from mlpconv.arch.cost import LayerCost

_VALUE_BYTES = {"float32": 4, "bfloat16": 2}


def models(json: Json = False) -> None:
    """List the registered networks with their parameters and multiply-accumulates.

    Example: mlpconv models
    """
    from mlpconv.arch.cost import count
    from mlpconv.arch.shapes import show
    from mlpconv.models import create_model, list_models, model_entry

    found = [(count(create_model(name)), model_entry(name)) for name in list_models()]
    if json:
        print_json(
            [
                {
                    "name": entry.name,
                    "parameters": costs.parameters,
                    "macs": costs.macs,
                    "input_shape": costs.input_shape,
                    "source": entry.source,
                }
                for costs, entry in found
            ]
        )
        return
    columns = [
        Column("name"),
        Column("parameters", True),
        Column("MACs", True),
        Column("input", True),
        Column("source"),
    ]
    rows = [
        [entry.name, f"{costs.parameters:,}", f"{costs.macs:,}", show(costs.input_shape), entry.source]
        for costs, entry in found
    ]
    table(columns, rows, flowing=True)
    next_steps(
        ("mlpconv summary nin", "shapes and costs, block by block"),
        ("mlpconv train --model nin", "train one"),
    )


def summary(
    models: Annotated[
        list[str],
        Argument(metavar="MODEL", help="A network: a name, a JSON file, or module:function.", show_default=False),
    ],
    input: Annotated[
        str | None, Option(help="Channels, height and width, such as 3x32x32; the network's own by default.")
    ] = None,
    classes: Annotated[int | None, Option(help="Classes to tell apart; the network's own by default.")] = None,
    batch: Annotated[int, Option(help="Images in a batch, for the memory.")] = 128,
    optimizer: Annotated[str, Option(help="sgd, momentum, adam or adamw, for the memory.")] = "sgd",
    precision: Annotated[str, Option(help="float32 or bfloat16, for the memory.")] = "float32",
    depth: Annotated[str, Option(help="block or layer: what has a row of its own.")] = "block",
    compare: Annotated[
        list[str] | None, Option(metavar="NAME…", help="Networks to set beside it: --compare alexnet vgg11 lenet.")
    ] = None,
    svg: Annotated[
        Path | None, Option(metavar="FILE", help="Draw the network, or with --compare all, into this file.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what a network computes and costs: shapes, parameters, multiply-accumulates, memory, receptive field.

    One MAC is one multiply-accumulate; FLOPs are 2 × MACs. Nothing is run and no framework is needed.

    Example: mlpconv summary nin --depth layer
    """
    # An option takes one value, so that all but the first of several names arrive as arguments.
    first, *more = models
    if more and not compare:
        raise NetworkError(
            f"summary: takes one network, received {', '.join(models)}; to set them side by side: "
            f"mlpconv summary {first} --compare {' '.join(more)}"
        )
    for option, value, known in (
        ("--optimizer", optimizer, ("sgd", "momentum", "adam", "adamw")),
        ("--precision", precision, _VALUE_BYTES),
        ("--depth", depth, ("block", "layer")),
    ):
        if value not in known:
            raise RecipeError(unknown(option, value, known))
    if batch < 1:
        raise RecipeError(f"--batch {batch}: a batch holds at least 1 image")
    shape = _shape(input) if input is not None else None
    names = [first, *(compare or []), *more]
    all_of_them = [_summarize(name, shape, classes, batch, optimizer, precision) for name in names]
    one, others = all_of_them[0], all_of_them[1:]
    if svg:
        from mlpconv.drawing.diagram import compare_svg, to_svg

        drawn = compare_svg([each.network for each in all_of_them]) if others else to_svg(one.network)
        write_file(svg, drawn, "--svg")
    if json:
        value = _as_json(one, batch, optimizer, precision)
        print_json(
            value | ({"compare": [_as_json(each, batch, optimizer, precision) for each in others]} if others else {})
        )
        return
    if others:
        print_beside(all_of_them, batch, optimizer, precision)
    else:
        print_one(one, batch, optimizer, precision, depth)
    if svg:
        say(f"\nthe diagram is in {svg}")
    if not others:
        steps = [("--depth layer", "the same for every layer")] if depth == "block" else []
        steps.append((f"--compare {'vgg11' if first == 'nin' else 'nin'}", "beside another network"))
        next_steps(*((f"mlpconv summary {first} {options}", gives) for options, gives in steps))


def _shape(text: str) -> tuple[int, int, int]:
    found = re.fullmatch(r"(\d{1,6})[x×](\d{1,6})[x×](\d{1,6})", text.strip(), re.IGNORECASE)
    if not found or "0" in (sides := [str(int(side)) for side in found.groups()]):
        raise NetworkError(f"--input {text}: expected channels, height and width, such as 1x224x224 or 3x32x32")
    channels, height, width = map(int, sides)
    return channels, height, width


def _summarize(
    name: str, shape: tuple[int, int, int] | None, classes: int | None, batch: int, optimizer: str, precision: str
) -> Summary:
    from mlpconv.arch.cost import count, last_map, prediction_memory, training_memory
    from mlpconv.arch.shapes import num_classes
    from mlpconv.models import create_model

    network = create_model(name, num_classes=classes, input_channels=shape[0] if shape else None)
    network = network.replace(input_size=shape[1:]) if shape else network
    value_bytes = _VALUE_BYTES[precision]
    return Summary(
        network,
        count(network),
        num_classes(network),
        prediction_memory(network, batch=batch, value_bytes=value_bytes),
        training_memory(network, batch=batch, optimizer=optimizer, value_bytes=value_bytes),
        last_map(network),
    )


def _as_json(one: Summary, batch: int, optimizer: str, precision: str) -> dict[str, Any]:
    costs, seen = one.costs, one.last_map
    return {
        "format": 1,
        "name": one.network.name,
        "input_shape": costs.input_shape,
        "num_classes": one.classes,
        "parameters": costs.parameters,
        "fully_connected_parameters": costs.fully_connected_parameters,
        "macs": costs.macs,
        "flops": costs.flops,
        "training_flops": costs.training_flops,
        "memory": {
            "batch": batch,
            "optimizer": optimizer,
            "precision": precision,
            "prediction": one.prediction._asdict() | {"total": one.prediction.total},
            "training": one.training._asdict() | {"total": one.training.total},
        },
        "receptive_field": seen and {"layer": seen.name, "size": seen.size, "stride": seen.stride},
        "digest": one.network.digest,
        "layers": [_layer_json(layer) for layer in costs.layers],
    }


def _layer_json(layer: "LayerCost") -> dict[str, Any]:
    fields = {key: value for key, value in layer._asdict().items() if key != "backward_macs"}
    return fields | {"parameters": layer.parameters, "macs": layer.macs, "flops": layer.flops}
