"""Networks and what they cost, as tables; no framework and no array takes part."""

from mlpconv.arch.cost import Costs, Memory, count, prediction_memory, training_memory
from mlpconv.arch.cost_table import block_table, layer_table
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import show
from mlpconv.drawing.diagram import compare_svg, to_svg
from mlpconv.errors import NetworkError
from mlpconv.formatting import format_bytes
from mlpconv.notebook.page import Column, Html, details, element, page, table


def network_html(network: Network) -> Html:
    """The output shape of every block, with parameters and MACs; the diagram, folded away."""
    try:
        costs = count(network)
    except NetworkError as error:
        return page(element("pre", repr(network)), element("p", str(error)))
    columns, rows = block_table(network, costs)
    return page(
        element("p", element("strong", network.name or "Network")),
        table([Column(column.title, column.right) for column in columns], rows, total=True),
        details("diagram", Html(to_svg(network))),
    )


def costs_html(costs: Costs) -> Html:
    """Every layer's counts for one image, and their sums; a column that would be empty is left out."""
    columns, rows = layer_table(costs)
    return page(
        table([Column(column.title, column.right) for column in columns], rows, total=True),
        element(
            "p",
            f"One image of {show(costs.input_shape)}. FLOPs = 2 × multiply-accumulates: {costs.flops:,} forward, "
            f"{costs.training_flops:,} forward and backward.",
        ),
    )


def memory_html(memory: Memory) -> Html:
    """Bytes by what they are for, and their sum."""
    rows = [[name, format_bytes(value) if value else ""] for name, value in memory._asdict().items()]
    return page(
        table(
            [Column("memory of tensors"), Column("", True)], [*rows, ["total", format_bytes(memory.total)]], total=True
        )
    )


def compare(*networks: Network, batch: int = 128) -> Html:
    """Networks side by side, a column each, and their figure, folded away. batch: images, for the memory.

    Each is counted at the image size that it was designed for, its memory in float32 with plain SGD. Raises
    NetworkError for none or more than four, and where shapes do not fit.
    """
    figure = compare_svg(networks)
    costs = [count(network) for network in networks]
    training = [training_memory(network, batch=batch).total for network in networks]
    prediction = [prediction_memory(network, batch=batch).total for network in networks]
    connected = [each.fully_connected_parameters / max(each.parameters, 1) for each in costs]
    rows = [
        ["input", *(show(each.input_shape) for each in costs)],
        ["parameters", *(f"{each.parameters:,}" for each in costs)],
        ["of these fully connected", *(f"{share:.1%}" for share in connected)],
        ["MACs, forward", *(f"{each.macs:,}" for each in costs)],
        ["FLOPs, forward", *(f"{each.flops:,}" for each in costs)],
        ["FLOPs, forward and backward", *(f"{each.training_flops:,}" for each in costs)],
        [f"training memory, batch {batch:,}", *map(format_bytes, training)],
        [f"prediction memory, batch {batch:,}", *map(format_bytes, prediction)],
    ]
    titles = [Column(network.name or "network", True) for network in networks]
    return page(table([Column(""), *titles], rows), details("figure", Html(figure)))
