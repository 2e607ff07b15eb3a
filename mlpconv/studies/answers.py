"""The conclusions from a study's numbers: paired tests between arms that share seeds, and sentences."""

from collections.abc import Mapping, Sequence
from math import atan, cos, inf, pi, sin, sqrt
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mlpconv.studies.summary import summarize

SIGNIFICANCE_LEVEL = 0.05
LEARNS = "learns"
"""The outcome of a run that recognizes every class (mlpconv.studies.measures.outcome)."""


class Comparison(NamedTuple):
    """The comparison of two arms on the seeds that both have."""

    arm: str
    other: str
    seeds: int
    difference: float
    """The mean of arm − other."""
    low: float
    """The lower end of its 95 % confidence interval."""
    high: float
    """The upper end."""
    p: float
    """The p value of the paired t test."""
    adjusted: float
    """The p value after Holm's correction for all comparisons of the study."""


def student_p(t: float, freedom: int) -> float:
    """The two-sided p value of Student's t (Abramowitz, Stegun 1964, 26.7.3 and 26.7.4).

    Args:
        t: The statistic.
        freedom: The degrees of freedom.
    """
    if t in (inf, -inf):
        return 0.0
    angle = atan(abs(t) / sqrt(freedom))
    term, inside = 1.0, 0.0
    odd = freedom % 2
    for index in range((freedom - odd) // 2):
        inside += term
        term *= cos(angle) ** 2 * (2 * index + 1 + odd) / (2 * index + 2 + odd)
    if odd:
        return max(0.0, 1 - 2 / pi * (angle + sin(angle) * cos(angle) * inside))
    return max(0.0, 1 - sin(angle) * inside)


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> tuple[int, float, float, float, float] | None:
    """Compare the values of two arms, by seed.

    Returns:
        (seeds, difference, low, high, p) over the seeds that both have; None for fewer than two.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < 2:
        return None
    apart = [ours[seed] - theirs[seed] for seed in shared]
    found, spread = summarize(apart), stdev(apart)
    t = fmean(apart) * sqrt(len(apart)) / spread if spread else (inf if fmean(apart) else 0.0)
    return len(shared), found.mean, found.low, found.high, student_p(t, len(apart) - 1)


def compare(
    result: Mapping[str, Any], pairs: Sequence[tuple[str, str]], key: str, *, where_both_learn: bool = False
) -> list[Comparison]:
    """Compare pairs of arms by a measure.

    Args:
        result: The result of a study.
        pairs: (arm, other); pairs that share fewer than two seeds, or with an arm that is not run yet, are skipped.
        key: The name of the measure.
        where_both_learn: Use only runs that learned.
    """
    values = {
        arm["name"]: {
            row["seed"]: row[key]
            for row in arm["seeds"]
            if row.get(key) is not None and (not where_both_learn or row.get("outcome") == LEARNS)
        }
        for arm in result["arms"]
    }
    tests = [(arm, other, paired(values.get(arm, {}), values.get(other, {}))) for arm, other in pairs]
    known = [(arm, other, test) for arm, other, test in tests if test is not None]
    adjusted = holm([test[-1] for _, _, test in known])
    return [Comparison(arm, other, *test, p) for (arm, other, test), p in zip(known, adjusted, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """p values after Holm's correction (1979): the probability of any false difference stays below the level."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - rank) * values[index]))
        adjusted[index] = largest
    return adjusted


def verdict(comparison: Comparison) -> str:
    """higher, lower or not distinguished: a difference counts if both its interval and its adjusted p value show it."""
    if comparison.adjusted >= SIGNIFICANCE_LEVEL or comparison.low <= 0 <= comparison.high:
        return "not distinguished"
    return "higher" if comparison.difference > 0 else "lower"


def chance(p: float) -> str:
    """A p value for people."""
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def sentences(result: Mapping[str, Any], comparisons: Sequence[Comparison], what: str) -> list[str]:
    """The conclusions of a study.

    Args:
        result: The result of the study.
        comparisons: The comparisons of its arms.
        what: The measure that is compared, for people.

    Returns:
        A sentence for each comparison, with the relative costs of the arms, and one for each arm with failed runs.
    """
    arms = {arm["name"]: arm for arm in result["arms"]}
    lines = []
    for each in comparisons:
        lines.append(f"{_difference(each, what)}{_costs(arms[each.arm], arms[each.other])}.")
    few = min((len(arm["seeds"]) for arm in result["arms"]), default=0)
    if few < 2:
        lines.append("With fewer than two seeds an arm, nothing can be said about differences.")
    for arm in result["arms"]:
        failed = sum(bool(row.get("failed")) for row in arm["seeds"])
        if failed:
            lines.append(f"{arm['name']}: training failed with {failed} of {len(arm['seeds'])} seeds.")
    if not result["complete"]:
        lines.append("The study is not complete; run the same command to continue.")
    return lines


def _difference(comparison: Comparison, what: str) -> str:
    """A comparison in words, with its numbers."""
    numbers = (
        f"{comparison.difference:+.4f}, 95 % interval {comparison.low:+.4f} to {comparison.high:+.4f}, "
        f"{chance(comparison.adjusted)}, {comparison.seeds} seeds"
    )
    words, arm, other = verdict(comparison), comparison.arm, comparison.other
    if words == "not distinguished":
        return f"{arm} and {other} cannot be distinguished by {what} ({numbers})"
    return f"{arm} has a {words} {what} than {other} ({numbers})"


def among_learners(result: Mapping[str, Any], comparisons: Sequence[Comparison], key: str, what: str) -> list[str]:
    """What is left of the differences without the runs that did not learn.

    One run that collapses hides every difference between those that learn: it makes the interval of the mean wide.

    Args:
        result: The result of the study.
        comparisons: The comparisons over all runs.
        key: The name of the measure.
        what: The measure, for people.

    Returns:
        A sentence for each comparison with fewer seeds where both arms learn than seeds, but at least three of them.
    """
    seeds = {(each.arm, each.other): each.seeds for each in comparisons}
    learners = compare(result, list(seeds), key, where_both_learn=True)
    return [
        f"Where both learn: {_difference(each, what)}."
        for each in learners
        if 3 <= each.seeds < seeds[each.arm, each.other]
    ]


def _costs(arm: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The ratios of the arms' costs that differ from 1 by a hundredth or more."""
    parts = []
    for key, name in (("parameters", "parameters"), ("flops", "FLOPs"), ("seconds", "training time")):
        ours, theirs = arm.get(key), other.get(key)
        if ours and theirs and abs(ours / theirs - 1) >= 0.01:
            parts.append(f"{ours / theirs:.3g} × the {name}")
    return f", at {', '.join(parts)}" if parts else ""


def all_learn(result: Mapping[str, Any]) -> bool:
    """Whether every run learned, without losing a class."""
    return all(row.get("outcome") == LEARNS for arm in result["arms"] for row in arm["seeds"])


def outcomes(result: Mapping[str, Any]) -> list[str]:
    """A sentence for each outcome with the arms that ended so, and for how many seeds; empty if all learned."""
    if all_learn(result):
        return []
    lines = []
    for kind in (LEARNS, "loses classes", "stalls", "diverges"):
        found = []
        for arm in result["arms"]:
            count = sum(row.get("outcome") == kind for row in arm["seeds"])
            if count:
                found.append(arm["name"] + ("" if count == len(arm["seeds"]) else f" ({count} of {len(arm['seeds'])})"))
        if found:
            lines.append(f"{kind}: {', '.join(found)}.")
    return lines


def best(result: Mapping[str, Any], key: str, what: str) -> list[str]:
    """A sentence on the arm with the highest mean of a measure, and the arms that cannot be distinguished from it."""
    arms = [arm for arm in result["arms"] if key in arm["summary"]]
    if not arms or min(len(arm["seeds"]) for arm in arms) < 2:
        return []
    top = max(arms, key=lambda arm: arm["summary"][key]["mean"])
    against = compare(result, [(arm["name"], top["name"]) for arm in arms if arm is not top], key)
    near = [each.arm for each in against if verdict(each) == "not distinguished"]
    mean = top["summary"][key]["mean"]
    return [
        f"The highest mean {what} is that of {top['name']}, {mean:.4f}; "
        + (f"it cannot be distinguished from {', '.join(near)}." if near else "every other arm's is lower.")
    ]
