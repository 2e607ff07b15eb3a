"""Charts as PNG files, drawn with Matplotlib."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlpconv.drawing.charts import Chart, History, comparison_charts, finite, run_chart
from mlpconv.drawing.fonts import font_families
from mlpconv.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves_figure(history: History, title: str = "", kept: int | None = None) -> "Figure":
    """Training loss and accuracy, measured five times per epoch, and the accuracies after each epoch.

    Args:
        history: The lines of the run's history.
        title: The name of the run.
        kept: The epoch whose test accuracy is written next to its point; by default the last one.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    chart = run_chart(history, title)
    _draw(axes, chart)
    _set_title(axes, title)
    if test := finite(chart.lines[-1].points):
        at = next((point for point in test if point[0] == kept), test[-1])
        axes.annotate(f"{at[1]:.3f}", at, (0, -14), textcoords="offset points", ha="right")
    axes.legend()
    return figure


def comparison_figure(histories: Sequence[History], names: Sequence[str]) -> "Figure":
    """The curves of several runs: a panel for each curve, a line for each run."""
    from matplotlib.figure import Figure

    charts = comparison_charts(histories, names)
    figure = Figure(figsize=(4 * len(charts), 4.4), layout="constrained")
    panels = figure.subplots(1, len(charts))
    for axes, chart in zip(panels, charts, strict=True):
        _draw(axes, chart)
        axes.set_title(chart.name)
    # The handles are given because Matplotlib leaves labels that start with an underscore out.
    legend = figure.legend(panels[0].lines, names, loc="outside lower center", ncols=2)
    for text in legend.get_texts():
        text.set_fontfamily(font_families(text.get_text()))
        text.set_parse_math(False)
    return figure


def save_curves(history: History, path: Path, title: str = "", kept: int | None = None) -> None:
    """Write the curves of a run as PNG: see ``curves_figure``. Raises OSError if the file cannot be written."""
    write_atomic(path, png(curves_figure(history, title, kept)))


def png(figure: "Figure", dpi: float | Literal["figure"] = 120) -> bytes:
    """The content of a PNG file that shows a figure, at ``dpi`` dots per inch, or those of the figure."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # Without a font for a name, Matplotlib draws boxes; the figure is still worth having. See font_advice.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=dpi)
    return content.getvalue()


def _draw(axes: "Axes", chart: Chart) -> None:
    from matplotlib.ticker import MaxNLocator

    for line in chart.lines:
        marker = "o" if line.markers or len(line.points) < 2 else ""
        axes.plot(
            [x for x, _ in line.points],
            [y for _, y in line.points],
            line.style.dashes,
            color=line.style.light,
            label=line.name,
            marker=marker,
            markersize=4,
        )
    axes.set(xlabel="epoch")
    axes.set_xlim(left=0)
    if chart.y_max is not None:
        axes.set_ylim(0, chart.y_max)
    if chart.note:
        axes.text(0.99, 0.98, chart.note, transform=axes.transAxes, ha="right", va="top", fontsize="small")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.4)


def _set_title(axes: "Axes", title: str) -> None:
    """Set a user's name as the title: in any script, without reading $ as the start of a formula."""
    axes.set_title(title, family=font_families(title), parse_math=False)
