"""`mlpconv bench scale`: how cost grows with the number of processes, images, classes, their size, and the batch.

Cost is measured on real training: whole epochs by the command line for numbers of processes, and forecasts from real
steps (``mlpconv.training.forecast``) for everything else. For each quantity, a power law is fitted: cost proportional
to the quantity to the power of the exponent.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mlpconv.backends import allocator
from mlpconv.bench.images import splits
from mlpconv.bench.programs import output_of
from mlpconv.data import ImageDataset, Splits
from mlpconv.formatting import markdown_table
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.reports.provenance import provenance, provenance_list

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
RECIPE = "study"
MIN_SHARE = 0.85
"""The gate: the speed of several processes relative to one process with as many threads in all."""
GROWTH: dict[str, tuple[int, ...]] = {
    "images": (7_500, 15_000, 30_000, 60_000),
    "image_size": (70, 99, 131, 163, 195, 227),
    "batch_size": (16, 32, 64, 128, 256),
    "classes": (10, 100, 1000),
}
"""The values of each quantity."""
STANDARD = {"images": 60_000, "image_size": 70, "batch_size": 128, "classes": 10}
"""The value of each quantity while another one changes."""
TITLES = {
    "images": "training images",
    "image_size": "side of the images in pixels",
    "batch_size": "images per step",
    "classes": "classes",
}
Progress = Callable[[str], None]


class Settings(NamedTuple):
    """What is measured."""

    processes: Sequence[int] = (1, 2)
    rounds: int = 3
    """Epochs with each number of processes, and forecasts of each value."""
    threads: int = 1
    """The threads of all processes together."""
    data: str = "fashion-mnist"
    """The data set of the epochs."""
    image_size: int = 70
    """The side of its images in pixels."""


def measure(settings: Settings, progress: Progress = lambda line: None) -> dict[str, Any]:
    """The result, as docs/json/bench-scale.schema.json describes it.

    Raises:
        DataError: The data set is not on this machine.
        BenchmarkFailed: A training failed.
    """
    # The command line does this first too.
    allocator.keep_memory()
    speeds = _processes(settings, progress)
    first = speeds[settings.processes[0]]
    return {
        "format": FORMAT,
        "benchmark": "scale",
        "processes": [
            {
                "processes": count,
                "threads_per_process": max(settings.threads // count, 1),
                "images_per_second": median(values),
                "rounds": values,
                "to_first": median(each / before for each, before in zip(values, first, strict=True)),
            }
            for count, values in speeds.items()
        ],
        "growth": [_growth(name, values, settings.rounds, progress) for name, values in GROWTH.items()],
        "settings": {**settings._asdict(), "recipe": RECIPE, "standard": STANDARD},
        **provenance(),
    }


def _processes(settings: Settings, progress: Progress) -> dict[int, list[float]]:
    """Images a second of epochs by each number of processes, in turn."""
    speeds: dict[int, list[float]] = {count: [] for count in settings.processes}
    command = [sys.executable, "-m", "mlpconv", "train", "--json", "--recipe", RECIPE, "--data", settings.data]
    command += ["--epochs", "1", "--image-size", str(settings.image_size)]
    for number in range(1, settings.rounds + 1):
        for count, values in speeds.items():
            with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as folder:
                threads = os.environ | {"OMP_NUM_THREADS": str(max(settings.threads // count, 1))}
                several = ["--nproc", str(count)] if count > 1 else []
                run = [*command, *several, "--out", str(Path(folder, "run"))]
                result = json.loads(output_of(run, f"{count} processes", threads))
            values.append(result["examples_per_second"])
            progress(f"round {number} of {settings.rounds}, processes: {count}: {values[-1]:,.1f} images/s")
    return speeds


def _growth(name: str, values: Sequence[int], rounds: int, progress: Progress) -> dict[str, Any]:
    """The seconds of an epoch and the memory of a step for each value of a quantity."""
    points = []
    for value in values:
        sizes = STANDARD | {name: value}
        data = _data(sizes["images"], sizes["classes"])
        changes = {"epochs": 1, "image_size": sizes["image_size"], "batch_size": sizes["batch_size"]}
        forecasts = [prepare(Request(recipe=RECIPE, changes=changes), data).forecast() for _ in range(rounds)]
        points.append(
            {
                "value": value,
                "epoch_seconds": median(each.seconds for each in forecasts),
                "images_per_second": median(each.images_per_second for each in forecasts),
                "tensor_bytes": forecasts[0].tensor_bytes,
            }
        )
        progress(f"{TITLES[name]}: {value:,}: {points[-1]['epoch_seconds']:.1f} s an epoch")
    keys = ("epoch_seconds", "tensor_bytes")
    return {
        "quantity": name,
        "points": points,
        "exponents": {key: exponent([(each["value"], each[key]) for each in points]) for key in keys},
    }


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The exponent of the power law through (quantity, cost) pairs, by least squares of their logarithms."""
    quantity, cost = np.log(np.array(points, float)).T
    return float(np.polyfit(quantity, cost, 1)[0])


def _data(images: int, classes: int) -> Splits:
    """Noise of Fashion-MNIST's shape."""
    made = splits("generated")
    names = tuple(f"{index:04}" for index in range(classes))

    def part(of: ImageDataset, count: int) -> ImageDataset:
        return ImageDataset(of.images[:count], np.arange(count) % classes, names, of.name)

    return Splits(part(made.train, images), part(made.test, len(made.test)))


def process_rows(result: dict[str, Any]) -> list[list[str]]:
    """The cells of the table of processes: their number, threads, speed, and speed relative to the first number."""
    return [
        [
            str(each["processes"]),
            str(each["threads_per_process"]),
            f"{each['images_per_second']:,.1f}",
            f"{each['to_first']:.2f}",
        ]
        for each in result["processes"]
    ]


PROCESS_TITLES = ("processes", "threads each", "images/s", "× the first")
GROWTH_TITLES = ("quantity", "values", "seconds of an epoch", "exponent", "memory of tensors, MiB", "exponent")


def growth_rows(result: dict[str, Any]) -> list[list[str]]:
    """The cells of the table of growth: costs at the least and at the largest value, and exponents."""
    return [
        [
            TITLES[each["quantity"]],
            f"{first['value']:,} to {last['value']:,}",
            f"{first['epoch_seconds']:.1f} to {last['epoch_seconds']:.1f}",
            _power(each["exponents"]["epoch_seconds"]),
            f"{first['tensor_bytes'] / 2**20:,.0f} to {last['tensor_bytes'] / 2**20:,.0f}",
            _power(each["exponents"]["tensor_bytes"]),
        ]
        for each in result["growth"]
        for first, last in [(each["points"][0], each["points"][-1])]
    ]


def _power(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}"  # without a sign before 0


def facts(result: dict[str, Any]) -> list[str]:
    """The setting and the gate, with a sentence on each line."""
    has = result["settings"]
    lines = [
        f"processes: an epoch of the recipe {has['recipe']} on {has['data']}, {has['image_size']}×{has['image_size']}; "
        f"rounds: {has['rounds']} (numbers are medians), threads in all: {has['threads']}",
        f"growth: the recipe {has['recipe']} on generated images, forecast from real steps, with an evaluation of "
        "10,000 images after each epoch; where one quantity changes, the others stay: "
        + ", ".join(f"{TITLES[name]} {value:,}" for name, value in STANDARD.items()),
    ]
    within = [each for each in result["processes"][1:] if each["processes"] <= has["threads"]]
    lines += [
        f"{'pass' if each['to_first'] >= MIN_SHARE else 'FAIL'}  {each['processes']} processes of "
        f"{each['threads_per_process']} thread{'s' * (each['threads_per_process'] > 1)}: {each['to_first']:.2f} of the "
        f"speed of {result['processes'][0]['processes']} (≥ {MIN_SHARE})"
        for each in within
    ]
    return lines


def markdown(result: dict[str, Any]) -> str:
    """The whole result as a page."""
    return "\n".join(
        [
            "# How cost grows",
            "",
            *markdown_table(PROCESS_TITLES, process_rows(result)),
            "",
            "![seconds of an epoch and memory, by each quantity](scale.png)",
            "",
            *markdown_table(GROWTH_TITLES, growth_rows(result), left=(0, 1)),
            "",
            *(f"- {line}" for line in facts(result)),
            *provenance_list(result),
            "",
        ]
    )


def figure(result: dict[str, Any]) -> "Figure":
    """Seconds of an epoch and memory over each quantity, with the fitted power laws."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 7), layout="constrained")
    panels = drawn.subplots(2, 2)
    kinds = (("epoch_seconds", "seconds of an epoch", 1.0), ("tensor_bytes", "memory of tensors, MiB", 2.0**20))
    for axes, each in zip(panels.flat, result["growth"], strict=True):
        values = np.array([point["value"] for point in each["points"]], float)
        for index, (key, title, unit) in enumerate(kinds):
            costs = np.array([point[key] for point in each["points"]]) / unit
            power = each["exponents"][key]
            law = np.exp(np.log(costs).mean() + power * (np.log(values) - np.log(values).mean()))
            axes.plot(values, costs, "o", color=f"C{index}", label=f"{title}: exponent {_power(power)}")
            axes.plot(values, law, color=f"C{index}", linewidth=1)
        axes.set(xscale="log", yscale="log", xlabel=TITLES[each["quantity"]])
        axes.set_xticks(values, [f"{int(value):,}" for value in values], minor=False)
        axes.set_xticks([], minor=True)
        axes.grid(alpha=0.4)
        axes.legend(fontsize=8)
    return drawn
