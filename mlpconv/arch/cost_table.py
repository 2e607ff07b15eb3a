"""The tables of a network's shapes and costs, which ``mlpconv summary`` and the notebook show.

A new column is one line in ``LAYER_COLUMNS`` (the table by layer) or ``BLOCK_COLUMNS`` (the table by block).
"""

from collections.abc import Callable
from itertools import compress
from typing import NamedTuple

from mlpconv.arch.cost import Costs, LayerCost, add_up
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import block_shapes, show


class CostColumn(NamedTuple):
    """A column of a cost table."""

    title: str
    cell: Callable[[LayerCost], str]
    """The text of a layer's cell; empty where the layer has nothing of this."""
    right: bool = True
    """Whether the cells are aligned to the right."""
    leave_out: int = 0
    """Where a terminal is too narrow, columns with the highest number are left out first; 0 is always shown."""


def _number(count: int) -> str:
    return f"{count:,}" if count else ""


def _side(size: tuple[int, int] | None) -> str:
    """A receptive field: one number if it is square."""
    return "" if size is None else str(size[0]) if size[0] == size[1] else show(size)


LAYER_COLUMNS = (
    CostColumn("name", lambda cost: cost.name, right=False),
    CostColumn("type", lambda cost: cost.kind, right=False, leave_out=7),
    CostColumn("output", lambda cost: show(cost.output_shape)),
    CostColumn("parameters", lambda cost: _number(cost.parameters)),
    CostColumn("multiplications", lambda cost: _number(cost.multiplications), leave_out=2),
    CostColumn("additions", lambda cost: _number(cost.additions), leave_out=3),
    CostColumn("bias adds", lambda cost: _number(cost.bias_additions), leave_out=5),
    CostColumn("FLOPs", lambda cost: _number(cost.flops)),
    CostColumn("activation", lambda cost: _number(cost.activation_ops), leave_out=8),
    CostColumn("pooling", lambda cost: _number(cost.pooling_ops), leave_out=9),
    CostColumn("normalization", lambda cost: _number(cost.normalization_ops), leave_out=10),
    CostColumn("field", lambda cost: _side(cost.receptive_field), leave_out=4),
)
"""The columns of the table by layer, each a function of a ``LayerCost``."""

BLOCK_COLUMNS = (
    CostColumn("name", lambda cost: cost.name, right=False),
    CostColumn("type", lambda cost: cost.kind, right=False, leave_out=1),
    CostColumn("output", lambda cost: show(cost.output_shape)),
    CostColumn("parameters", lambda cost: _number(cost.parameters)),
    CostColumn("MACs", lambda cost: _number(cost.macs)),
)
"""The columns of the table by block; a block's counts are the sums over its layers."""


def layer_table(costs: Costs) -> tuple[list[CostColumn], list[list[str]]]:
    """The columns and rows of the table by layer; the last row is the total. Empty columns are left out."""
    rows = [[column.cell(cost) for column in LAYER_COLUMNS] for cost in [*costs.layers, costs.total()]]
    used = [any(cells) for cells in zip(*rows, strict=True)]
    return list(compress(LAYER_COLUMNS, used)), [list(compress(row, used)) for row in rows]


def block_table(network: Network, costs: Costs) -> tuple[list[CostColumn], list[list[str]]]:
    """The columns and rows of the table by block: the input, each block and loose layer, and the total."""
    rows = [LayerCost("input", "", costs.input_shape, costs.input_shape)]
    for name, kind, _ in block_shapes(network):
        rows.append(add_up(name, kind, [cost for cost in costs.layers if cost.name.partition(".")[0] == name]))
    rows.append(costs.total())
    return list(BLOCK_COLUMNS), [[column.cell(row) for column in BLOCK_COLUMNS] for row in rows]
