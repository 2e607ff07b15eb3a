"""`mlpconv bench forecast`: the forecast of time and memory, and the measured values.

Memory: the peak of tensors in a training step and in prediction. Time: short real runs on a part of Fashion-MNIST, each
forecast in the process that runs it.
"""

from collections.abc import Callable, Sequence
from typing import Any

from mlpconv.bench import images
from mlpconv.bench.contest import Job as Contest
from mlpconv.bench.contest import run_contender
from mlpconv.bench.forecast_case import Job
from mlpconv.models import model_entry
from mlpconv.reports.provenance import provenance

FORMAT = 1
MODULE = "mlpconv.bench.forecast_case"
RUN_IMAGES = {"nin": 1536, "alexnet": 1024, "lenet": 60_000, "nin_28": 7680}
"""Training images of a timed run: several seconds on two cores."""
OTHER_IMAGES, TEST_IMAGES = 1024, 512
BATCH_SIZES = (32, 128, 256)
PRECISIONS = ("float32", "bfloat16")
TIME_BOUND, MEMORY_BOUND = 0.25, 0.15


def measure(
    networks: Sequence[str] = tuple(RUN_IMAGES),
    batch_sizes: Sequence[int] = BATCH_SIZES,
    *,
    threads: int,
    most_images: int | None = None,
    device: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure every network at every batch size; ``most_images`` limits the training images of a timed run.

    Returns:
        The result, as docs/json/bench-forecast.schema.json describes it.

    Raises:
        NetworkError: A network is unknown.
        BenchmarkFailed: A process failed.
    """
    for name in networks:
        model_entry(name)
    sizes = tuple(sorted(batch_sizes))
    job = Contest(batch_size=1, image_size=1, steps=1, warmup=1, threads=threads)
    data = run_contender("mlpconv.bench.images", job, name="data")["data"]
    times, memory = [], []
    for name in networks:
        count = min(RUN_IMAGES.get(name, OTHER_IMAGES), most_images or images.COUNT)
        # Each in a separate process, like a user's run: the first report of a process takes longer than the next.
        found = [
            case
            for size in sizes
            for case in _run(
                Job(
                    what="time",
                    network=name,
                    batch_sizes=(size,),
                    threads=threads,
                    images=count,
                    test_images=min(TEST_IMAGES, count),
                    data=data,
                    device=device,
                )
            )
        ]
        times += found
        for case in found:
            progress(f"{name}, batch {case['batch_size']}: {_seconds(case)}")
    for name in networks:
        for precision in PRECISIONS:
            cases = _run(
                Job(what="memory", network=name, batch_sizes=sizes, threads=threads, precision=precision, device=device)
            )
            memory += cases
            said = f"memory, off by at most {_worst(cases):.1%}" if cases else "not measured: the processor has none"
            progress(f"{name}, {precision}: {said}")
    settings = {"networks": list(networks), "batch_sizes": list(sizes), "threads": threads, "data": data}
    return summarize(times, memory, settings)


def _run(job: Job) -> list[dict[str, Any]]:
    return run_contender(MODULE, job, name=f"{job.network}, {job.what}")["cases"]


def _seconds(case: dict[str, Any]) -> str:
    seconds = case["seconds"]
    return f"{seconds['predicted']:.1f} s predicted, {seconds['measured']:.1f} s measured"


def error(pair: dict[str, float]) -> float:
    """The relative error of a prediction; below 0 if it is too low."""
    return pair["predicted"] / pair["measured"] - 1


def _worst(cases: list[dict[str, Any]]) -> float:
    return max(abs(error(case[kind])) for case in cases for kind in ("training", "prediction"))


def summarize(times: list[dict[str, Any]], memory: list[dict[str, Any]], settings: dict[str, Any]) -> dict[str, Any]:
    """The result: all cases, and the largest errors with their bounds."""
    worst = (
        ("time of a run: largest error", max(abs(error(case["seconds"])) for case in times), TIME_BOUND),
        ("tensor bytes, training: largest error", max(abs(error(case["training"])) for case in memory), MEMORY_BOUND),
        ("tensor bytes, prediction: largest error", max(abs(error(c["prediction"])) for c in memory), MEMORY_BOUND),
    )
    gates = [
        {"name": name, "value": value, "bound": bound, "below": True, "passed": value < bound}
        for name, value, bound in worst
    ]
    about = {"format": FORMAT, "benchmark": "forecast", "time": times, "memory": memory, "gates": gates}
    return about | {"settings": settings} | provenance()
