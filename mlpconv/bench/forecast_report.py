"""Results of `mlpconv bench forecast` and `mlpconv bench overhead` for people."""

from typing import Any

from mlpconv.bench import report
from mlpconv.bench.forecast import error
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance_list

TIME_TITLES = ("network", "batch", "precision", "images", "predicted s", "measured s", "error", "forecast took s")
MEMORY_TITLES = (
    "network",
    "precision",
    "batch",
    "training MiB",
    "measured",
    "error",
    "prediction MiB",
    "measured",
    "error",
    "resident MiB",
)


def time_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of each timed run, in the order of ``TIME_TITLES``."""
    return [
        (
            case["network"],
            str(case["batch_size"]),
            case["precision"],
            f"{case['images']:,}",
            f"{case['seconds']['predicted']:.2f}",
            f"{case['seconds']['measured']:.2f}",
            f"{error(case['seconds']):+.1%}",
            f"{case['forecast_seconds']:.1f}",
        )
        for case in result["time"]
    ]


def memory_rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of each memory case, in the order of ``MEMORY_TITLES``."""
    return [
        (
            case["network"],
            case["precision"],
            str(case["batch_size"]),
            *(
                text
                for kind in ("training", "prediction")
                for text in (
                    _mebibytes(case[kind]["predicted"]),
                    _mebibytes(case[kind]["measured"]),
                    f"{error(case[kind]):+.1%}",
                )
            ),
            _mebibytes(case["resident_bytes"]),
        )
        for case in result["memory"]
    ]


def _mebibytes(count: int | None) -> str:
    return "–" if count is None else f"{count / 2**20:,.1f}"


NOTES = (
    "time: short real runs on a part of the images, evaluation included; the forecast is made in the same process "
    "before the first step",
    "memory: tensors alive at the peak, by PyTorch's own account, without the data set; resident is the most that the "
    "process had by then, PyTorch itself and smaller batches before included, with memory kept for later use",
)


def markdown(result: dict[str, Any]) -> str:
    """The whole result of `bench forecast` as a page."""
    lines = ["# Forecast", "", "What was predicted before the first step, and what it then was.", ""]
    for titles, rows in ((TIME_TITLES, time_rows(result)), (MEMORY_TITLES, memory_rows(result))):
        lines += [*markdown_table(titles, rows, left=(0, 1, 2)), ""]
    lines += [f"- {note}" for note in NOTES]
    return "\n".join([*lines, "", *_ending(result)])


def overhead_facts(result: dict[str, Any]) -> list[str]:
    """The measurements of `bench overhead`, with a sentence on each line."""
    has = result["settings"]
    return [
        f"the recipe study, batch {has['batch_size']}, {has['steps']} steps, bare and as a whole run in turn, "
        f"{has['rounds']} rounds: a run's steps take {result['overhead_share']:+.2%} more time (median of the rounds)",
        f"plans, progress and the points of the curve take {result['outside_share']:.3%} of a run's training time, "
        "timed within it; where a notebook draws the curves instead of a bar in a terminal, they take "
        f"{result['notebook_share']:.3%}",
        f"curves and report are written in {result['report_seconds']:.2f} s; the recipe takes about "
        f"{result['recipe_seconds']:.0f} s",
    ]


def overhead_markdown(result: dict[str, Any]) -> str:
    """The whole result of `bench overhead` as a page."""
    facts = [f"- {fact}" for fact in overhead_facts(result)]
    return "\n".join(["# What progress, plan, notebook and report cost", "", *facts, "", *_ending(result)])


def _ending(result: dict[str, Any]) -> list[str]:
    return [
        "Gates:",
        "",
        *(f"- {line}" for line in report.gates(result)),
        "",
        *provenance_list(result),
        "",
    ]
