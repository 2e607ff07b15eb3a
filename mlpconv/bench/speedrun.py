"""`mlpconv bench speedrun`: how long a small network takes to learn Fashion-MNIST, as a table that anyone can enter.

An entry is any program. It is started once for each seed as ``COMMAND --seed N``, and the last line that it prints is
a JSON object with ``test_accuracy``, ``seconds`` and ``parameters``, as `mlpconv train --json` prints it. The rules are
``RULES``.
"""

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from mlpconv import hardware
from mlpconv.bench.programs import output_of
from mlpconv.errors import BenchmarkFailed
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance

Progress = Callable[[str], None]
RECIPES = ("fast", "fast-92", "fast-935")
"""The recipes of mlpconv that are made for the table."""
TARGETS = (0.90, 0.92, 0.935, 0.945)
"""The test accuracies with a table, which an entry enters by the median of its seeds."""
MOST_PARAMETERS = 2_000_000
FEWEST_SEEDS = 5
RULES = (
    "The data are the 60,000 training and 10,000 test images of Fashion-MNIST as published in August 2017 or later. "
    "The training starts from random weights and uses no other images.",
    f"The network has at most {MOST_PARAMETERS:,} trained or fixed parameters.",
    "Training runs on a processor, not on a GPU. The processor and the number of its cores are stated.",
    "The accuracy is that of the weights at the end, on all test images, each seen once as it is: no choice among "
    "epochs, no averaging over flipped or shifted copies.",
    f"At least {FEWEST_SEEDS} seeds from 0 on, without exception. The median of their accuracies has to reach the "
    "target, and the median of their times counts.",
    "The time starts before the images are read and ends when the last test image has been classified. It includes "
    "compilation, but not the import of packages.",
    "Network and settings were not chosen by the test images, but by a part of the training images.",
    "The program is public, and others can run it.",
)


class Attempt(msgspec.Struct, frozen=True):
    """What a program prints as its last line; other keys are ignored."""

    test_accuracy: float
    seconds: float
    parameters: int


class _Machine(msgspec.Struct):
    processor: str | None
    cpus: int
    bfloat16: bool
    instructions_up_to: str | None
    platform: str


class _Entry(msgspec.Struct):
    """What the page takes from an entry."""

    name: str
    program: str
    parameters: int
    test_accuracy: float
    lowest_test_accuracy: float
    seconds: float
    seeds: list[dict[str, Any]]
    hardware: _Machine
    versions: dict[str, str]
    date: str


class _Result(msgspec.Struct):
    entries: list[_Entry]


def command_of(recipe: str) -> list[str]:
    """The command that trains a recipe of mlpconv as an entry."""
    return [sys.executable, "-m", "mlpconv", "train", "--recipe", recipe, "--json"]


def measure(name: str, command: Sequence[str], seeds: int, progress: Progress) -> dict[str, Any]:
    """Run a program with the seeds 0 to ``seeds`` − 1, one after another, as one entry of the table.

    Args:
        name: The name of the entry.
        command: The program and its arguments, to which ``--seed N`` is appended.
        seeds: The number of seeds.
        progress: Called with a line for each seed.

    Raises:
        BenchmarkFailed: The program failed, printed no result, or broke a rule; the message names the seed.
    """
    rows = []
    for seed in range(seeds):
        attempt, whole = _attempt([*command, "--seed", str(seed)])
        row = msgspec.to_builtins(attempt)
        rows.append({"seed": seed, **row, "process_seconds": whole})
        progress(f"{name}, seed {seed}: test accuracy {attempt.test_accuracy:.4f} in {attempt.seconds:.1f} s")
    where = provenance()
    return {
        "name": name,
        "program": shlex.join(["python" if part == sys.executable else part for part in command]),
        "parameters": max(row["parameters"] for row in rows),
        "test_accuracy": median(row["test_accuracy"] for row in rows),
        "lowest_test_accuracy": min(row["test_accuracy"] for row in rows),
        "seconds": median(row["seconds"] for row in rows),
        "seeds": rows,
        **where,
        "hardware": where["hardware"] | {"instructions_up_to": hardware.instruction_limit()},
    }


def _attempt(command: list[str]) -> tuple[Attempt, float]:
    """The result of one seed, and the seconds of the whole process."""
    shown = shlex.join(command)
    started = time.perf_counter()
    output = output_of(command, shown)
    whole = time.perf_counter() - started
    last = (output.splitlines() or [""])[-1]
    try:
        attempt = msgspec.json.decode(last, type=Attempt)
    except msgspec.DecodeError as error:
        raise BenchmarkFailed(
            f"{shown}: the last line that it printed is {last[:200]!r}, but it has to be a JSON object with the "
            f"numbers test_accuracy, seconds and parameters ({error})"
        ) from None
    if attempt.parameters > MOST_PARAMETERS:
        raise BenchmarkFailed(
            f"{shown}: {attempt.parameters:,} parameters, but at most {MOST_PARAMETERS:,} are allowed"
        )
    if not 0 <= attempt.test_accuracy <= 1 or not 0 < attempt.seconds <= whole:
        raise BenchmarkFailed(
            f"{shown}: test_accuracy is a share from 0 to 1 and seconds are a part of the {whole:.1f} s of the "
            f"process, not {attempt.test_accuracy} and {attempt.seconds}"
        )
    return attempt, whole


def read_entries(path: Path) -> list[dict[str, Any]]:
    """The entries of an earlier result; none if there is no file.

    Raises:
        BenchmarkFailed: The file is not such a result.
    """
    try:
        text = path.read_bytes()
        msgspec.json.decode(text, type=_Result)
        return msgspec.json.decode(text)["entries"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise BenchmarkFailed(
            f"{path}: is not a result of mlpconv bench speedrun ({error}); restore or remove it"
        ) from None


def merged(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """All entries as one result; a new entry replaces the old one of the same name and hardware."""
    entries = {_key(entry): entry for entry in (*old, *new)}
    return {"format": 1, "entries": sorted(entries.values(), key=lambda entry: entry["seconds"])}


def _key(entry: dict[str, Any]) -> tuple[Any, ...]:
    machine = entry["hardware"]
    return entry["name"], *(machine[key] for key in ("processor", "cpus", "bfloat16", "instructions_up_to"))


TITLES = ("entry", "seconds", "test accuracy", "lowest", "seeds", "parameters", "processor", "date")


def target_of(entry: dict[str, Any]) -> float | None:
    """The highest target that an entry reaches; None if it reaches none."""
    return max((target for target in TARGETS if entry["test_accuracy"] >= target), default=None)


def tables(result: dict[str, Any]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """The titles of the tables, and for each the cells of its entries in the order of ``TITLES``."""
    found = []
    for target in (*TARGETS, None):
        for bfloat16 in (True, False):
            chosen = [e for e in result["entries"] if target_of(e) == target and e["hardware"]["bfloat16"] is bfloat16]
            kind = "with bfloat16" if bfloat16 else "without bfloat16"
            aim = f"Below {TARGETS[0]:g}" if target is None else f"{target:g}"
            if chosen:
                found.append((f"{aim}, processors {kind}", [_row(entry) for entry in chosen]))
    return found


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    return (
        entry["name"],
        f"{entry['seconds']:.1f}",
        f"{entry['test_accuracy']:.4f}",
        f"{entry['lowest_test_accuracy']:.4f}",
        str(len(entry["seeds"])),
        f"{entry['parameters']:,}",
        _processor(entry["hardware"]),
        entry["date"][:10],
    )


def _processor(machine: dict[str, Any]) -> str:
    limit = machine["instructions_up_to"]
    return f"{machine['processor']}, {machine['cpus']} CPUs" + (f", limited to {limit}" if limit else "")


def _program(entry: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in entry["versions"].items())
    return f"- {entry['name']}: `{entry['program']}`; {versions}; {entry['hardware']['platform']}"


def markdown(result: dict[str, Any]) -> str:
    """The result as a page: rules, tables, programs, and how to enter."""
    lines = [
        "# Speedrun: Fashion-MNIST on an ordinary processor",
        "",
        "How many seconds does a small network take to learn Fashion-MNIST without a GPU? The tables are open to every "
        "program in every language.",
        "",
        "## Rules",
        "",
        *(f"{number}. {rule}" for number, rule in enumerate(RULES, 1)),
    ]
    for title, rows in tables(result):
        lines += ["", f"## {title}", "", *markdown_table(TITLES, rows, left=(0, 6))]
    lines += ["", "Accuracy and seconds are medians over the seeds.", "", "## Programs", ""]
    lines += dict.fromkeys(_program(entry) for entry in result["entries"])
    example = 'mlpconv bench speedrun --name my-network --command "python my_network.py" --out benchmarks'
    lines += [
        "",
        "## How to enter",
        "",
        "1. Write a program that takes `--seed N` and prints, as its last line, a JSON object such as "
        "`" + json.dumps({"test_accuracy": 0.9012, "seconds": 14.2, "parameters": 460618}) + "`. "
        "[plain_pytorch.py](speedrun/plain_pytorch.py) is an example that can be copied.",
        f"2. Run `{example}`, with nothing else running. It checks what can be checked, adds the entry to "
        "speedrun.json, and writes this page again.",
        "3. Open a pull request with both files and with the program, or a link to it.",
        "",
        "Entries are run again on the machine of the other entries before they are listed next to them.",
        "",
    ]
    return "\n".join(lines)
