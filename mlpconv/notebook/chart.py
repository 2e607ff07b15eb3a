"""The curves of a run as the chapter draws them, in a page that need not know more: with their colours and a legend."""

from collections.abc import Sequence
from typing import Any

from mlpconv.drawing.line_chart import Line, line_chart
from mlpconv.drawing.plots import panel_lines
from mlpconv.notebook.page import Html, element

WIDTH, HEIGHT = 560, 340
_STYLES = {"train loss": "loss", "train acc": "train", "test acc": "test"}

_IN = ".mlpconv-curves "
_STYLE = "".join(
    [
        "".join(
            f"{_IN}{rule}"
            for rule in (
                ".chart{font:12px system-ui,sans-serif;font-variant-numeric:tabular-nums}",
                ".chart text{fill:currentColor;opacity:.75}",
                ".grid,.mlpconv-curves .axis,.mlpconv-curves .tick{stroke:#8884;stroke-width:1}",
                ".line{fill:none;stroke-width:2;stroke-linejoin:round}",
                ".line.train{stroke-dasharray:7 5}",
                ".line.test{stroke-dasharray:10 4 2 4}",
                ".point circle{opacity:0}",
                ".point .dot.test,.mlpconv-curves .point:hover .dot{opacity:1}",
                ".near{fill:transparent}",
                ".key{margin-right:1.6em;white-space:nowrap}",
            )
        ),
        # Readable on a light page and on a dark one, whatever the notebook's theme is.
        "".join(
            f"{_IN}.{name}{{stroke:{colour}}}{_IN}.point .{name}{{fill:{colour};stroke:none}}"
            for name, colour in (("loss", "#2f80c8"), ("train", "#9a5fd0"), ("test", "#34a04b"))
        ),
    ]
)


def curves_svg(history: Sequence[dict[str, Any]], curve: Sequence[Sequence[float]] = (), epochs: int = 0) -> Html:
    """Training loss and accuracy, five points an epoch, and test accuracy after each epoch, each with its newest value.

    history: the lines of a run. curve: the points [place in epochs, loss, accuracy] of the epoch that is not over yet.
    epochs: how far the axis reaches at least. What is not finite is left out.
    """
    points = {label: found[0] for label, found in panel_lines([history]).items()}
    points["train loss"] += [(mark[0], mark[1]) for mark in curve]
    points["train acc"] += [(mark[0], mark[2]) for mark in curve]
    lines = [Line(label, points[label], style, style == "test") for label, style in _STYLES.items()]
    # As in curves.png: a loss that begins far up does not press the accuracies flat.
    top = max(1.05, min(2.5, max((y for _, y in points["train loss"]), default=0.0) * 1.05))
    chart = line_chart(lines, title="loss and accuracy by epoch", width=WIDTH, height=HEIGHT, top=top, right=epochs)
    keys = [_key(line) for line in lines]
    return element("div", element("style", Html(_STYLE)), element("div", *keys), Html(chart), class_="mlpconv-curves")


def _key(line: Line) -> Html:
    stroke = f'<svg width="34" height="10" aria-hidden="true"><path class="line {line.style}" d="M1 5h32"/></svg>'
    value = f" {line.points[-1][1]:.3f}" if line.points else ""
    return element("span", Html(stroke), f" {line.name}", element("b", value), class_="key")
