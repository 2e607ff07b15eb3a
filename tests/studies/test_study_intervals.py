"""Confidence intervals on the pages of studies."""

import pytest

from mlpconv.studies.summary import interval


@pytest.mark.parametrize(
    ("measure", "expected"),
    [("test_accuracy", (0.0, 1.0)), ("dead_classes", (0.0, 1.3)), ("gap", (-0.4, 1.3))],
)
def test_an_interval_stays_within_the_values_of_its_measure(measure, expected):
    assert interval(measure, {"low": -0.4, "high": 1.3}) == expected


def test_an_interval_within_the_values_is_unchanged():
    assert interval("test_accuracy", {"low": 0.2, "high": 0.8}) == (0.2, 0.8)
