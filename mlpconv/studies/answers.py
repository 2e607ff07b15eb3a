"""What a study's numbers allow to be said: paired tests between arms that share seeds, and sentences."""

from collections.abc import Mapping, Sequence
from math import atan, cos, inf, pi, sin, sqrt
from statistics import fmean, stdev
from typing import Any, NamedTuple

from mlpconv.studies.runner import summarize

LEVEL = 0.05


class Comparison(NamedTuple):
    """One arm against another on the seeds that both have. difference, low, high: the mean of arm − other with its 95 %
    interval. p: of the paired t test. adjusted: the same after Holm's correction for all comparisons of the study."""

    arm: str
    other: str
    seeds: int
    difference: float
    low: float
    high: float
    p: float
    adjusted: float


def student_p(t: float, freedom: int) -> float:
    """The two-sided p of Student's t (Abramowitz, Stegun 1964, 26.7.3 and 26.7.4)."""
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
    """(seeds, difference, low, high, p) over the seeds that both have; None for fewer than two."""
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) < 2:
        return None
    apart = [ours[seed] - theirs[seed] for seed in shared]
    found, spread = summarize(apart), stdev(apart)
    t = fmean(apart) * sqrt(len(apart)) / spread if spread else (inf if fmean(apart) else 0.0)
    return len(shared), found.mean, found.low, found.high, student_p(t, len(apart) - 1)


def compare(result: Mapping[str, Any], pairs: Sequence[tuple[str, str]], key: str) -> list[Comparison]:
    """Every pair (arm, other) that shares at least two seeds, compared by ``key``."""
    values = {
        arm["name"]: {row["seed"]: row[key] for row in arm["seeds"] if row.get(key) is not None}
        for arm in result["arms"]
    }
    found = [(arm, other, paired(values[arm], values[other])) for arm, other in pairs]
    known = [(arm, other, test) for arm, other, test in found if test is not None]
    adjusted = holm([test[-1] for _, _, test in known])
    return [Comparison(arm, other, *test, p) for (arm, other, test), p in zip(known, adjusted, strict=True)]


def holm(values: Sequence[float]) -> list[float]:
    """p values after Holm's correction (1979): the chance of even one false difference stays below the level."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    found, most = [0.0] * len(values), 0.0
    for place, index in enumerate(order):
        most = max(most, min(1.0, (len(values) - place) * values[index]))
        found[index] = most
    return found


def verdict(comparison: Comparison) -> str:
    """higher, lower or not told apart: a difference counts where both its interval and its adjusted p say so."""
    if comparison.adjusted >= LEVEL or comparison.low <= 0 <= comparison.high:
        return "not told apart"
    return "higher" if comparison.difference > 0 else "lower"


def chance(p: float) -> str:
    """A p value in words; of a very small one only that it is."""
    return f"p = {p:.2g}" if p >= 1e-4 else "p < 0.0001"


def sentences(result: Mapping[str, Any], comparisons: Sequence[Comparison], what: str) -> list[str]:
    """A sentence for each comparison, with what the arm costs against the other, and one for what failed."""
    arms = {arm["name"]: arm for arm in result["arms"]}
    said = []
    for each in comparisons:
        numbers = (
            f"{each.difference:+.4f}, 95 % interval {each.low:+.4f} to {each.high:+.4f}, "
            f"{chance(each.adjusted)}, {each.seeds} seeds"
        )
        words = verdict(each)
        cost = _costs(arms[each.arm], arms[each.other])
        if words == "not told apart":
            said.append(f"{each.arm} and {each.other} cannot be told apart by {what} ({numbers}){cost}.")
        else:
            said.append(f"{each.arm} has a {words} {what} than {each.other} ({numbers}){cost}.")
    few = min((len(arm["seeds"]) for arm in result["arms"]), default=0)
    if few < 2:
        said.append("With fewer than two seeds an arm, nothing can be said about differences.")
    for arm in result["arms"]:
        failed = sum(bool(row.get("failed")) for row in arm["seeds"])
        if failed:
            said.append(f"{arm['name']}: training failed with {failed} of {len(arm['seeds'])} seeds.")
    if not result["complete"]:
        said.append("The study is not complete: the same command goes on with it.")
    return said


def _costs(arm: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The ratios of what the arms cost, where they differ by a hundredth or more."""
    parts = []
    for key, name in (("parameters", "parameters"), ("flops", "FLOPs"), ("seconds", "training time")):
        ours, theirs = arm.get(key), other.get(key)
        if ours and theirs and abs(ours / theirs - 1) >= 0.01:
            parts.append(f"{ours / theirs:.3g} × the {name}")
    return f", at {', '.join(parts)}" if parts else ""


def all_learn(result: Mapping[str, Any]) -> bool:
    """Whether every run learned, with no class lost."""
    return all(row.get("outcome") == "learns" for arm in result["arms"] for row in arm["seeds"])


def outcomes(result: Mapping[str, Any]) -> list[str]:
    """How each arm ended, by how many of its seeds; nothing where all learned."""
    if all_learn(result):
        return []
    said = []
    for kind in ("learns", "loses classes", "stalls", "diverges"):
        found = []
        for arm in result["arms"]:
            count = sum(row.get("outcome") == kind for row in arm["seeds"])
            if count:
                found.append(arm["name"] + ("" if count == len(arm["seeds"]) else f" ({count} of {len(arm['seeds'])})"))
        if found:
            said.append(f"{kind}: {', '.join(found)}.")
    return said


def best(result: Mapping[str, Any], key: str, what: str) -> list[str]:
    """The arm with the highest mean, and which others its seeds do not tell apart from it."""
    arms = [arm for arm in result["arms"] if key in arm["summary"]]
    if not arms or min(len(arm["seeds"]) for arm in arms) < 2:
        return []
    top = max(arms, key=lambda arm: arm["summary"][key]["mean"])
    against = compare(result, [(arm["name"], top["name"]) for arm in arms if arm is not top], key)
    near = [each.arm for each in against if verdict(each) == "not told apart"]
    mean = top["summary"][key]["mean"]
    return [
        f"The highest mean {what} is that of {top['name']}, {mean:.4f}; "
        + (f"it cannot be told apart from {', '.join(near)}." if near else "every other arm's is lower.")
    ]
