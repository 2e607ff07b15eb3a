"""The tables of ``mlpconv summary``: a network's shapes and costs, and networks side by side."""

from typing import TYPE_CHECKING, NamedTuple

from mlpconv.cli.output import Column, paragraph, say, table, width
from mlpconv.formatting import format_bytes, format_count

if TYPE_CHECKING:
    from mlpconv.arch.cost import Costs, Memory, ReceptiveField
    from mlpconv.arch.network import Network


class Summary(NamedTuple):
    """A network and its costs for one batch size, optimizer and precision."""

    network: "Network"
    costs: "Costs"
    classes: int
    prediction: "Memory"
    training: "Memory"
    last_map: "ReceptiveField | None"


class Setting(NamedTuple):
    """What the memory is counted for."""

    batch_size: int
    optimizer: str
    precision: str


def print_network(summary: Summary, setting: Setting, depth: str) -> None:
    """Print one network: a row per block or per layer, totals, receptive field and memory."""
    from mlpconv.arch.class_maps import single_position
    from mlpconv.arch.cost_table import block_table, layer_table
    from mlpconv.arch.shapes import show

    network, costs = summary.network, summary.costs
    say(f"{network.name}: one image of {show(costs.input_shape)}, {summary.classes} classes\n")
    columns, rows = layer_table(costs) if depth == "layer" else block_table(network, costs)
    table([Column(column.title, column.right, column.leave_out) for column in columns], rows, total=True)
    _print_totals(costs)
    if seen := summary.last_map:
        outside = " (partly outside the image)" if max(seen.size) > max(costs.input_shape[1:]) else ""
        paragraph(
            f"one value of the last map, {seen.name}, sees {show(seen.size)} pixels{outside}; neighboring values are "
            f"{show(seen.stride)} pixels apart",
            first=f"{'receptive field':16}",
            indent=16,
        )
    if single := single_position(network):
        paragraph(str(single), first=f"{'class maps':16}", indent=16)
    _print_memory(summary, setting)


def _print_totals(costs: "Costs") -> None:
    total = costs.total()
    lines = [
        ("parameters", costs.parameters, f"{total.weights:,} weights and {total.biases:,} biases"),
        ("MACs", costs.macs, "multiply-accumulates, forward"),
        ("FLOPs", costs.flops, "forward: 2 × MACs"),
        ("", costs.training_flops, "forward and backward, one image of training"),
    ]
    digits = len(f"{costs.training_flops:,}")
    say()
    for name, number, note in lines:
        paragraph(note, first=f"{name:16}{number:>{digits},}  ", indent=18 + digits)


def _print_memory(summary: Summary, setting: Setting) -> None:
    say(f"\nmemory of tensors, batch {setting.batch_size:,}, {setting.precision}")
    prediction, training = summary.prediction, summary.training
    rows = [
        [
            name.replace("batch", "images"),
            format_bytes(getattr(prediction, name)),
            format_bytes(getattr(training, name)),
        ]
        for name in training._fields
    ]
    rows.append(["total", format_bytes(prediction.total), format_bytes(training.total)])
    columns = [Column(""), Column("prediction", True), Column(f"training with {setting.optimizer}", True)]
    table(columns, rows, total=True, indent=2)


def print_side_by_side(summaries: list[Summary], setting: Setting) -> None:
    """Print networks side by side, one column each."""
    from mlpconv.arch.shapes import show

    def fully_connected(costs: "Costs") -> str:
        return f"{costs.fully_connected_parameters / max(1, costs.parameters):.1%}"

    rows = [
        ["input", *(show(summary.costs.input_shape) for summary in summaries)],
        ["classes", *(str(summary.classes) for summary in summaries)],
        ["parameters", *(f"{summary.costs.parameters:,}" for summary in summaries)],
        ["  fully connected", *(fully_connected(summary.costs) for summary in summaries)],
        ["MACs", *(format_count(summary.costs.macs) for summary in summaries)],
        ["FLOPs", *(format_count(summary.costs.flops) for summary in summaries)],
        ["training memory", *(format_bytes(summary.training.total) for summary in summaries)],
        ["prediction memory", *(format_bytes(summary.prediction.total) for summary in summaries)],
    ]
    names = [summary.network.name for summary in summaries]
    per_table = _networks_per_table(rows, names)
    for start in range(0, len(summaries), per_table):
        end = start + per_table
        table(
            [Column(""), *(Column(name, True) for name in names[start:end])],
            [[title, *cells[start:end]] for title, *cells in rows],
        )
        say()
    paragraph(
        f"MACs and FLOPs (2 × MACs): one image, forward. Memory: tensors at batch {setting.batch_size:,} in "
        f"{setting.precision}; training uses {setting.optimizer}."
    )


def _networks_per_table(rows: list[list[str]], names: list[str]) -> int:
    """How many networks fit side by side; the others are printed below."""
    available = width()
    if available is None:
        return len(names)
    column = 2 + max(len(text) for text in [*names, *(cell for _, *cells in rows for cell in cells)])
    return max(1, (available - max(len(row[0]) for row in rows)) // column)
