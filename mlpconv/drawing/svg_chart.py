"""Charts as SVG for a page: no script, values shown under the pointer, colors from the page's style sheet."""

import math
from collections.abc import Iterable, Sequence

from mlpconv.drawing.charts import Chart, Line, LineStyle, finite
from mlpconv.drawing.svg import escape

LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 38
"""Margins around the plot in pixels, for the axis labels."""
MAX_MARKED_POINTS = 30
"""Lines with at most this number of points have all their points marked."""
MAX_TOOLTIPS = 600
"""Maximum number of points of a line that show their value under the pointer."""
_DASHES = {"--": "7 5", "-.": "10 4 2 4", ":": "2 4"}


def chart_svg(chart: Chart, width: int, height: int, x_name: str = "epoch") -> str:
    """Draw a chart as SVG of width × height pixels. Both axes start at 0, except the y axis of values far from 0.

    Points that are not finite are left out. The colors come from the style sheet that ``line_css`` writes.
    """
    lines = [line._replace(points=finite(line.points)) for line in chart.lines]
    low, high = _y_range([y for line in lines for _, y in line.points], chart.y_max)
    right = max(math.ceil(max([chart.epochs, *(x for line in lines for x, _ in line.points)])), 1)
    inner_width, inner_height = width - LEFT - RIGHT, height - TOP - BOTTOM
    y_ticks = _ticks(low, high, max(inner_height // 55, 2))
    x_ticks = [x for x in _ticks(0, right, max(inner_width // 70, 2)) if x == int(x)]

    def across(x: float) -> float:
        return round(inner_width * x / right, 1)

    def down(y: float) -> float:
        return round(inner_height * (1 - (y - low) / (high - low)), 1)

    description = "; ".join(f"{line.name} ends at {line.last:.3f}" for line in lines if line.last is not None)
    shapes = [
        f'<svg class="chart" role="img" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(chart.title)}</title><desc>{escape(description)}</desc>",
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
    # An inner SVG clips what is above the axis; a clip path would need an id, which a page could have twice.
    shapes.append(
        f'<svg x="-6" y="-6" width="{inner_width + 12}" height="{inner_height + 12}" '
        f'viewBox="-6 -6 {inner_width + 12} {inner_height + 12}">'
    )
    if chart.note:
        shapes.append(f'<text x="{inner_width}" y="10" text-anchor="end">{escape(chart.note)}</text>')
    for event in chart.events:
        x = across(event.epoch)
        shapes.append(f'<g class="note"><title>{escape(event.text)}</title><path d="M{x:g} 0V{inner_height}"/></g>')
    for line in lines:
        style = line.style.name
        if len(line.points) > 1:
            path = " ".join(f"{across(x):g},{down(y):g}" for x, y in line.points)
            shapes.append(f'<polyline class="line {style}" points="{path}"/>')
        marker = f'<circle r="3.5" class="{"dot " if _is_marked(line) else ""}{style}"/><circle r="9" class="near"/>'
        step = -(-len(line.points) // MAX_TOOLTIPS) or 1
        for x, y in line.points[::-step]:
            tooltip = escape(f"{x_name} {x:.3g}: {line.name} {y:.4g}")
            position = f"{across(x):g} {down(y):g}"
            shapes.append(f'<g class="point" transform="translate({position})"><title>{tooltip}</title>{marker}</g>')
    shapes.append("</svg></g></svg>")
    return "\n".join(shapes)


def key_svg(style: LineStyle) -> str:
    """A short piece of a line, for a legend."""
    return f'<svg width="34" height="10" aria-hidden="true"><path class="line {style.name}" d="M1 5h32"/></svg>'


def line_css(styles: Iterable[LineStyle], scope: str = "", *, neutral: bool = False) -> str:
    """The CSS rules that give the lines, points and keys of ``styles`` their colors and dashes.

    Elements of the same class have the color as ``currentColor``.

    Args:
        styles: The styles that the page uses.
        scope: A selector that contains the charts, such as ".curves".
        neutral: Use colors that are readable on any page, where the color scheme is unknown; by default the
            page follows the reader's color scheme.
    """
    styles = list(styles)

    def colors(values: Iterable[str]) -> str:
        return "".join(
            f"{scope} .{style.name}{{color:{color};stroke:{color}}}"
            for style, color in zip(styles, values, strict=True)
        )

    rules = f"{scope} .line{{fill:none}}{scope} .point circle{{fill:currentColor}}" + "".join(
        f"{scope} .line.{style.name}{{stroke-dasharray:{_DASHES[style.dashes]}}}"
        for style in styles
        if style.dashes != "-"
    )
    if neutral:
        return rules + colors(style.neutral for style in styles)
    dark = colors(style.dark for style in styles)
    return f"{rules}{colors(style.light for style in styles)}@media(prefers-color-scheme:dark){{{dark}}}"


def _is_marked(line: Line) -> bool:
    return line.markers or len(line.points) <= MAX_MARKED_POINTS


def _y_range(values: Sequence[float], y_max: float | None) -> tuple[float, float]:
    """The ends of the y axis: from 0, or from a little below the lowest value if all values are far from 0."""
    if not values:
        return 0.0, 1.0
    lowest, highest = min(values), max(values)
    if y_max is not None:
        return 0.0, y_max
    if lowest > highest / 2:
        spread = (highest - lowest) or abs(highest) * 0.1 or 1.0
        return max(lowest - 0.15 * spread, 0.0), highest + 0.15 * spread
    return min(lowest, 0.0), highest * 1.06 or 1.0


def _ticks(low: float, high: float, count: int) -> list[float]:
    """At most ``count`` + 1 round numbers from low to high."""
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 5, 10) if factor * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 10) for index in range(first, math.floor(high / step + 1e-9) + 1)]
