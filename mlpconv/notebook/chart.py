"""The curves of a run as a small SVG, as the chapter draws them: drawn in a millisecond, so that they can grow."""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from mlpconv.arch.svg import escape
from mlpconv.notebook.page import Html

WIDTH, HEIGHT = 560, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 12, 42
_MOST_POINTS = 400

_STYLE = (
    ".mlpconv-curves text{font:12px system-ui,sans-serif;fill:#566070}"
    ".mlpconv-curves .paper{fill:#fff}.mlpconv-curves .grid{stroke:#d5dbe3}"
    ".mlpconv-curves .line{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".mlpconv-curves .loss{stroke:#1f6fb2}.mlpconv-curves .train{stroke:#8a4fbf;stroke-dasharray:6 4}"
    ".mlpconv-curves .test{stroke:#2b8a3e;stroke-dasharray:8 3 2 3}.mlpconv-curves circle{fill:#2b8a3e}"
    "@media(prefers-color-scheme:dark){.mlpconv-curves text{fill:#a0abb9}.mlpconv-curves .paper{fill:#14181d}"
    ".mlpconv-curves .grid{stroke:#333c47}.mlpconv-curves .loss{stroke:#6db3f2}.mlpconv-curves .train{stroke:#b794f4}"
    ".mlpconv-curves .test{stroke:#69c47c}.mlpconv-curves circle{fill:#69c47c}}"
)

Point = tuple[float, float]


class _Curve(NamedTuple):
    kind: str
    label: str
    points: list[Point]


def curves_svg(history: Sequence[dict[str, Any]], curve: Sequence[Sequence[float]] = (), epochs: int = 0) -> Html:
    """Training loss and accuracy, five points an epoch, and test accuracy after each epoch.

    history: the lines of a run. curve: the points [place in epochs, loss, accuracy] of the epoch that is not over yet.
    epochs: how far the axis reaches at least. What is not finite is left out.
    """
    marks = [*(point for line in history for point in line["curve"]), *curve]
    shown = [
        _Curve("loss", "train loss", _finite((mark[0], mark[1]) for mark in marks)),
        _Curve("train", "train acc", _finite((mark[0], mark[2]) for mark in marks)),
        _Curve("test", "test acc", _finite((line["epoch"], line["test_accuracy"]) for line in history)),
    ]
    last = max([1.0, epochs, *(x for each in shown for x, _ in each.points)])
    # As in curves.png: a loss that begins far up does not press the accuracies flat.
    highest = max(1.05, min(2.5, 1.05 * max((y for _, y in shown[0].points), default=0.0)))
    axes = _Axes(last, highest)
    parts = [*axes.grid(), *(shape for each in shown for shape in axes.draw(each)), *_legend(shown)]
    said = "; ".join(f"{each.label} {each.points[-1][1]:.3f}" for each in shown if each.points)
    return Html(
        f'<svg xmlns="http://www.w3.org/2000/svg" class="mlpconv-curves" role="img" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"><title>loss and accuracy by epoch</title>'
        f"<desc>{escape(said or 'nothing yet')}</desc><style>{_STYLE}</style>"
        f'<rect class="paper" width="{WIDTH}" height="{HEIGHT}" rx="6"/>{"".join(parts)}</svg>'
    )


class _Axes(NamedTuple):
    """From epochs (0 to ``last``) and values (0 to ``highest``) to pixels."""

    last: float
    highest: float

    def x(self, epoch: float) -> float:
        return _LEFT + epoch / self.last * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - min(value / self.highest, 1.0) * (HEIGHT - _TOP - _BOTTOM)

    def grid(self) -> list[str]:
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for epoch in range(0, math.floor(self.last) + 1, _step(self.last)):
            x = self.x(epoch)
            parts.append(f'<path class="grid" d="M{x:.1f} {_TOP}V{bottom}"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{epoch}</text>')
        for tenths in range(0, math.floor(10 * self.highest) + 1, 2 if self.highest < 1.3 else 5):
            y = self.y(tenths / 10)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tenths / 10:.1f}</text>')
        middle = (_LEFT + right) / 2
        return [*parts, f'<text x="{middle:g}" y="{HEIGHT - 8}" text-anchor="middle">epoch</text>']

    def draw(self, curve: _Curve) -> list[str]:
        if not curve.points:
            return []
        places = [(f"{self.x(x):.1f}", f"{self.y(y):.1f}") for x, y in _thinned(curve.points)]
        line = " ".join(f"{x},{y}" for x, y in places)
        shapes = [f'<polyline class="line {curve.kind}" points="{line}"/>']
        if curve.kind == "test":
            shapes += [f'<circle cx="{x}" cy="{y}" r="3"/>' for x, y in places]
            (x, y), value = places[-1], curve.points[-1][1]
            below = float(y) + 18
            label = below if below < HEIGHT - _BOTTOM else float(y) - 8  # not on the axis
            shapes.append(f'<text x="{x}" y="{label:.1f}" text-anchor="end">{value:.3f}</text>')
        return shapes


def _legend(curves: list[_Curve]) -> list[str]:
    parts = []
    for index, curve in enumerate(curves):
        x, y = WIDTH - _RIGHT - 110, HEIGHT / 2 - 20 + 18 * index
        parts.append(f'<path class="line {curve.kind}" d="M{x} {y:g}h30"/>')
        parts.append(f'<text x="{x + 38}" y="{y + 4:g}">{curve.label}</text>')
    return parts


def _finite(points: Any) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]


def _thinned(points: list[Point]) -> list[Point]:
    """Every so many points, the last one included, where there are more than one can see."""
    every = -(-len(points) // _MOST_POINTS)
    return points[::-every][::-1]


def _step(last: float) -> int:
    """Epochs between two lines of the grid: 1, 2, 5, 10, 20 …, for eleven lines at most."""
    steps = (part * 10**power for power in itertools.count() for part in (1, 2, 5))
    return next(step for step in steps if last / step <= 10)
