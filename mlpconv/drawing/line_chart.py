"""Line charts as SVG for a page that brings the colours: no script, values under the pointer, light and dark alike."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from mlpconv.drawing.svg import escape

LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 38
"""Pixels around the plot, where the numbers stand."""
FEW = 30
"""Points up to which each is marked, so that one sees how many a line was drawn through."""
MOST_HINTS = 600
"""Points of one line that say their value under the pointer; of a longer line every second, third … one."""


class Note(NamedTuple):
    """Something that happened at one place of the x axis: a line from top to bottom that says ``text`` under the
    pointer."""

    place: float
    text: str


class Line(NamedTuple):
    """One curve. style: the class that the page colours and dashes. dots: mark its points."""

    name: str
    points: Sequence[tuple[float, float]]
    style: str
    dots: bool = False


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    width: int,
    height: int,
    x_name: str = "epoch",
    top: float | None = None,
    right: float = 1,
    notes: Sequence[Note] = (),
) -> str:
    """The lines over each other as one SVG of width × height pixels.

    top: the upper end of the y axis where the values do not set it; what is above is cut off. right: how far the x
    axis reaches at least. notes: what happened on the way. Both axes begin at 0, but that of values which are all far
    from it. Points that are not finite are left out.
    """
    lines = [line._replace(points=[p for p in line.points if all(map(math.isfinite, p))]) for line in lines]
    values = [y for line in lines for _, y in line.points]
    low, high = _span(values, top)
    right = max(math.ceil(max([right, *(x for line in lines for x, _ in line.points)])), 1)
    inner_width, inner_height = width - LEFT - RIGHT, height - TOP - BOTTOM
    y_ticks = _ticks(low, high, max(inner_height // 55, 2))
    x_ticks = [x for x in _ticks(0, right, max(inner_width // 70, 2)) if x == int(x)]

    def across(x: float) -> float:
        return round(inner_width * x / right, 1)

    def down(y: float) -> float:
        return round(inner_height * (1 - (y - low) / (high - low)), 1)

    said = "; ".join(f"{line.name} ends at {line.points[-1][1]:.3f}" for line in lines if line.points)
    shapes = [
        f'<svg class="chart" role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(title)}</title><desc>{escape(said)}</desc>",
        f'<g transform="translate({LEFT} {TOP})">',
    ]
    for y in y_ticks:
        shapes.append(f'<path class="grid" d="M0 {down(y):g}H{inner_width}"/>')
        shapes.append(f'<text x="-8" y="{down(y) + 4:g}" text-anchor="end">{y:g}</text>')
    for x in x_ticks:
        shapes.append(f'<path class="tick" d="M{across(x):g} {inner_height}v5"/>')
        shapes.append(f'<text x="{across(x):g}" y="{inner_height + 20}" text-anchor="middle">{x:g}</text>')
    shapes.append(f'<path class="axis" d="M0 {inner_height}H{inner_width}"/>')
    shapes.append(
        f'<text class="axis-name" x="{inner_width / 2:g}" y="{inner_height + 35}" text-anchor="middle">'
        f"{escape(x_name)}</text>"
    )
    # An SVG within the SVG cuts off what is above the axis, without an id that a page could have twice.
    shapes.append(
        f'<svg x="-6" y="-6" width="{inner_width + 12}" height="{inner_height + 12}" '
        f'viewBox="-6 -6 {inner_width + 12} {inner_height + 12}">'
    )
    for note in notes:
        x = across(note.place)
        shapes.append(f'<g class="note"><title>{escape(note.text)}</title><path d="M{x:g} 0V{inner_height}"/></g>')
    for line in lines:
        path = " ".join(f"{across(x):g},{down(y):g}" for x, y in line.points)
        if len(line.points) > 1:
            shapes.append(f'<polyline class="line {line.style}" points="{path}"/>')
        dots = line.dots or len(line.points) <= FEW
        step = -(-len(line.points) // MOST_HINTS) if line.points else 1
        for x, y in line.points[::-step]:
            hint = escape(f"{x_name} {x:.3g}: {line.name} {y:.4g}")
            mark = f'<circle r="3.5" class="dot {line.style}"/>' if dots else f'<circle r="3.5" class="{line.style}"/>'
            at = f"{across(x):g} {down(y):g}"
            shapes.append(
                f'<g class="point" transform="translate({at})"><title>{hint}</title>{mark}'
                '<circle r="9" class="near"/></g>'
            )
    shapes.append("</svg></g></svg>")
    return "\n".join(shapes)


def _span(values: Sequence[float], top: float | None) -> tuple[float, float]:
    """The y axis: from 0 where the values reach down to it, else from a little below the least."""
    if not values:
        return 0.0, 1.0
    least, most = min(values), max(values)
    if top is not None:
        return 0.0, top
    if least > most / 2:
        room = (most - least) or abs(most) * 0.1 or 1.0
        return max(least - 0.15 * room, 0.0), most + 0.15 * room
    return min(least, 0.0), most * 1.06 or 1.0


def _ticks(low: float, high: float, most: int) -> list[float]:
    """At most ``most`` + 1 round numbers from low to high."""
    rough = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]
