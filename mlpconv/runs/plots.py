"""Pictures of a run, drawn as the chapter draws them."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlpconv.runs.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def curves(history: Sequence[dict[str, Any]], title: str = "") -> "Figure":
    """Training loss and accuracy, five points an epoch, and test accuracy after each epoch."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    points = [point for line in history for point in line["curve"]]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch")
    axes.set_title(title, parse_math=False)  # dollars in a name are no formula
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
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; the curves are what counts.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        curves(history, title).savefig(content, format="png", dpi=120)
    write_atomic(path, content.getvalue())
