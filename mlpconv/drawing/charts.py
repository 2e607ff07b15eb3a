"""Charts of training runs, described once: which curves there are, their labels, colors, dashes and points.

``svg_chart`` draws a chart for a page, ``plots`` draws it as a PNG file. A new curve is one line in ``CURVES``; it then
appears in the report, in comparisons, in the notebook and in curves.png.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

Point = tuple[float, float]
History = Sequence[Mapping[str, Any]]
"""The lines of a run's history; the last one may be an unfinished epoch, which has a ``curve`` only."""

MAX_RUNS = 10
"""Number of runs that a comparison can show, each in its own color."""


class LineStyle(NamedTuple):
    """The look of a line, as SVG and as PNG."""

    name: str
    """The CSS class."""
    light: str
    """The color on a light page and in a PNG, as #rrggbb."""
    dark: str
    """The color on a dark page."""
    dashes: Literal["-", "--", "-.", ":"] = "-"
    """Solid, dashed, dash-dot or dotted, in Matplotlib's notation."""

    @property
    def neutral(self) -> str:
        """The color halfway between light and dark, which is readable on any page."""
        channels = (int(self.light[k : k + 2], 16) + int(self.dark[k : k + 2], 16) for k in (1, 3, 5))
        return "#" + "".join(f"{channel // 2:02x}" for channel in channels)


class Line(NamedTuple):
    """One line of a chart."""

    name: str
    points: list[Point]
    """(epoch, value), in the order of training; values may be NaN or infinite."""
    style: LineStyle
    markers: bool = False
    """Whether each point is marked."""

    @property
    def last(self) -> float | None:
        """The newest value; None without points."""
        return self.points[-1][1] if self.points else None


class Event(NamedTuple):
    """Something that happened during training, drawn as a vertical line."""

    epoch: float
    text: str


class Chart(NamedTuple):
    """Lines over the epochs in one coordinate system."""

    name: str
    title: str
    """A sentence for screen readers."""
    lines: list[Line]
    epochs: float = 1
    """The x axis ends here, or at the last point if that is further right."""
    y_max: float | None = None
    """The upper end of the y axis, above which lines are cut off; None to fit the values."""
    events: Sequence[Event] = ()

    @property
    def note(self) -> str:
        """What the chart does not show: values above the y axis, and values that are not finite; "" if it shows all."""
        notes = []
        for line in self.lines:
            shown = finite(line.points)
            highest = max((y for _, y in shown), default=0.0)
            if self.y_max is not None and highest > self.y_max:
                notes.append(f"{line.name} up to {highest:.3g} is above this axis")
            if len(shown) < len(line.points):
                notes.append(f"{line.name} is not finite at {len(line.points) - len(shown)} points")
        return "; ".join(notes)


class Curve(NamedTuple):
    """A measured quantity that is drawn over the epochs of a run."""

    label: str
    style: LineStyle
    points: Callable[[History], list[Point]]
    markers: bool = False
    optional: bool = False
    """Whether a chart without any point of it leaves it out."""


def _training_points(column: int) -> Callable[[History], list[Point]]:
    """Reads a column of the points measured during training: 1 is the loss, 2 the accuracy."""
    return lambda history: [(point[0], point[column]) for line in history for point in line["curve"]]


def _epoch_points(key: str) -> Callable[[History], list[Point]]:
    """Reads a value measured after each epoch."""
    return lambda history: [(line["epoch"], line[key]) for line in history if line.get(key) is not None]


CURVES = (
    Curve("train loss", LineStyle("loss", "#1f6fb5", "#62a8ea"), _training_points(1)),
    Curve("train acc", LineStyle("train", "#8647b5", "#c08ef0", "--"), _training_points(2)),
    Curve(
        "validation acc",
        LineStyle("validation", "#b3541e", "#f0935a", ":"),
        _epoch_points("validation_accuracy"),
        markers=True,
        optional=True,
    ),
    Curve("test acc", LineStyle("test", "#1d7d43", "#5cc489", "-."), _epoch_points("test_accuracy"), markers=True),
)
"""The curves of a run, with the labels and line styles of the chapter in "Dive into Deep Learning", and the validation
accuracy, which it does not have."""

RUN_STYLES = tuple(
    LineStyle(f"c{index}", light, dark)
    for index, (light, dark) in enumerate(
        [
            ("#1f6fb5", "#62a8ea"),
            ("#b3541e", "#f0935a"),
            ("#1d7d43", "#5cc489"),
            ("#8647b5", "#c08ef0"),
            ("#a8325e", "#f07ba6"),
            ("#6b6a12", "#c9c75a"),
            ("#08788a", "#4fc3d6"),
            ("#5d5f66", "#b4b7bf"),
            ("#7c4a32", "#d1a083"),
            ("#4a50c8", "#979cf5"),
        ]
    )
)
"""The line styles of the runs in a comparison, ``MAX_RUNS`` of them."""

STYLES = (*(curve.style for curve in CURVES), *RUN_STYLES)


def run_chart(
    history: History,
    name: str = "",
    *,
    unfinished: Sequence[Sequence[float]] = (),
    epochs: float = 1,
    events: Sequence[Event] = (),
) -> Chart:
    """All curves of one run in one chart, as in the chapter.

    Args:
        history: The lines of the run's history.
        name: The name of the run.
        unfinished: The points (epoch, loss, accuracy) of the epoch that is not finished.
        epochs: The x axis reaches at least this far.
        events: What happened during training.
    """
    known = [*history, {"curve": unfinished}]
    lines = [
        Line(curve.label, points, curve.style, curve.markers)
        for curve in CURVES
        if (points := curve.points(known)) or not curve.optional
    ]
    highest = max((y for line in lines for _, y in finite(line.points)), default=0.0)
    # A loss that starts very high must not flatten the accuracies.
    y_max = max(1.05, min(2.5, highest * 1.05))
    title = f"Loss and accuracy{f' of {name}' if name else ''} by epoch"
    return Chart(name, title, lines, epochs, y_max, events)


def comparison_charts(histories: Sequence[History], names: Sequence[str]) -> list[Chart]:
    """One chart for each curve, with one line for each run.

    Args:
        histories: The histories of at most ``MAX_RUNS`` runs.
        names: The name of each run.
    """
    runs = list(zip(names, histories, RUN_STYLES[: len(names)], strict=True))
    return [
        Chart(
            curve.label,
            f"{curve.label} by epoch: {', '.join(names)}",
            [Line(name, curve.points(history), style, curve.markers) for name, history, style in runs],
        )
        for curve in CURVES
        if not curve.optional or any(curve.points(history) for history in histories)
    ]


def finite(points: Iterable[Point]) -> list[Point]:
    """The points of which both coordinates are finite."""
    return [point for point in points if all(map(math.isfinite, point))]
