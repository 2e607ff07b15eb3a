"""The figure of a study's result."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, assert_never

from mlpconv.formatting import format_count
from mlpconv.studies.catalogue import Kind
from mlpconv.studies.summary import interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTCOME_COLORS = {"learns": "#1a9850", "loses classes": "#fdae61", "stalls": "#9e9e9e", "diverges": "#d73027"}
"""The color of each outcome of a run (mlpconv.studies.measures.outcome) on a map."""


def caption(result: Mapping[str, Any]) -> str:
    """What the figure of a result shows, in a few words."""
    kind: Kind = result["kind"]
    match kind:
        case "bars":
            return "each arm's seeds" if _shows_own(result) else "test accuracy and costs"
        case "curves":
            return "test accuracy over the epochs"
        case "map":
            return "a map of the outcomes"
        case "resources":
            return "predicted and measured"
        case _:
            assert_never(kind)


def figure(result: Mapping[str, Any]) -> "Figure":
    """The figure of a result, of its kind."""
    kind: Kind = result["kind"]
    match kind:
        case "bars":
            return _bars(result)
        case "curves":
            return _curves(result)
        case "map":
            return _map(result)
        case "resources":
            return _ratios(result)
        case _:
            assert_never(kind)


def _bars(result: Mapping[str, Any]) -> "Figure":
    """The test accuracy of each arm; next to it the same against its FLOPs, or, if all have the same FLOPs, the study's
    first further measure; and the test accuracy over the epochs, if it is known."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    own, curves = _shows_own(result), _has_curves(result)
    drawn = Figure(figsize=(15 if curves else 11, 4), layout="constrained")
    places = drawn.subplots(1, 3 if curves else 2)
    left, right = places[:2]
    _side_by_side(left, result, "test_accuracy", "test accuracy")
    if own:
        _side_by_side(right, result, *next(iter(result["columns"].items())))
    else:
        right.sharey(left)
        for index, arm in enumerate(result["arms"]):
            if arm["flops"]:
                _arm(right, arm, arm["flops"], index)
        flops = [arm["flops"] for arm in result["arms"] if arm["flops"]]
        scale = "log" if flops and max(flops) > 10 * min(flops) else "linear"
        right.set(xlabel="FLOPs of one image", xscale=scale, title="against computation")
        if scale == "linear":
            right.xaxis.set_major_formatter(lambda value, _: format_count(value))
            right.xaxis.set_major_locator(MaxNLocator(5))
        handles, names = right.get_legend_handles_labels()
        if handles:
            right.legend(handles, names)
    if curves:
        _over_the_epochs(places[2], result)
    for axes in places:
        axes.grid(alpha=0.4)
    return drawn


def _has_curves(result: Mapping[str, Any]) -> bool:
    """Whether the test accuracy after more than one epoch is known."""
    return any(len(row.get("test_accuracies") or ()) > 1 for arm in result["arms"] for row in arm["seeds"])


def _over_the_epochs(axes: "Axes", result: Mapping[str, Any]) -> None:
    """The test accuracy after each epoch, with a line for each seed and a color for each arm."""
    from matplotlib.ticker import MaxNLocator

    for index, arm in enumerate(result["arms"]):
        for place, row in enumerate(arm["seeds"]):
            points = row.get("test_accuracies") or []
            label = None if place else arm["name"]
            axes.plot(range(1, len(points) + 1), points, ".-", color=f"C{index % 10}", alpha=0.6, label=label)
    axes.set(xlabel="epoch", ylabel="test accuracy", title="over the epochs, each seed")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any(arm["seeds"] for arm in result["arms"]):
        axes.legend()


def _shows_own(result: Mapping[str, Any]) -> bool:
    """Whether bars show the study's first further measure: there is one, and the arms' FLOPs differ by at most 2 %."""
    flops = [arm["flops"] for arm in result["arms"] if arm["flops"]]
    return bool(result["columns"]) and (not flops or max(flops) <= 1.02 * min(flops))


def _side_by_side(axes: "Axes", result: Mapping[str, Any], key: str, title: str) -> None:
    """A measure of every arm."""
    for index, arm in enumerate(result["arms"]):
        _arm(axes, arm, index, index, key)
    axes.set_xticks(range(len(result["arms"])), [arm["name"] for arm in result["arms"]], rotation=20, ha="right")
    axes.set(ylabel=title, title="mean, 95 % interval, each seed")
    if key == "test_accuracy" and axes.get_ylim()[1] > 1:
        axes.set_ylim(top=1)


def _arm(axes: "Axes", arm: Mapping[str, Any], x: float, index: int, key: str = "test_accuracy") -> None:
    values = [row[key] for row in arm["seeds"] if row.get(key) is not None]
    if not values:
        return
    color = f"C{index % 10}"
    axes.plot([x] * len(values), values, ".", color=color, alpha=0.45)
    found = arm["summary"].get(key)
    if found:
        low, high = interval(key, found)
        error = [[found["mean"] - low], [high - found["mean"]]]
        axes.errorbar([x], [found["mean"]], error, fmt="o", color=color, capsize=5, label=arm["name"])


def _curves(result: Mapping[str, Any]) -> "Figure":
    """The test accuracy of each arm, and over the epochs."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    _side_by_side(left, result, "test_accuracy", "test accuracy")
    _over_the_epochs(right, result)
    for axes in (left, right):
        axes.grid(alpha=0.4)
    return drawn


def _map(result: Mapping[str, Any]) -> "Figure":
    """A map with a column for each rate and a row for each other setting.

    Each cell has the median accuracy and a bar with the outcomes of its seeds.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    arms = {tuple(arm["name"].rsplit("-", 1)): arm for arm in result["arms"]}
    names = list(dict.fromkeys(first for first, _ in arms))
    rates = sorted({second for _, second in arms}, key=float)
    drawn = Figure(figsize=(1.5 + 1.25 * len(rates), 1.4 + 0.75 * len(names)), layout="constrained")
    axes = drawn.add_subplot()
    for (name, rate), arm in arms.items():
        x, y = rates.index(rate), names.index(name)
        ended = sorted((row["outcome"] for row in arm["seeds"]), key=list(OUTCOME_COLORS).index)
        for place, kind in enumerate(ended):
            width = 1 / len(ended)
            axes.add_patch(
                Rectangle((x + place * width, y), width, 1, color=OUTCOME_COLORS[kind], alpha=0.75, linewidth=0)
            )
        found = arm["summary"].get("test_accuracy")
        axes.text(x + 0.5, y + 0.5, f"{found['median']:.3f}" if found else "–", ha="center", va="center")
    axes.vlines(range(1, len(rates)), 0, len(names), color="white", linewidth=2)
    axes.hlines(range(1, len(names)), 0, len(rates), color="white", linewidth=2)
    axes.set(xlim=(0, len(rates)), ylim=(len(names), 0), xlabel="learning rate")
    axes.set_title("median test accuracy; each seed's outcome as a color")
    axes.set_xticks([x + 0.5 for x in range(len(rates))], rates)
    axes.set_yticks([y + 0.5 for y in range(len(names))], names)
    handles = [Rectangle((0, 0), 1, 1, color=color, alpha=0.75) for color in OUTCOME_COLORS.values()]
    drawn.legend(handles, list(OUTCOME_COLORS), loc="outside lower center", ncols=len(OUTCOME_COLORS))
    return drawn


def _ratios(result: Mapping[str, Any]) -> "Figure":
    """The ratio of measured to predicted memory, in training and in prediction."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 4), layout="constrained")
    axes = drawn.add_subplot()
    for place, phase in enumerate(("training", "prediction")):
        key = f"{phase}_bytes"
        points = [
            (index + 0.3 * place - 0.15, arm["summary"][key]["mean"] / arm["predicted"][key])
            for index, arm in enumerate(result["arms"])
            if key in arm["summary"]
        ]
        axes.bar([x for x, _ in points], [y for _, y in points], 0.28, label=phase)
    axes.axhline(1, color="black", linewidth=0.8)
    axes.set_xticks(range(len(result["arms"])), [arm["name"] for arm in result["arms"]])
    axes.set(ylabel="memory measured / predicted", yscale="log")
    axes.legend()
    return drawn
