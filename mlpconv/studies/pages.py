"""A study's result for people: a page in Markdown, and its figure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, assert_never

from mlpconv.formatting import format_bytes, format_count, format_duration, markdown_table
from mlpconv.studies.answers import all_learn
from mlpconv.studies.catalogue import Kind
from mlpconv.studies.runner import Arm

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNED_MEASURES = ("gap",)
"""Measures that can be negative; all others are shares, counts or times."""
OUTCOME_COLORS = {"learns": "#1a9850", "loses classes": "#fdae61", "stalls": "#9e9e9e", "diverges": "#d73027"}
"""The color of each outcome of a run (mlpconv.studies.measures.outcome) on a map."""


def titles(result: Mapping[str, Any]) -> list[str]:
    """The columns of the table of arms."""
    if result["kind"] == "resources":
        return [
            "network",
            "images",
            "parameters",
            "FLOPs of an image",
            "training memory: predicted",
            "measured",
            "prediction memory: predicted",
            "measured",
            "seconds a step",
            "seconds a prediction",
        ]
    ended = [] if all_learn(result) else ["how the seeds ended"]
    return [
        "arm",
        "what it is",
        "test accuracy",
        "95 % interval",
        "range",
        "seeds",
        *result["columns"].values(),
        *ended,
        "parameters",
        "FLOPs",
        "training memory",
        "time of a run (median)",
    ]


def rows(result: Mapping[str, Any]) -> list[list[str]]:
    """The cells of each arm, in the order of ``titles``."""
    line = _resources if result["kind"] == "resources" else _trained
    return [line(result, arm) for arm in result["arms"]]


def _trained(result: Mapping[str, Any], arm: Mapping[str, Any]) -> list[str]:
    found = arm["summary"].get("test_accuracy")
    ended = [row.get("outcome", "") for row in arm["seeds"]]
    kinds = [f"{ended.count(kind)} {kind}" for kind in OUTCOME_COLORS if kind in ended]
    return [
        arm["name"],
        arm["about"],
        f"{found['mean']:.4f}" if found else "–",
        "{:.4f} to {:.4f}".format(*interval("test_accuracy", found)) if found and found["runs"] > 1 else "–",
        f"{found['least']:.4f} to {found['most']:.4f}" if found else "–",
        str(len(arm["seeds"])),
        *(_mean_and_interval(key, arm["summary"].get(key)) for key in result["columns"]),
        *([] if all_learn(result) else [", ".join(kinds)]),
        f"{arm['parameters']:,}" if arm["parameters"] else "–",
        format_count(arm["flops"]) if arm["flops"] else "–",
        format_bytes(arm["training_memory_bytes"]) if arm["training_memory_bytes"] else "–",
        format_duration(arm["seconds"]) if arm["seconds"] else "–",
    ]


def interval(measure: str, found: Mapping[str, float]) -> tuple[float, float]:
    """The confidence interval of a mean, within the values that the measure can have.

    Student's interval does not know them: that of an accuracy can end above 1, that of a count below 0.
    """
    low, high = found["low"], found["high"]
    if measure in SIGNED_MEASURES:
        return low, high
    return max(low, 0.0), min(high, 1.0) if "accuracy" in measure else high


def _mean_and_interval(measure: str, found: Mapping[str, float] | None) -> str:
    if found is None:
        return "–"
    mean = f"{found['mean']:.4g}"
    return f"{mean} ({{:.4g}} to {{:.4g}})".format(*interval(measure, found)) if found["runs"] > 1 else mean


def _resources(result: Mapping[str, Any], arm: Mapping[str, Any]) -> list[str]:
    found, predicted = arm["summary"], arm["predicted"]

    def measured(key: str) -> str:
        return format_bytes(round(found[key]["mean"])) if key in found else "not known"

    return [
        arm["name"],
        arm["about"],
        f"{predicted['parameters']:,}",
        format_count(predicted["flops"]),
        format_bytes(predicted["training_bytes"]),
        measured("training_bytes"),
        format_bytes(predicted["prediction_bytes"]),
        measured("prediction_bytes"),
        *(f"{found[key]['mean']:.3f}" if key in found else "–" for key in ("training_seconds", "prediction_seconds")),
    ]


def markdown(result: Mapping[str, Any], command: str, planned: Sequence[str] = ()) -> str:
    """The result as a page, with the figure NAME.png in the same directory.

    Args:
        result: The result of the study.
        command: The command that made it.
        planned: The names of arms that the study has but the result has not; the page states that they are not run yet.
    """
    has = result["hardware"]
    not_run = [f"- not run yet: {', '.join(planned)}"] if planned else []
    machine = has.get("processor") if str(has.get("device")).startswith("cpu") else has.get("device")
    lines = [
        f"# {result['study'].capitalize().replace('-', ' ')}",
        "",
        f"*{result['question']}*",
        "",
        *(f"- {sentence}" for sentence in result["conclusion"]),
        *not_run,
        "",
        f"![{_caption(result)}]({result['study']}.png)",
        "",
        *markdown_table(titles(result), rows(result), left=None),
        "",
        "## How it was done",
        "",
        *(line for paragraph in _setting(result) for line in (paragraph, "")),
        f"- command: `{command}`",
        f"- {_extent(result)}",
        f"- hardware: {machine}, {has.get('cpus')} processor{'s' * (has.get('cpus') != 1)}, "
        f"{result['precision']}; {has.get('platform')}",
        f"- versions: {', '.join(f'{name} {version}' for name, version in result['versions'].items())}",
        f"- date: {result['date']}",
        "",
    ]
    return "\n".join(lines)


def not_run_yet(result: Mapping[str, Any], arms: Iterable[Arm]) -> list[str]:
    """The names of a study's arms that its result does not have."""
    done = {arm["name"] for arm in result["arms"]}
    return [arm.name for arm in arms if arm.name not in done]


def _caption(result: Mapping[str, Any]) -> str:
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


def _setting(result: Mapping[str, Any]) -> list[str]:
    """The method, in paragraphs."""
    about = f" {result['about']}" if result["about"] else ""
    if result["kind"] == "resources":
        method = (
            "Predicted is the memory of the tensors that `mlpconv summary` shows; measured is the memory that "
            "PyTorch's process took."
        )
        return [method + about]
    return [
        f"Each arm is trained with each seed by the recipe `{result['recipe']}` with the changes of the arm, on "
        f"{result['data']}; the test accuracy is that after the last epoch, which nothing was chosen by." + about,
        "Differences are of the same seeds; their intervals are Student's, their p values of the paired t test, after "
        "Holm's correction for all comparisons of one measure. Arms that are not distinguished may still differ.",
    ]


def _extent(result: Mapping[str, Any]) -> str:
    """Repetitions, or seeds and the budget, without the numbers that every arm sets itself."""
    numbers, budget = [row["seed"] for row in result["arms"][0]["seeds"]], result["budget"]
    if result["kind"] == "resources":
        return f"repetitions: {len(numbers)}"

    def common(key: str) -> bool:
        return bool(budget[key]) and not all(key in arm["changes"] for arm in result["arms"])

    parts = [f"{budget['images']:,} training images" if budget["images"] else "all training images"]
    parts += [f"{budget['test_images']:,} test images" if budget["test_images"] else "all test images"]
    parts += [f"{budget['epochs']} epoch{'s' * (budget['epochs'] > 1)}"] if common("epochs") else []
    parts += [f"{budget['image_size']} pixels"]
    parts += [f"batches of {budget['batch_size']}"] if common("batch_size") else []
    seeds = f"{numbers[0]}{f' to {numbers[-1]}' * (len(numbers) > 1)}"
    return f"seeds: {seeds}; budget: {', '.join(parts)}"


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
    first further measure."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    drawn = Figure(figsize=(11, 4), layout="constrained")
    own = _shows_own(result)
    left, right = drawn.subplots(1, 2, sharey=not own)
    _side_by_side(left, result, "test_accuracy", "test accuracy")
    if own:
        _side_by_side(right, result, *next(iter(result["columns"].items())))
    else:
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
    for axes in (left, right):
        axes.grid(alpha=0.4)
    return drawn


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
    """The test accuracy after each epoch, with a line for each seed and a color for each arm."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    drawn = Figure(figsize=(11, 4), layout="constrained")
    left, right = drawn.subplots(1, 2)
    _side_by_side(left, result, "test_accuracy", "test accuracy")
    for index, arm in enumerate(result["arms"]):
        for place, row in enumerate(arm["seeds"]):
            points = row.get("test_accuracies") or []
            label = None if place else arm["name"]
            right.plot(range(1, len(points) + 1), points, ".-", color=f"C{index % 10}", alpha=0.6, label=label)
    right.set(xlabel="epoch", ylabel="test accuracy", title="over the epochs, each seed")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.grid(alpha=0.4)
    if any(arm["seeds"] for arm in result["arms"]):
        right.legend()
    return drawn


def _map(result: Mapping[str, Any]) -> "Figure":
    """A map with a column for each rate and a row for each other setting.

    Each cell has the median accuracy and a bar with the outcomes of its seeds.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    arms = {tuple(arm["name"].rsplit("-", 1)): arm for arm in result["arms"]}
    names = list(dict.fromkeys(first for first, _ in arms))
    rates = list(dict.fromkeys(second for _, second in arms))
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
