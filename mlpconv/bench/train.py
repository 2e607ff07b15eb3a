"""`mlpconv bench train`: images a second of training the chapter's network, for mlpconv and its peers, and gates.

Every number is the median over rounds. Ratios and shares are taken within each round first, so that a machine that
is slow for a minute does not change them.
"""

from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any, NamedTuple

import msgspec

from mlpconv.bench import images, peak
from mlpconv.bench.contest import Job, run_contender
from mlpconv.errors import RecipeError
from mlpconv.models import create_model
from mlpconv.reports.provenance import provenance

FORMAT = 1
SOURCE_SIZE = (28, 28)
OURS, PEERS = ("ours", "ours_float32"), ("d2l", "keras")
MODULES = {name: f"mlpconv.bench.{name}" for name in (*OURS, "d2l", "images", "peak")} | {
    "keras": "mlpconv.bench.keras_fit"
}

Rounds = list[dict[str, dict[str, Any]]]
"""For each round what each contender measured, by name."""


class Gate(NamedTuple):
    """A requirement: a value of the result that must be at least, or below, a bound."""

    name: str
    path: tuple[str, str]
    """The keys of the value in the result."""
    bound: float
    below: bool = False


GATES = (
    Gate("ours / d2l", ("ratios", "ours_to_d2l"), 5.0),
    Gate("ours in float32 / d2l", ("ratios", "ours_float32_to_d2l"), 3.0),
    Gate("ours / keras", ("ratios", "ours_to_keras"), 1.7),
    Gate("ours in float32 / keras", ("ratios", "ours_float32_to_keras"), 0.95),
    Gate("share of a step that waits for data", ("data", "wait_share"), 0.01, below=True),
)


def measure(
    job: Job, rounds: int, *, keras: bool = True, progress: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Run all contenders in turn.

    Args:
        job: What to measure.
        rounds: The number of rounds.
        keras: Whether the Keras contender takes part if it is installed.
        progress: Called with a line after each measurement.

    Returns:
        The result, as docs/json/bench-train.schema.json describes it.

    Raises:
        NetworkError: The network does not accept the image size.
        RecipeError: An epoch has too few images for the steps.
        BenchmarkFailed: A contender failed.
    """
    _check(job)
    missing = _missing(keras)
    names = [name for name in (*OURS, *PEERS, "peak") if name not in missing]
    done: Rounds = []
    for number in range(1, rounds + 1):
        where = f"round {number} of {rounds}"
        measured = {"images": run_contender(MODULES["images"], job, name=f"data, {where}")}
        job = msgspec.structs.replace(job, data=measured["images"]["data"])
        for name in names:
            measured[name] = run_contender(MODULES[name], job, name=f"{name}, {where}")
            progress(f"{where}: {_describe(name, measured[name])}")
        done.append(measured)
    return summarize(done, job, missing)


def _check(job: Job) -> None:
    peak.nominal_flops(create_model("nin"), job.image_size)
    most = images.COUNT // job.batch_size - job.warmup - 1
    if job.steps > most:
        raise RecipeError(
            f"--steps {job.steps}: an epoch of {images.COUNT:,} images in batches of {job.batch_size} has at most "
            f"{most} timed steps after {job.warmup} of warm-up; use fewer steps, or smaller batches"
        )


def _missing(keras: bool) -> dict[str, str]:
    if not keras:
        return {"keras": "left out: --no-keras"}
    if find_spec("tensorflow") is None or find_spec("keras") is None:
        return {"keras": 'not installed: pip install "mlpconv[tensorflow]"'}
    return {}


def _describe(name: str, measured: dict[str, Any]) -> str:
    if name != "peak":
        return f"{name} {measured['images_per_second']:.1f} images/s"
    parts = [f"{measured[kind]:.3f} TFLOP/s in {kind}" for kind in ("bfloat16", "float32") if measured[kind]]
    return f"peak {', '.join(parts)}"


def summarize(rounds: Rounds, job: Job, missing: dict[str, str]) -> dict[str, Any]:
    """The result of all rounds: medians, ratios, shares of the peak, gates, and where it was measured."""
    first, network = rounds[0], create_model("nin")
    kind = first["ours"]["precision"]
    flops = {
        "nominal": peak.nominal_flops(network, job.image_size),
        "executed": peak.executed_flops(network, SOURCE_SIZE, job.image_size, job.batch_size, kind),
    }
    speeds = {name: [each[name]["images_per_second"] for each in rounds] for name in (*OURS, *PEERS) if name in first}
    peaks = {name: [each["peak"][name] for each in rounds] for name in ("bfloat16", "float32")}

    def share(what: str) -> float:
        pairs = zip(speeds["ours"], peaks[kind], strict=True)
        return median(peak.share_of_peak(speed, flops[what], top) for speed, top in pairs)

    def middle(values: list[Any]) -> float | None:
        return None if None in values else median(values)

    versions: dict[str, str] = {}
    for measured in first.values():
        versions |= measured.get("versions", {})
    result = {
        "format": FORMAT,
        "benchmark": "train",
        **{name: median(speeds[name]) if name in speeds else None for name in (*OURS, *PEERS)},
        "ours_precision": kind,
        "share_of_peak": share("executed"),
        "share_of_peak_nominal": share("nominal"),
        "peak_bfloat16_tflops": middle(peaks["bfloat16"]),
        "peak_float32_tflops": middle(peaks["float32"]),
        "flops_per_image": flops,
        "ratios": {f"{ours}_to_{peer}": _ratio(speeds, ours, peer) for peer in PEERS for ours in OURS},
        "data": {
            "images": job.data,
            "load_seconds": middle([each["images"]["load_seconds"] for each in rounds]),
            "load_peak_bytes": middle([each["images"]["load_peak_bytes"] for each in rounds]),
            "wait_share": median(each["ours"]["wait_share"] for each in rounds),
        },
        "rounds": speeds | {f"peak_{name}_tflops": values for name, values in peaks.items()},
        "peak_memory_bytes": {name: middle([each[name]["peak_bytes"] for each in rounds]) for name in speeds},
        "missing": missing,
        "settings": {
            "batch_size": job.batch_size,
            "image_size": job.image_size,
            "steps": job.steps,
            "warmup": job.warmup,
            "rounds": len(rounds),
            "threads": job.threads,
            "device": first["ours"]["device"],
            "peak_size": job.peak_size,
        },
        **provenance(versions),
    }
    return result | {"gates": [_judge(gate, result) for gate in GATES]}


def _ratio(speeds: dict[str, list[float]], ours: str, peer: str) -> float | None:
    if peer not in speeds:
        return None
    return median(mine / its for mine, its in zip(speeds[ours], speeds[peer], strict=True))


def _judge(gate: Gate, result: dict[str, Any]) -> dict[str, Any]:
    value = result[gate.path[0]][gate.path[1]]
    passed = None if value is None else value < gate.bound if gate.below else value >= gate.bound
    return {"name": gate.name, "value": value, "bound": gate.bound, "below": gate.below, "passed": passed}
