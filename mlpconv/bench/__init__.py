"""Benchmarks: one file each, which measures mlpconv and its peers in one run, each contender in a separate process."""

BENCHMARKS = (
    "train",
    "predict",
    "serve",
    "forecast",
    "overhead",
    "recipe",
    "accuracy",
    "speedrun",
    "guard",
    "explain",
    "checkpoint",
    "folder",
    "frameworks",
    "scale",
)
"""The names of the benchmarks, in the order in which `mlpconv bench` runs them all."""
