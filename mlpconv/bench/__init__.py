"""Benchmarks: one file each, with its peers beside us in one run. Every contender has a process of its own."""

BENCHMARKS = (
    "train",
    "forecast",
    "overhead",
    "recipe",
    "accuracy",
    "guard",
    "explain",
    "checkpoint",
    "folder",
    "frameworks",
)
"""The names that `mlpconv bench` takes, in the order in which it runs them all."""
