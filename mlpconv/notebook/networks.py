"""Displays of networks and their costs: tables and diagrams."""

from markupsafe import Markup

from mlpconv.arch.cost import Costs, Memory, count, prediction_memory, training_memory
from mlpconv.arch.cost_table import block_table, layer_table
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import show
from mlpconv.drawing.diagram import compare_svg, to_svg
from mlpconv.errors import NetworkError
from mlpconv.formatting import format_bytes
from mlpconv.notebook.page import Column, Html, render


def network_html(network: Network) -> Html:
    """The output shape, parameters and MACs of every block, and the diagram, which a click opens."""
    try:
        costs = count(network)
    except NetworkError as error:
        return render("invalid_network", text=repr(network), error=str(error))
    columns, rows = block_table(network, costs)
    diagram = Markup(to_svg(network))
    return render("network", name=network.name or "Network", columns=columns, rows=rows, diagram=diagram)


def costs_html(costs: Costs) -> Html:
    """The costs of every layer for one image, and their sums. Empty columns are left out."""
    columns, rows = layer_table(costs)
    return render("costs", columns=columns, rows=rows, costs=costs, shape=show(costs.input_shape))


def memory_html(memory: Memory) -> Html:
    """Memory by purpose, and the sum."""
    rows = [[name, format_bytes(value) if value else ""] for name, value in memory._asdict().items()]
    columns = [Column("memory of tensors"), Column("", right=True)]
    return render("memory", columns=columns, rows=[*rows, ["total", format_bytes(memory.total)]])


def compare(*networks: Network, batch: int = 128) -> Html:
    """Compare networks in a table, with a figure that a click opens.

    Args:
        networks: One to four networks. Each is counted for the image size that it was designed for.
        batch: The number of images for the memory, which is calculated for float32 and SGD without momentum.

    Raises:
        NetworkError: There are no networks or more than four, or the shapes of one do not fit together.
    """
    figure = Markup(compare_svg(networks))
    all_costs = [count(network) for network in networks]
    training = [training_memory(network, batch=batch).total for network in networks]
    prediction = [prediction_memory(network, batch=batch).total for network in networks]
    connected = [costs.fully_connected_parameters / max(costs.parameters, 1) for costs in all_costs]
    rows = [
        ["input", *(show(costs.input_shape) for costs in all_costs)],
        ["parameters", *(f"{costs.parameters:,}" for costs in all_costs)],
        ["of these fully connected", *(f"{share:.1%}" for share in connected)],
        ["MACs, forward", *(f"{costs.macs:,}" for costs in all_costs)],
        ["FLOPs, forward", *(f"{costs.flops:,}" for costs in all_costs)],
        ["FLOPs, forward and backward", *(f"{costs.training_flops:,}" for costs in all_costs)],
        [f"training memory, batch {batch:,}", *map(format_bytes, training)],
        [f"prediction memory, batch {batch:,}", *map(format_bytes, prediction)],
    ]
    columns = [Column(""), *(Column(network.name or "network", right=True) for network in networks)]
    return render("comparison", columns=columns, rows=rows, figure=figure)
