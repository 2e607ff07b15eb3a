"""A result of `mlpconv bench explain` for people."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mlpconv.bench.saliency import CHANCE, OURS
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance_list

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Comparison(NamedTuple):
    """A test in which methods are compared."""

    key: str
    """Its key in the result."""
    title: str
    measures: Mapping[str, str]
    """The title of each measure in the tables, by its key in the result; the first decides."""


COMPARED = (
    Comparison(
        "road",
        "Removed pixels (ROAD)",
        {"gap": "difference (more is better)", "morf": "MoRF (less is better)", "lerf": "LeRF (more is better)"},
    ),
    Comparison(
        "shortcut",
        "A planted shortcut",
        {"hit": "strongest place in the marker", "energy": "share of the positive map there"},
    ),
    Comparison(
        "mosaics",
        "Mosaics of four classes",
        {"hit": "strongest in its own quadrant", "energy": "share of the positive map there"},
    ),
)
"""The tests whose result is a comparison; the one with random weights is passed or failed."""
COST_TITLES = ("method", "ms an image", "× prediction")


def rows(result: dict[str, Any], test: Comparison) -> list[tuple[str, ...]]:
    """The cells of each method: its name and its measures."""
    return [(each["name"], *(_interval(each[key]) for key in test.measures)) for each in result[test.key]["methods"]]


def weight_titles(result: dict[str, Any]) -> tuple[str, ...]:
    """The titles of ``weight_rows``: the blocks that are randomized, the last first."""
    blocks = result["weights"]["blocks"]
    return ("method", *(f"{'+ ' if index else ''}{block}" for index, block in enumerate(blocks)), "result")


def weight_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The correlation of each method's maps with the original ones as more blocks are randomized."""
    return [
        (each["name"], *(_interval(step) for step in each["steps"]), "pass" if each["passed"] else "FAIL")
        for each in result["weights"]["methods"]
    ]


def cost_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The time of each method, in the order of ``COST_TITLES``."""
    return [
        (each["name"], f"{1000 * each['seconds_per_image']:.2f}", f"{each['times_prediction']:.2f}")
        for each in result["seconds"]
    ]


def _interval(found: Mapping[str, Any]) -> str:
    return f"{found['mean']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def about(result: dict[str, Any], key: str) -> str:
    """What a test measures, in one paragraph."""
    if key == "road":
        has = result["road"]
        return (
            f"{result['images']} test images; pixels are replaced by the noisy weighted means of their neighbors, the "
            f"most important first (MoRF) or the least important first (LeRF), by the map of the predicted class. The "
            f"accuracy, {has['accuracy']:.3f} on whole images, is averaged over {len(has['shares'])} shares from "
            f"{has['shares'][0]:.0%} to {has['shares'][-1]:.0%}; the difference is LeRF less MoRF (Rong et al. 2022, "
            "arXiv:2202.00449)."
        )
    if key == "weights":
        has = result["weights"]
        return (
            f"{has['images']} test images; rank correlation (Spearman) of the maps, without their signs, with the maps "
            "of the same network after its last block, and then one block more at a time, got random weights. With "
            f"all blocks random, a method passes if the whole 95 % interval is below {has['bound']:g} (Adebayo et al. "
            "2018, arXiv:1810.03292)."
        )
    if key == "shortcut":
        has = result["shortcut"]
        misled = ", ".join(f"{share:.1%}" for share in has["misled"])
        area = "" if has["chance"] is None else f" Its area is {has['chance']:.3f} of an image, which is chance."
        return (
            f"{has['network']}, maps of {_size(has['map_size'])}, trained on {has['data'].partition('/')[0]} with a "
            f"checkerboard of {has['marker']}×{has['marker']} pixels at a random place of each training image of "
            f"{has['class']}. It misleads {misled} of the other classes' test images that are classified correctly "
            f"without it; on {has['images']} of these, the map of {has['class']} has to find the marker, up to "
            f"{has['tolerance']} pixels around it.{area}"
        )
    has = result["mosaics"]
    return (
        f"{has['mosaics']} mosaics of 2×2 test images of different classes that all runs classify correctly, each at "
        f"the size of a training image, with maps of {_size(has['map_size'])}. The map of each of the four classes has "
        f"to be strongest on average in the quadrant of its image; chance is {has['chance']:g}."
    )


def words(result: dict[str, Any]) -> list[str]:
    """How class maps compare with the other methods, as far as intervals and runs allow; last, the random weights."""
    said = []
    for test in COMPARED:
        methods = result[test.key]["methods"]
        if not methods:
            said.append(f"{test.title}: too few images were misled to compare methods.")
            continue
        key = next(iter(test.measures))
        names: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
        for each in methods:
            if each["name"] != OURS:
                names[each[key]["verdict"]].append(each["name"])
        phrases = {"better": "better than", "worse": "worse than", "open": "not distinguishable from"}
        parts = [f"{phrases[verdict]} {', '.join(found)}" for verdict, found in names.items() if found]
        said.append(f"{test.title}: class maps are {'; '.join(parts)}.")
    failed = [each["name"] for each in result["weights"]["methods"] if not each["passed"]]
    fails = f"{', '.join(failed)} {'fails' if len(failed) == 1 else 'fail'}" if failed else "no method fails"
    said.append(f"Random weights: {'class maps fail' if OURS in failed else 'class maps pass'}; {fails}.")
    return said


def beats_chance(result: dict[str, Any]) -> dict[str, bool]:
    """Whether class maps beat chance, by the title of each test, and pass the one with random weights."""
    found = {}
    for test in COMPARED:
        key = next(iter(test.measures))
        verdicts = {each["name"]: each[key]["verdict"] for each in result[test.key]["methods"]}
        found[test.title] = verdicts.get(CHANCE) == "better"
    passed = {each["name"]: each["passed"] for each in result["weights"]["methods"]}
    return found | {"Random weights": passed[OURS]}


def gates(result: dict[str, Any]) -> list[str]:
    """Whether class maps beat chance in each test, and their cost against its bound."""
    cost, marks = result["cost"], {True: "pass", False: "FAIL"}
    tests = [
        f"{marks[passed]}  {title}: class maps {'depend on them' if title == 'Random weights' else 'beat chance'}"
        for title, passed in beats_chance(result).items()
    ]
    return [
        *tests,
        f"{marks[cost['passed']]}  class maps cost {cost['ratio']:.3f} × plain prediction (≤ {cost['bound']:g})",
    ]


def setting(result: dict[str, Any]) -> str:
    """What was measured, in a paragraph."""
    return (
        f"{result['network']} of {', '.join(result['runs'])}, maps of {_size(result['map_size'])}, on "
        f"{result['data']}. Numbers are means with 95 % intervals over images; the value of an image is its mean over "
        "the runs. Class maps are better or worse than another method if the interval of the difference on the same "
        "images does not contain 0 and every run agrees."
    )


def _size(size: list[int]) -> str:
    return "×".join(map(str, size))


def markdown(result: dict[str, Any]) -> str:
    """The whole result as a page."""
    lines = ["# Tests of class maps", "", setting(result), "", *(f"- {sentence}" for sentence in words(result)), ""]
    lines += ["![the four tests](explain.png)", ""]
    for test in COMPARED:
        lines += [f"## {test.title}", "", about(result, test.key), ""]
        if result[test.key]["methods"]:
            lines += [*markdown_table(("method", *test.measures.values()), rows(result, test)), ""]
    lines += ["## Random weights", "", about(result, "weights"), ""]
    lines += [*markdown_table(weight_titles(result), weight_rows(result)), ""]
    lines += ["## Cost", "", *markdown_table(COST_TITLES, cost_rows(result)), ""]
    lines += [*(f"- {line}" for line in gates(result)), "", *provenance_list(result), ""]
    return "\n".join(lines)


def figure(result: dict[str, Any]) -> "Figure":
    """The curves of ROAD and of random weights, and the shares of the shortcut and the mosaics."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 8), layout="constrained")
    panels = drawn.subplots(2, 2)
    shares = [0.0, *result["road"]["shares"]]
    for index, (name, curves) in enumerate(result["road"]["curves"].items()):
        for key, style in (("morf", "-"), ("lerf", "--")):
            values = [result["road"]["accuracy"], *curves[key]]
            _line(panels[0, 0], index, name, shares, values, style, label=name if key == "morf" else None)
    panels[0, 0].set(
        title="ROAD: most important removed first (solid), least (dashed)", xlabel="share of the pixels removed",
        ylabel="accuracy", ylim=(0, 1),
    )  # fmt: skip
    panels[0, 0].legend(fontsize=8)
    blocks = ["none", *(f"{'+ ' * bool(index)}{block}" for index, block in enumerate(result["weights"]["blocks"]))]
    for index, each in enumerate(result["weights"]["methods"]):
        _line(panels[0, 1], index, each["name"], blocks, [1.0, *(step["mean"] for step in each["steps"])])
    panels[0, 1].axhline(result["weights"]["bound"], color="gray", linestyle=":")
    panels[0, 1].set(
        title="random weights: has to fall below the dotted line", xlabel="blocks with random weights",
        ylabel="rank correlation with the original map", ylim=(-0.3, 1.05),
    )  # fmt: skip
    for axes, test in zip(panels[1], COMPARED[1:], strict=True):
        _bars(axes, result[test.key], test)
    for axes in panels.flat:
        axes.grid(alpha=0.4)
    return drawn


def _line(
    axes: "Axes",
    index: int,
    name: str,
    x: Sequence[Any],
    y: Sequence[float],
    style: str = "-",
    label: str | None = None,
) -> None:
    axes.plot(x, y, style, label=label or "_", color=f"C{index}", linewidth=2.4 if name == OURS else 1.4)


def _bars(axes: "Axes", result: dict[str, Any], test: Comparison) -> None:
    """The measures of a test as bars with intervals, and chance as a line."""
    for place, (key, title) in enumerate(test.measures.items()):
        found = [each[key] for each in result["methods"]]
        middle = [each["mean"] for each in found]
        ends = [[max(m - each["low"], 0) for m, each in zip(middle, found, strict=True)]]
        ends += [[max(each["high"] - m, 0) for m, each in zip(middle, found, strict=True)]]
        at = [index + (0.4 * place - 0.2) for index in range(len(found))]
        axes.barh(at, middle, 0.38, xerr=ends, label=title, color=f"C{place}", ecolor="black", capsize=2)
    axes.set_yticks(range(len(result["methods"])), [each["name"] for each in result["methods"]])
    axes.invert_yaxis()
    if result["chance"] is not None:
        axes.axvline(result["chance"], color="gray", linestyle=":")
    axes.set(title=f"{test.title}; dotted: chance", xlim=(0, 1))
    axes.legend(fontsize=8)
