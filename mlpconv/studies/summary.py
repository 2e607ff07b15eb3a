"""Statistics of a measure over seeds: mean, median, range, and the confidence interval of the mean."""

from collections.abc import Mapping, Sequence
from math import sqrt
from statistics import fmean, median, stdev
from typing import NamedTuple

SIGNED_MEASURES = ("gap",)
"""Measures that can be negative; all others are shares, counts or times."""
# 97.5 % quantiles of Student's t for 1, 2, 3 … degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2).
_STUDENT = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)


class Summary(NamedTuple):
    """Statistics of one measure over seeds."""

    runs: int
    mean: float
    low: float
    """The lower end of the mean's 95 % confidence interval by Student's t; the mean if there is only one seed.

    The interval of a measure with a bounded range may extend beyond it.
    """
    high: float
    """The upper end."""
    median: float
    least: float
    most: float


def summarize(values: Sequence[float]) -> Summary:
    """The statistics of at least one value."""
    mean, freedom = fmean(values), len(values) - 1
    # Beyond the table: the first term of Cornish and Fisher's expansion.
    quantile = _STUDENT[freedom - 1] if freedom <= len(_STUDENT) else 1.95996 + 2.3722 / freedom
    half = quantile * stdev(values) / sqrt(len(values)) if freedom else 0.0
    return Summary(len(values), mean, mean - half, mean + half, median(values), min(values), max(values))


def interval(measure: str, found: Mapping[str, float]) -> tuple[float, float]:
    """The confidence interval of a mean, within the values that the measure can have.

    Student's interval does not know them: that of an accuracy can end above 1, that of a count below 0.
    """
    low, high = found["low"], found["high"]
    if measure in SIGNED_MEASURES:
        return low, high
    return max(low, 0.0), min(high, 1.0) if "accuracy" in measure else high
