"""The curves of a run with their legend and style sheet, for any page."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from mlpconv.drawing.charts import CURVES, run_chart
from mlpconv.drawing.svg_chart import chart_svg, line_css
from mlpconv.notebook.page import Html, render

WIDTH, HEIGHT = 560, 340

_SCOPE = ".mlpconv-curves"
_STYLE = line_css((curve.style for curve in CURVES), _SCOPE, neutral=True) + "".join(
    f"{_SCOPE} {rule}"
    for rule in (
        ".chart{font:12px system-ui,sans-serif;font-variant-numeric:tabular-nums}",
        ".chart text{fill:currentColor;opacity:.75}",
        ":is(.grid,.axis,.tick){stroke:#8884;stroke-width:1}",
        ".line{stroke-width:2;stroke-linejoin:round}",
        ".point circle{opacity:0;stroke:none}",
        *(f".point .dot.{curve.style.name}{{opacity:1}}" for curve in CURVES if curve.markers),
        ".point:hover .dot{opacity:1}",
        ".point .near{fill:transparent}",
        ".key{margin-right:1.6em;white-space:nowrap}",
    )
)


def curves_html(history: Sequence[dict[str, Any]], unfinished: Sequence[Sequence[float]] = (), epochs: int = 0) -> Html:
    """Draw the curves of a run, each with its newest value in the legend. Values that are not finite are left out.

    Args:
        history: The lines of the run's history.
        unfinished: The points (epoch, loss, accuracy) of the epoch that is not finished.
        epochs: The x axis reaches at least this far.
    """
    chart = run_chart(history, unfinished=unfinished, epochs=epochs)
    svg = Markup(chart_svg(chart, WIDTH, HEIGHT))
    return render("curves", style=Markup(_STYLE), lines=chart.lines, svg=svg)
