"""Measure mlpconv on a GPU, in parts that can be interrupted: the same command continues where it stopped.

    python benchmarks/gpu.py --out benchmarks/gpu                 # until everything is measured
    python benchmarks/gpu.py --out benchmarks/gpu --minutes 8     # for eight minutes at most; run it again to continue
    python benchmarks/gpu.py --out benchmarks/gpu train collapse  # only these parts
    python benchmarks/gpu.py --list                               # the parts and their commands

Each part is a command of mlpconv, which writes its result into the directory, as JSON and as Markdown. What is done is
recorded in DIR/parts.json. A part that is stopped for lack of time keeps its finished runs in DIR/runs.
"""

import argparse
import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

GRACE_SECONDS = 60
"""Time that a part has to save its work."""
LEAST_SECONDS = 60
"""With less time left, no further part is started."""
RECORD = "parts.json"


class Part(NamedTuple):
    """A part of the measurement.

    Attributes:
        answers: The question that it answers.
        command: The arguments of mlpconv; ``--out`` is added, and ``--runs`` if the part trains runs.
        runs: Whether it trains runs, which are kept.
    """

    answers: str
    command: str
    runs: bool = True


PARTS = {
    "train": Part(
        "the speed of training at 224×224 next to the chapter's own code, and the share of the device's peak",
        "bench train --steps 100 --warmup 20 --rounds 5 --no-keras --peak-size 8192",
        runs=False,
    ),
    "chapter": Part("ten epochs of the chapter at 224×224: seconds and accuracy", "bench recipe d2l --seeds 3"),
    "modern": Part("the recipe modern on CIFAR-10: seconds, accuracy", "bench recipe modern --seeds 3"),
    "speedrun": Part("seconds to each accuracy on Fashion-MNIST, ten seeds", "bench speedrun --seeds 10", runs=False),
    **{
        name: Part(f"the exercise {name} on all images, the chapter's network at 224×224", f"study {name} --budget gpu")
        for name in (
            "collapse", "head", "one-step", "one-by-one", "three-by-three", "classics", "epochs", "learning-rate",
            "batch-size", "family", "paper", "resources",
        )
    },
}  # fmt: skip


def arguments_of(part: Part, out: Path, device: str | None) -> list[str]:
    """The arguments of mlpconv that measure a part."""
    words = [*shlex.split(part.command), "--out", str(out)]
    if part.runs:
        words += ["--runs", str(out / "runs")]
    if device and part.command.startswith(("bench train", "study")):
        words += ["--device", device]
    return words


def measure(arguments: list[str], seconds: float | None) -> tuple[int | None, float]:
    """Run mlpconv; after ``seconds`` it is asked to save and stop, as by Ctrl-C.

    Returns:
        Its exit code, None if it was stopped; and the seconds that it ran.
    """
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "mlpconv", *arguments])
    try:
        return process.wait(seconds), time.monotonic() - start
    except (subprocess.TimeoutExpired, KeyboardInterrupt) as stopped:
        # Ctrl-C in a terminal has reached the program itself.
        if isinstance(stopped, subprocess.TimeoutExpired):
            process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if isinstance(stopped, KeyboardInterrupt):
            raise
        return None, time.monotonic() - start


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="the parts to measure; by default all, in their order")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu"), metavar="DIR", help="where results go")
    parser.add_argument("--minutes", type=float, help="stop after so many minutes")
    parser.add_argument("--device", help="the device of the parts that take one, such as cuda:1; by default the first")
    parser.add_argument("--list", action="store_true", help="list the parts, and which are done")
    options = parser.parse_args()
    if unknown := [name for name in options.parts if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; known: {', '.join(PARTS)}")
    record = options.out / RECORD
    done = json.loads(record.read_text()) if record.exists() else {}
    if options.list:
        for name, part in PARTS.items():
            state = f"done, {done[name]['seconds']:.0f} s" if name in done else "not measured"
            print(f"{name:15} {state:15} mlpconv {part.command}\n{'':15} {part.answers}")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        return measure_all(options, record, done)
    except KeyboardInterrupt:
        print("\nstopped; run the same command to continue", file=sys.stderr)
        return 130


def measure_all(options: argparse.Namespace, record: Path, done: dict[str, Any]) -> int:
    """Measure what is asked for and not done, until the time is up; the exit code.

    Args:
        options: The command line.
        record: The file that names the parts that are done.
        done: Its content, which grows.
    """
    end = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    started = failed = False
    for name in options.parts or PARTS:
        if name in done:
            continue
        left = None if end is None else end - time.monotonic()
        if left is not None and started and left < LEAST_SECONDS:
            break
        started = True
        arguments = arguments_of(PARTS[name], options.out, options.device)
        print(f"\n{name}: {PARTS[name].answers}\n  mlpconv {shlex.join(arguments)}", flush=True)
        code, seconds = measure(arguments, left)
        if code is None:
            print(f"\n{name}: stopped after {seconds:.0f} s; run the same command to continue")
            break
        if code:
            print(f"\n{name}: ended with exit code {code}", file=sys.stderr)
            failed = True
            continue
        done[name] = {"command": shlex.join(["mlpconv", *arguments]), "seconds": round(seconds, 1)}
        written = record.with_suffix(".new")
        written.write_text(json.dumps(done, indent=2) + "\n")
        written.replace(record)
    missing = [name for name in PARTS if name not in done]
    print(
        f"\n{len(PARTS) - len(missing)} of {len(PARTS)} parts are measured"
        + (f"; left: {', '.join(missing)}" if missing else "")
    )
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
