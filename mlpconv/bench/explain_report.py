"""A result of `mlpconv bench explain` for people."""

from typing import TYPE_CHECKING, Any

from mlpconv.bench.explain import OURS
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance_list

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = ("method", "deletion (less is better)", "insertion (more is better)", "ms an image", "× prediction")


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of each method, in the order of ``TITLES``."""
    return [
        (
            each["name"],
            *(
                f"{each[key]['mean']:.3f} ({each[key]['low']:.3f}–{each[key]['high']:.3f})"
                for key in ("deletion", "insertion")
            ),
            f"{1000 * each['seconds_per_image']:.2f}",
            f"{each['times_prediction']:.2f}",
        )
        for each in result["methods"]
    ]


def words(result: dict[str, Any]) -> list[str]:
    """A sentence for each other method that compares class maps with it, as far as the intervals allow."""
    said = []
    for each in result["methods"]:
        if each["name"] == OURS:
            continue
        parts = []
        for key, better in (("deletion", 1), ("insertion", -1)):
            found = each[key]
            low, high = found["difference_low"], found["difference_high"]
            verdict = "not distinguishable" if low <= 0 <= high else "better" if better * low > 0 else "worse"
            parts.append(f"{verdict} by {key} ({found['difference']:+.3f}, 95 % interval {low:+.3f} to {high:+.3f})")
        said.append(f"Against {each['name']} class maps are {' and '.join(parts)}.")
    return said


def gate(result: dict[str, Any]) -> str:
    """The cost of class maps against its bound."""
    cost = result["cost"]
    mark = "pass" if cost["passed"] else "FAIL"
    return f"{mark}  class maps cost {cost['ratio']:.3f} × plain prediction (≤ {cost['bound']:g})"


def setting(result: dict[str, Any]) -> str:
    """What was measured, in one sentence."""
    return (
        f"{result['network']} of {result['run']}, {result['images']} images of {result['data']}, pixels taken and "
        f"given in {result['steps']} steps; numbers are the mean probability of the predicted class with its 95 % "
        f"interval over images, times medians of {result['rounds']} rounds"
    )


def markdown(result: dict[str, Any]) -> str:
    """The whole result as a page."""
    lines = [
        "# How faithful class maps are",
        "",
        setting(result) + ".",
        "",
        *markdown_table(TITLES, rows(result)),
        "",
        "![deletion and insertion](explain.png)",
        "",
        *(f"- {sentence} Differences are theirs less ours, on the same images." for sentence in words(result)),
        "",
        f"Gate: {gate(result)}",
        "",
        *provenance_list(result),
        "",
    ]
    return "\n".join(lines)


def figure(result: dict[str, Any]) -> "Figure":
    """The curves of all methods, with deletion on the left and insertion on the right."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(10, 4), layout="constrained")
    panels = drawn.subplots(1, 2, sharey=True)
    for axes, key in zip(panels, ("deletion", "insertion"), strict=True):
        for index, (name, curve) in enumerate(result["curves"].items()):
            points = [step / result["steps"] for step in range(result["steps"] + 1)]
            axes.plot(points, curve[key], label=name, color=f"C{index}", linewidth=2.4 if name == OURS else 1.4)
        axes.set(title=key, xlabel=f"share of the pixels {'taken' if key == 'deletion' else 'given'}", ylim=(0, 1))
        axes.grid(alpha=0.4)
    panels[0].set_ylabel("probability of the predicted class")
    panels[1].legend()
    return drawn
