"""Pictures of a run, drawn as the chapter draws them."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpconv.drawing.fonts import font_families
from mlpconv.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves(history: Sequence[dict[str, Any]], title: str = "") -> "Figure":
    """Training loss and accuracy, five points an epoch, and test accuracy after each epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    points = [point for line in history for point in line["curve"]]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch")
    _set_title(axes, title)
    epochs = [line["epoch"] for line in history]
    axes.plot([p[0] for p in points], [p[1] for p in points], "-", color="tab:blue", label="train loss")
    axes.plot([p[0] for p in points], [p[2] for p in points], "--", color="tab:purple", label="train acc")
    test = [line["test_accuracy"] for line in history]
    axes.plot(epochs, test, "-.", color="tab:green", marker="o", markersize=4, label="test acc")
    axes.annotate(f"{test[-1]:.3f}", (epochs[-1], test[-1]), (0, -14), textcoords="offset points", ha="right")
    axes.set_xlim(0, max(epochs) * 1.02)
    axes.set_ylim(0, max(1.05, min(2.5, max(p[1] for p in points) * 1.05)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.4)
    axes.legend()
    return figure


def save_curves(history: Sequence[dict[str, Any]], path: Path, title: str = "") -> None:
    """Write the curves as a PNG."""
    write_atomic(path, png(curves(history, title)))


def png(figure: "Figure") -> bytes:
    """A figure as the content of a PNG file."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that no font here has is drawn as boxes; the curves are what counts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(content, format="png", dpi=120)
    return content.getvalue()


def compared_curves(histories: Sequence[Sequence[dict[str, Any]]], names: Sequence[str]) -> "Figure":
    """The curves of several runs over each other: training loss, training accuracy, test accuracy."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 4.4), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, (title, lines) in zip(panels, panel_lines(histories).items(), strict=True):
        for index, points in enumerate(lines):
            marker = "o" if len(points) < 2 or title == "test acc" else ""
            axes.plot(
                [x for x, _ in points], [y for _, y in points], color=f"C{index % 10}", marker=marker, markersize=4
            )
        axes.set(xlabel="epoch", title=title)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.4)
    # Given by hand: matplotlib takes a label that begins with an underscore for no label.
    legend = figure.legend(panels[0].lines, names, loc="outside lower center", ncols=2)
    for text in legend.get_texts():
        text.set_fontfamily(font_families(text.get_text()))
        text.set_parse_math(False)
    return figure


def panel_lines(
    histories: Sequence[Sequence[dict[str, Any]]],
) -> dict[str, list[list[tuple[float, float]]]]:
    """What is drawn of each history, by the chapter's labels: points (epoch, value)."""
    marks = [[point for line in history for point in line["curve"]] for history in histories]
    return {
        "train loss": [[(p[0], p[1]) for p in points] for points in marks],
        "train acc": [[(p[0], p[2]) for p in points] for points in marks],
        "test acc": [[(line["epoch"], line["test_accuracy"]) for line in history] for history in histories],
    }


def _set_title(axes: "Axes", title: str) -> None:
    """A name that the user gave: in any script, and a $ in it begins no formula."""
    axes.set_title(title, family=font_families(title), parse_math=False)
