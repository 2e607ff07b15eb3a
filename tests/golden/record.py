"""Record the values that the tests of this folder compare with: `python tests/golden/record.py networks`.

Run it only for an intended change of behavior; the changed fixtures belong to the same commit.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import golden_cases as cases
import golden_outputs as printed
import golden_recorded as recorded


def networks() -> None:
    """Digests and costs of every registered network."""
    import mlpconv

    recorded.write(recorded.NETWORKS, {name: recorded.network(name) for name in mlpconv.list_models()})


def runs() -> None:
    """Three run directories: a finished one, one that was stopped in the middle of an epoch, one in bfloat16."""
    shutil.rmtree(recorded.RUNS, ignore_errors=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copy(recorded.HERE / "tiny.json", place)
        usual = (
            "train", "--recipe", "own", "--model", "tiny.json", "--data", "digits", "--batch-size", "32",
            "--lr", "0.02", "--set", "augmentation.shift=1", "--device", "cpu", "--json",
        )  # fmt: skip
        full, half = ("--precision", "float32"), ("--precision", "bfloat16")
        _train(place, *usual, "--epochs", "2", "--seed", "1", *full, "--out", "finished")
        _train(place, *usual, "--epochs", "2", "--seed", "2", *half, "--weights", "finished", "--out", "bfloat16")
        stopped = (*usual, "--epochs", "3", "--seed", "3", *full, "--checkpoint-every", "20steps", "--out", "stopped")
        _train(place, *stopped, until=place / "stopped/checkpoint/epoch-0001-step-000020.safetensors")
        if (place / "stopped" / "result.json").exists():
            sys.exit("the run ended before it was stopped; record again")
        for run in ("finished", "bfloat16", "stopped"):
            # Files that a command creates from the others are left out.
            for made in ("report.html", "curves.png"):
                (place / run / made).unlink(missing_ok=True)
            if run != "stopped":
                (place / run / "checkpoint/epoch-0001-step-000000.safetensors").unlink()
            environment = recorded.read(place / run / "environment.json")
            environment["platform"] = "Linux"
            environment["command"][0] = "mlpconv"
            recorded.write(place / run / "environment.json", environment)
            shutil.copytree(place / run, recorded.RUNS / run)
        shutil.copy(place / "tiny.json", recorded.RUNS)


def _train(place: Path, *words: str, until: Path | None = None) -> None:
    """Run a command and interrupt it as soon as the file ``until`` exists."""
    command = [sys.executable, "-m", "mlpconv", *words]
    started = subprocess.Popen(command, cwd=place, env=os.environ | recorded.ONE_THREAD)
    while until and not until.exists() and started.poll() is None:
        time.sleep(0.001)
    if until:
        started.send_signal(signal.SIGINT)
    assert started.wait() == (130 if until else 0), words


def readings() -> None:
    """The results of the recorded runs for their test images, and for three generated ones."""
    with tempfile.TemporaryDirectory() as name:
        printed.prepare(Path(name) / "here")
        found = {run: printed.reading(run, Path(name) / "here") for run in printed.READ}
    recorded.write(recorded.READINGS, found)


def outputs(only: str = "") -> None:
    """The keys of the output of each command with --json, or of one (outputs:train)."""
    found = recorded.read(recorded.OUTPUTS) if only else {}
    with tempfile.TemporaryDirectory() as name:
        for case in [only] if only else printed.CASES:
            printed.prepare(Path(name) / case)
            found[case] = printed.shape_of(case, Path(name) / case)
    recorded.write(recorded.OUTPUTS, {case: found[case] for case in printed.CASES if case in found})


def training(only: str = "") -> None:
    """The weights of all cases (or one: training:study) in PyTorch, without limits and as on a processor with AVX2."""
    for case in [only] if only else cases.CASES:
        _training(case, "torch")


def framework() -> None:
    """The weights of `study` in the framework of this environment, in both ways."""
    _training("study", recorded.frameworks()[0])


def _training(case: str, backend: str) -> None:
    limits = recorded.LIMITS_IN_BFLOAT16 if "bfloat16" in case else recorded.LIMITS[backend]
    found = {}
    for environment in ({**os.environ}, {**os.environ, **limits}):
        found[recorded.arithmetic(backend, environment)] = _outcomes(case, backend, environment)
    native, limited = found.values()
    known = recorded.read(recorded.TRAINING) if recorded.TRAINING.exists() else {}
    for run in cases.RUNS[case]:
        exact = {key: {name: each[run][name] for name in ("sha256", "history")} for key, each in found.items()}
        measured = {name: float(f"{far:.2g}") for name, far in recorded.distance(native[run], limited[run]).items()}
        known[f"{backend}/{case}/{run}"] = {
            "exact": exact, "measured": measured, "history": native[run]["history"][:1],
            "sample": native[run]["sample"],
        }  # fmt: skip
        print(backend, case, run, measured)
    recorded.write(recorded.TRAINING, dict(sorted(known.items())))


def _outcomes(case: str, backend: str, environment: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        ran = recorded.carry_out(case, Path(name), backend, environment)
        assert ran.returncode == 0, ran.stderr
        return {run: recorded.outcome(Path(name) / run) for run in cases.RUNS[case]}


PARTS = {each.__name__: each for each in (networks, runs, readings, outputs, training, framework)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="+", help=", ".join(PARTS))
    for argument in parser.parse_args().part:
        part, *only = argument.split(":")
        PARTS[part](*only)


if __name__ == "__main__":
    main()
