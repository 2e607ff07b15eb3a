"""What ``mlpconv summary`` prints: a network's shapes and costs as tables."""

from itertools import compress
from typing import TYPE_CHECKING, NamedTuple

from mlpconv.cli.output import Column, paragraph, say, table, width
from mlpconv.formatting import format_bytes, format_count

if TYPE_CHECKING:
    from mlpconv.arch.cost import Costs, LayerCost, Memory, ReceptiveField
    from mlpconv.arch.network import Network


class Summary(NamedTuple):
    """A network with what is known of it at one batch, optimiser and precision."""

    network: "Network"
    costs: "Costs"
    classes: int
    prediction: "Memory"
    training: "Memory"
    last_map: "ReceptiveField | None"


def print_one(one: Summary, batch: int, optimizer: str, precision: str, depth: str) -> None:
    """Print one network: a row for each block or layer, totals, memory."""
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
        [
            name.replace("batch", "images"),
            format_bytes(getattr(one.prediction, name)),
            format_bytes(getattr(one.training, name)),
        ]
        for name in one.training._fields
    ]
    rows.append(["total", format_bytes(one.prediction.total), format_bytes(one.training.total)])
    columns = [Column(""), Column("prediction", True), Column(f"training with {optimizer}", True)]
    table(columns, rows, total=True, indent=2)


def _print_blocks(one: Summary) -> None:
    from mlpconv.arch.shapes import block_shapes, show

    costs = one.costs
    rows = [["input", "", show(costs.input_shape), "", ""]]
    for name, kind, shape in block_shapes(one.network):
        inner = [layer for layer in costs.layers if layer.name.partition(".")[0] == name]
        parameters, macs = sum(layer.parameters for layer in inner), sum(layer.macs for layer in inner)
        rows.append([name, kind, show(shape), _number(parameters), _number(macs)])
    rows.append(["total", "", show(costs.layers[-1].output_shape), f"{costs.parameters:,}", f"{costs.macs:,}"])
    columns = [
        Column("name"),
        Column("kind", leave_out=1),
        Column("output", True),
        Column("parameters", True),
        Column("MACs", True),
    ]
    table(columns, rows, total=True)


def _print_layers(one: Summary) -> None:
    from mlpconv.arch.cost import receptive_fields
    from mlpconv.arch.shapes import show

    columns = [
        Column("name"),
        Column("kind", leave_out=7),
        Column("output", True),
        Column("parameters", True),
        Column("multiplications", True, 2),
        Column("additions", True, 3),
        Column("bias adds", True, 5),
        Column("FLOPs", True),
        Column("activation", True, 8),
        Column("pooling", True, 9),
        Column("normalisation", True, 10),
        Column("field", True, 4),
    ]
    fields = receptive_fields(one.network)
    sees = [show(field.size) if field.size[0] != field.size[1] else str(field.size[0]) for field in fields]

    def row(cost: "LayerCost", seen: str) -> list[str]:
        counts = (
            cost.parameters,
            cost.multiplications,
            cost.additions,
            cost.bias_additions,
            cost.flops,
            cost.activation_ops,
            cost.pooling_ops,
            cost.normalization_ops,
        )
        return [cost.name, cost.kind, show(cost.output_shape), *map(_number, counts), seen]

    rows = [row(cost, seen) for cost, seen in zip(one.costs.layers, sees, strict=True)] + [row(one.costs.total(), "")]
    # A network without normalisation needs no column for it.
    used = [any(cells) for cells in zip(*rows, strict=True)]
    table(list(compress(columns, used)), [list(compress(cells, used)) for cells in rows], total=True)


def print_beside(summaries: list[Summary], batch: int, optimizer: str, precision: str) -> None:
    """Print networks side by side, a column each."""
    from mlpconv.arch.shapes import show

    def share(one: Summary) -> str:
        return f"{one.costs.fully_connected_parameters / max(1, one.costs.parameters):.1%}"

    rows = [
        ["input", *(show(one.costs.input_shape) for one in summaries)],
        ["classes", *(str(one.classes) for one in summaries)],
        ["parameters", *(f"{one.costs.parameters:,}" for one in summaries)],
        ["  fully connected", *map(share, summaries)],
        ["MACs", *(format_count(one.costs.macs) for one in summaries)],
        ["FLOPs", *(format_count(one.costs.flops) for one in summaries)],
        ["training memory", *(format_bytes(one.training.total) for one in summaries)],
        ["prediction memory", *(format_bytes(one.prediction.total) for one in summaries)],
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
        f"MACs and FLOPs (2 × MACs) are of one image, forward; memory is of tensors at batch {batch:,} in {precision}, "
        f"training with {optimizer}."
    )


def _number(count: int) -> str:
    """A count in a table, where nothing stands out better than a zero."""
    return f"{count:,}" if count else ""
