"""``mlpconv models`` and ``summary``: networks, their shapes and what they cost. No framework takes part."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from typer import Argument, Option

from mlpconv.cli.output import (
    Column,
    Json,
    amount,
    next_steps,
    paragraph,
    print_json,
    say,
    size,
    table,
    width,
    write_file,
)
from mlpconv.errors import NetworkError, RecipeError, unknown

if TYPE_CHECKING:
    from mlpconv.arch.cost import Costs, LayerCost, Memory, ReceptiveField
    from mlpconv.arch.network import Network

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
            [{"name": entry.name, "parameters": costs.parameters, "macs": costs.macs, "input_shape": costs.input_shape,
              "source": entry.source} for costs, entry in found]
        )  # fmt: skip
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


class _Summary(NamedTuple):
    """A network with what is known of it at one batch, optimiser and precision."""

    network: "Network"
    costs: "Costs"
    classes: int
    prediction: "Memory"
    training: "Memory"
    last_map: "ReceptiveField | None"


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
        ("--optimizer", optimizer, ("sgd", "momentum", "adam", "adamw")), ("--precision", precision, _VALUE_BYTES),
        ("--depth", depth, ("block", "layer")),
    ):  # fmt: skip
        if value not in known:
            raise RecipeError(unknown(option, value, known))
    if batch < 1:
        raise RecipeError(f"--batch {batch}: a batch holds at least 1 image")
    shape = _shape(input) if input else None
    names = [first, *(compare or []), *more]
    all_of_them = [_summarize(name, shape, classes, batch, optimizer, precision) for name in names]
    one, others = all_of_them[0], all_of_them[1:]
    if svg:
        from mlpconv.arch.diagram import compare_svg, to_svg

        drawn = compare_svg([each.network for each in all_of_them]) if others else to_svg(one.network)
        write_file(svg, drawn, "--svg")
    if json:
        value = _as_json(one, batch, optimizer, precision)
        print_json(
            value | ({"compare": [_as_json(each, batch, optimizer, precision) for each in others]} if others else {})
        )
        return
    if others:
        _print_beside(all_of_them, batch, optimizer, precision)
    else:
        _print_one(one, batch, optimizer, precision, depth)
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
) -> _Summary:
    from mlpconv.arch.cost import count, last_map, prediction_memory, training_memory
    from mlpconv.arch.shapes import num_classes
    from mlpconv.models import create_model

    network = create_model(name, num_classes=classes, input_channels=shape[0] if shape else None)
    network = network.replace(input_size=shape[1:]) if shape else network
    value_bytes = _VALUE_BYTES[precision]
    return _Summary(
        network,
        count(network),
        num_classes(network),
        prediction_memory(network, batch=batch, value_bytes=value_bytes),
        training_memory(network, batch=batch, optimizer=optimizer, value_bytes=value_bytes),
        last_map(network),
    )


def _as_json(one: _Summary, batch: int, optimizer: str, precision: str) -> dict[str, Any]:
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


def _print_one(one: _Summary, batch: int, optimizer: str, precision: str, depth: str) -> None:
    from mlpconv.arch.shapes import show

    costs = one.costs
    say(f"{one.network.name}: one image of {show(costs.input_shape)}, {one.classes} classes\n")
    if depth == "layer":
        _print_layers(one)
    else:
        _print_blocks(one)
    total = costs.total()
    lines = [
        ("parameters", costs.parameters, f"{total.weights:,} weights and {total.biases:,} biases"),
        ("MACs", costs.macs, "multiply-accumulates, forward"),
        ("FLOPs", costs.flops, "forward: 2 × MACs"),
        ("", costs.training_flops, "forward and backward: one image of training"),
    ]
    digits = len(f"{costs.training_flops:,}")
    say()
    for name, number, note in lines:
        paragraph(note, first=f"{name:16}{number:>{digits},}  ", indent=18 + digits)
    if seen := one.last_map:
        outside = " (with what lies over the edge)" if max(seen.size) > max(costs.input_shape[1:]) else ""
        note = f"one value of the last map, {seen.name}, sees {show(seen.size)} pixels{outside}, "
        paragraph(f"{note}the next one {show(seen.stride)} further on", first=f"{'receptive field':16}", indent=16)
    say(f"\nmemory of tensors, batch {batch:,}, {precision}")
    rows = [
        [name.replace("batch", "input batch"), size(getattr(one.prediction, name)), size(getattr(one.training, name))]
        for name in one.training._fields
    ]
    rows.append(["total", size(one.prediction.total), size(one.training.total)])
    columns = [Column(""), Column("prediction", True), Column(f"training with {optimizer}", True)]
    table(columns, rows, total=True, indent=2)


def _print_blocks(one: _Summary) -> None:
    from mlpconv.arch.shapes import block_shapes, show

    costs = one.costs
    rows = [["input", "", show(costs.input_shape), "", ""]]
    for name, kind, shape in block_shapes(one.network):
        inner = [layer for layer in costs.layers if layer.name.partition(".")[0] == name]
        parameters, macs = sum(layer.parameters for layer in inner), sum(layer.macs for layer in inner)
        rows.append([name, kind, show(shape), _number(parameters), _number(macs)])
    rows.append(["total", "", show(costs.layers[-1].output_shape), f"{costs.parameters:,}", f"{costs.macs:,}"])
    columns = [
        Column("name"), Column("kind", leave_out=1), Column("output", True), Column("parameters", True), Column("MACs", True),
    ]  # fmt: skip
    table(columns, rows, total=True)


def _print_layers(one: _Summary) -> None:
    from mlpconv.arch.cost import receptive_fields
    from mlpconv.arch.shapes import show

    columns = [
        Column("name"), Column("kind", leave_out=7), Column("output", True), Column("parameters", True),
        Column("multiplications", True, 2), Column("additions", True, 3), Column("bias adds", True, 5),
        Column("FLOPs", True), Column("activation", True, 8), Column("pooling", True, 9), Column("normalisation", True, 10),
        Column("field", True, 4),
    ]  # fmt: skip
    fields = receptive_fields(one.network)
    sees = [show(field.size) if field.size[0] != field.size[1] else str(field.size[0]) for field in fields]

    def row(cost: "LayerCost", seen: str) -> list[str]:
        counts = (
            cost.parameters, cost.multiplications, cost.additions, cost.bias_additions, cost.flops, cost.activation_ops,
            cost.pooling_ops, cost.normalization_ops,
        )  # fmt: skip
        return [cost.name, cost.kind, show(cost.output_shape), *map(_number, counts), seen]

    rows = [row(cost, seen) for cost, seen in zip(one.costs.layers, sees, strict=True)]
    table(columns, [*rows, row(one.costs.total(), "")], total=True)


def _print_beside(summaries: list[_Summary], batch: int, optimizer: str, precision: str) -> None:
    from mlpconv.arch.shapes import show

    def share(one: _Summary) -> str:
        return f"{one.costs.fully_connected_parameters / max(1, one.costs.parameters):.1%}"

    rows = [
        ["input", *(show(one.costs.input_shape) for one in summaries)],
        ["classes", *(str(one.classes) for one in summaries)],
        ["parameters", *(f"{one.costs.parameters:,}" for one in summaries)],
        ["  fully connected", *map(share, summaries)],
        ["MACs", *(amount(one.costs.macs) for one in summaries)],
        ["FLOPs", *(amount(one.costs.flops) for one in summaries)],
        ["training memory", *(size(one.training.total) for one in summaries)],
        ["prediction memory", *(size(one.prediction.total) for one in summaries)],
    ]
    # Networks that have no room beside the others stand below them.
    most, room = max(len(cell) for row in rows for cell in row[1:]), width()
    most = 2 + max(most, *(len(one.network.name) for one in summaries))
    many = len(summaries) if room is None else max(1, (room - max(len(row[0]) for row in rows)) // most)
    for start in range(0, len(summaries), many):
        chosen = slice(start + 1, start + 1 + many)
        titles = [one.network.name for one in summaries[start : start + many]]
        table([Column(""), *(Column(title, True) for title in titles)], [[row[0], *row[chosen]] for row in rows])
        say()
    paragraph(
        f"MACs and FLOPs are of one image, forward; memory is of tensors at batch {batch:,} in {precision}, training with "
        f"{optimizer}. FLOPs are 2 × MACs."
    )


def _number(count: int) -> str:
    """A count in a table, where nothing stands out better than a zero."""
    return f"{count:,}" if count else ""
