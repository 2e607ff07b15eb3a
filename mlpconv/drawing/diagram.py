"""Network diagrams, from top to bottom: as SVG, as SVG of several networks side by side, and as plain text."""

from collections.abc import Sequence
from typing import NamedTuple

from mlpconv.arch.cost import Costs, LayerCost, count
from mlpconv.arch.layers import AnyLayer, Conv2d, MaxPool2d, Shape, by, pair
from mlpconv.arch.network import Block, Network
from mlpconv.arch.shapes import show
from mlpconv.drawing.svg import Canvas, shorten, text_width
from mlpconv.errors import NetworkError
from mlpconv.formatting import format_count

MARGIN, GAP, BOX, STEP, PAD = 28, 20, 30, 34, 14
"""In pixels: the outer margin, the gap between columns, the height of a box, the length of an arrow, the padding."""
MAX_NETWORKS = 4
"""Number of networks that ``compare_svg`` can draw side by side."""


class Part(NamedTuple):
    """One box: a layer together with the normalization and activation that follow it."""

    kind: str
    """The class that determines the color: see ``Canvas.box``."""
    label: str
    notes: tuple[str, ...] = ()
    """The labels of the normalization and activation."""

    @property
    def text(self) -> str:
        return " → ".join([self.label, *self.notes])


class Group(NamedTuple):
    """What is drawn between two arrows: a block, or one layer outside the blocks."""

    name: str
    parts: list[Part]
    block: Block | None
    output_shape: Shape
    parameters: int
    macs: int


def to_text(network: Network, input_shape: Shape | None = None) -> str:
    """Draw a network as plain text: its name, layers, parameters and the shapes between them.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    costs = count(network, input_shape)
    groups = _groups(network, costs)
    names = max(len(group.name) for group in groups)
    width = max(len(part.text) for group in groups for part in group.parts)
    numbers = max(len(_parameters(group.parameters)) for group in groups)
    lines = [f"{_name(network)}: {_totals(costs)}", "", f"{'':{names}}  ↓ {show(costs.input_shape)}"]
    for group in groups:
        last = len(group.parts) - 1
        for index, part in enumerate(group.parts):
            corner = "─" if not last else "┌" if not index else "└" if index == last else "│"
            name = group.name if index == 0 else ""
            number = _parameters(group.parameters) if index == last and group.parameters else ""
            lines.append(f"{name:{names}}  {corner} {part.text:{width}}  {number:>{numbers}}".rstrip())
        lines.append(f"{'':{names}}  ↓ {show(group.output_shape)}")
    return "\n".join(lines) + "\n"


def to_svg(network: Network, input_shape: Shape | None = None) -> str:
    """Draw a network as one self-contained SVG: blocks and layers with their costs, and the shapes between them.

    Args:
        network: The network.
        input_shape: (C, H, W); by default the input shape of the network.

    Raises:
        NetworkError: The shapes do not fit together.
    """
    costs = count(network, input_shape)
    groups = _groups(network, costs)
    inner = max(240.0, *(_part_width(part) for group in groups for part in group.parts))
    has_blocks = any(group.block for group in groups)
    column = inner + (2 * PAD if has_blocks else 0)
    names = min(180.0, max(text_width(group.name, "name") for group in groups))
    numbers = max(_number_width(group) for group in groups)
    left = MARGIN + names + GAP
    title, totals = _name(network), _totals(costs)
    width = max(left + column + GAP + numbers, MARGIN + text_width(totals, "total"), 360) + MARGIN
    canvas = Canvas()
    canvas.text(MARGIN, MARGIN + 8, shorten(title, width - 2 * MARGIN, "title"), "title", hint=title)
    canvas.text(MARGIN, MARGIN + 34, totals, "total")
    middle, y = left + column / 2, MARGIN + 62.0
    y = _flow(canvas, middle, y, costs.input_shape)
    for group in groups:
        if group.block:
            height = _stack_height(group.parts) + 2 * PAD
            canvas.box(left, y, column, height, "block", radius=12)
            _stack(canvas, left + PAD, y + PAD, inner, group.parts)
        else:
            height = BOX
            _part(canvas, left + (column - inner) / 2, y, inner, group.parts[0])
        centre = y + height / 2
        name = shorten(group.name, names, "name")
        canvas.text(left - GAP / 2, centre, name, "name", "end", hint=group.name)
        if group.parameters:
            canvas.text(left + column + GAP / 2, centre - 8, _parameters(group.parameters), "note")
            canvas.text(left + column + GAP / 2, centre + 8, f"{format_count(group.macs)} MACs", "note")
        y = _flow(canvas, middle, y + height, group.output_shape)
    return canvas.document(width, y + MARGIN - 8, f"{title}: {totals}", to_text(network, input_shape))


def compare_svg(networks: Sequence[Network]) -> str:
    """Draw networks side by side: each block as one line, and next to each network its largest block enlarged.

    Args:
        networks: One to four networks; each is drawn for the image size that it was designed for.

    Raises:
        NetworkError: There are no networks, or more than four.
    """
    if not 1 <= len(networks) <= MAX_NETWORKS:
        raise NetworkError(f"compare_svg: expected 1 to {MAX_NETWORKS} networks, received {len(networks)}")
    canvas = Canvas()
    x, bottom, descriptions = float(MARGIN), 0.0, []
    for network in networks:
        costs = count(network)
        descriptions.append(f"{_name(network)}: {_totals(costs)}")
        x, column_bottom = _compare_column(canvas, x, network, costs)
        bottom = max(bottom, column_bottom)
        x += 2.5 * GAP
    names = ", ".join(map(_name, networks))
    return canvas.document(x - 2.5 * GAP + MARGIN, bottom + MARGIN, f"{names} side by side", "\n".join(descriptions))


def _compare_column(canvas: Canvas, x: float, network: Network, costs: Costs) -> tuple[float, float]:
    """Draw one network at x, with its largest block enlarged. Returns the right and the bottom edge."""
    groups = _groups(network, costs)
    lines = [_as_line(group) for group in groups]
    title, note = _name(network), f"{_parameters(costs.parameters)}, {format_count(costs.macs)} MACs"
    width = max(180.0, *(_part_width(line) for line in lines))
    top = MARGIN + 66.0
    y = _flow(canvas, x + width / 2, top, costs.input_shape)
    tops = []
    for index, line in enumerate(lines):
        tops.append(y)
        _part(canvas, x, y, width, line)
        y += BOX
        if index < len(lines) - 1:
            canvas.arrow(x + width / 2, y, y + GAP)
            y += GAP
    right, bottom = x + width, _flow(canvas, x + width / 2, y, groups[-1].output_shape)
    largest = max(groups, key=lambda group: len(group.block.layers) if group.block else 0)
    if largest.block and len(largest.parts) > 1:
        line_top = tops[groups.index(largest)]
        inner = max(_part_width(part) for part in largest.parts)
        height = _stack_height(largest.parts) + 2 * PAD
        zoom_top = max(top + 24, line_top + BOX / 2 - height / 2)
        zoom_left = right + 2 * GAP
        canvas.zoom(right, (line_top, line_top + BOX), zoom_left, (zoom_top + 12, zoom_top + height - 12))
        canvas.box(zoom_left, zoom_top, inner + 2 * PAD, height, "block", radius=12)
        _stack(canvas, zoom_left + PAD, zoom_top + PAD, inner, largest.parts)
        right, bottom = zoom_left + inner + 2 * PAD, max(bottom, zoom_top + height)
        caption = shorten(f"{_block_word(largest.block)} ({largest.name})", inner + 2 * PAD, "name")
        canvas.text(zoom_left + PAD + inner / 2, zoom_top - 12, caption, "name", "middle", hint=largest.name)
    right = max(right, x + text_width(note, "total"))
    canvas.text(x, MARGIN + 8, shorten(title, right - x, "head"), "head", hint=title)
    canvas.text(x, MARGIN + 30, note, "total")
    return right, bottom


def _groups(network: Network, costs: Costs) -> list[Group]:
    groups: list[Group] = []
    rows = {cost.name: cost for cost in costs.layers}
    for name, layer in network.layers.items():
        if isinstance(layer, Block):
            inner = [rows[f"{name}.{part}"] for part in layer.layers]
            parts: list[Part] = []
            for inner_layer in layer.layers.values():
                _add(parts, inner_layer)
            groups.append(_group(name, parts, layer, inner))
        elif groups and groups[-1].block is None and _follows(groups[-1].parts[-1], layer):
            previous, cost = groups[-1], rows[name]
            _add(previous.parts, layer)
            parameters = previous.parameters + cost.parameters
            groups[-1] = previous._replace(output_shape=cost.output_shape, parameters=parameters)
        else:
            parts = []
            _add(parts, layer)
            groups.append(_group(name, parts, None, [rows[name]]))
    return groups


def _group(name: str, parts: list[Part], block: Block | None, costs: list[LayerCost]) -> Group:
    parameters, macs = sum(cost.parameters for cost in costs), sum(cost.macs for cost in costs)
    return Group(name, parts, block, costs[-1].output_shape, parameters, macs)


def _add(parts: list[Part], layer: AnyLayer) -> None:
    label = layer.label
    if parts and _follows(parts[-1], layer):
        parts[-1] = parts[-1]._replace(notes=(*parts[-1].notes, label))
    else:
        parts.append(Part(_kind(layer), label))


def _follows(part: Part, layer: AnyLayer) -> bool:
    """Whether a layer is drawn in the previous box: normalization or activation after a layer with weights."""
    return part.kind in ("conv", "mlp", "dense") and layer.traits.box == "note" and len(part.notes) < 2


def _kind(layer: AnyLayer) -> str:
    if isinstance(layer, Conv2d) and _is_pointwise(layer):
        return "mlp"
    box = layer.traits.box
    return "other" if box == "note" else box


def _is_pointwise(layer: Conv2d) -> bool:
    """Whether a convolution mixes the channels of each position."""
    return pair(layer.kernel_size) == (1, 1) and not layer.depthwise


def _as_line(group: Group) -> Part:
    """A group in one box: "NiN block (5×5, 256)", "VGG block (2 convs, 512)"."""
    if group.block is None or len(group.parts) == 1:
        return group.parts[0]
    word = _block_word(group.block)
    convolutions = [layer for layer in group.block.layers.values() if isinstance(layer, Conv2d)]
    if word == "block":
        return Part("unit", f"{word} ({len(group.block.layers)} layers, {show(group.output_shape)})")
    widths = list(dict.fromkeys(conv.out_channels for conv in convolutions))
    first = convolutions[0]
    size = "/".join(map(str, [conv.out_channels for conv in convolutions] if len(widths) > 1 else widths))
    if word == "NiN block":
        return Part("unit", f"{word} ({by(first.kernel_size)}, {size}{first.window.settings})")
    many = "1 conv" if len(convolutions) == 1 else f"{len(convolutions)} convs"
    return Part("unit", f"{word} ({many}, {size})")


def _block_word(block: Block) -> str:
    """The name of such a block in the literature, recognized by its convolutions."""
    kinds = [layer for layer in block.layers.values() if layer.traits.box != "note"]
    convolutions = [layer for layer in kinds if isinstance(layer, Conv2d)]
    if len(convolutions) == len(kinds) > 1 and all(map(_is_pointwise, convolutions[1:])):
        return "NiN block"
    same = all(pair(conv.kernel_size) == (3, 3) and not conv.depthwise for conv in convolutions)
    if convolutions and same and kinds[:-1] == convolutions and isinstance(kinds[-1], MaxPool2d):
        return "VGG block"
    return "block"


def _stack_height(parts: list[Part]) -> float:
    return len(parts) * BOX + (len(parts) - 1) * PAD


def _stack(canvas: Canvas, x: float, y: float, width: float, parts: list[Part]) -> None:
    for index, part in enumerate(parts):
        if index:
            canvas.arrow(x + width / 2, y - PAD, y)
        _part(canvas, x, y, width, part)
        y += BOX + PAD


def _part(canvas: Canvas, x: float, y: float, width: float, part: Part) -> None:
    canvas.box(x, y, width, BOX, part.kind)
    if part.notes:
        canvas.text(x + PAD, y + BOX / 2, part.label)
        canvas.text(x + width - PAD, y + BOX / 2, ", ".join(part.notes), "note", "end")
    else:
        canvas.text(x + width / 2, y + BOX / 2, part.label, anchor="middle")


def _part_width(part: Part) -> float:
    notes = GAP + text_width(", ".join(part.notes), "note") if part.notes else 0
    return text_width(part.label) + notes + 2 * PAD


def _flow(canvas: Canvas, x: float, y: float, shape: Shape) -> float:
    """Draw an arrow labeled with a shape. Returns the y of its end."""
    canvas.arrow(x, y, y + STEP)
    canvas.text(x + 10, y + STEP / 2 - 1, show(shape), "note")
    return y + STEP


def _name(network: Network) -> str:
    return network.name or "network"


def _totals(costs: Costs) -> str:
    return f"{costs.parameters:,} parameters, {costs.macs:,} MACs for one {show(costs.input_shape)} image"


def _parameters(number: int) -> str:
    return f"{number:,} parameter{'s' if number != 1 else ''}"


def _number_width(group: Group) -> float:
    if not group.parameters:
        return 0
    return max(
        text_width(_parameters(group.parameters), "note"), text_width(f"{format_count(group.macs)} MACs", "note")
    )
