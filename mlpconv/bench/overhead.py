"""`mlpconv bench overhead`: the cost of progress, plan, notebook and report besides the training itself."""

from statistics import median
from typing import Any

from mlpconv.bench.contest import Job as Contest
from mlpconv.bench.contest import run_contender
from mlpconv.bench.overhead_case import Job
from mlpconv.reports.provenance import provenance

FORMAT = 1
MAX_SHARE = 0.01
"""The gate: each share of the training time."""


def measure(job: Job) -> dict[str, Any]:
    """The result, as docs/json/bench-overhead.schema.json describes it.

    Raises:
        BenchmarkFailed: The process that measures failed.
    """
    contest = Contest(batch_size=1, image_size=1, steps=1, warmup=1, threads=job.threads)
    data = run_contender("mlpconv.bench.images", contest, name="data")["data"]
    job = Job(**{name: getattr(job, name) for name in job.__struct_fields__} | {"data": data})
    return summarize(run_contender("mlpconv.bench.overhead_case", job, name="overhead"), job)


def summarize(found: dict[str, Any], job: Job) -> dict[str, Any]:
    """The medians over rounds of shares within each round."""
    pairs = list(zip(found["bare"], found["whole"], strict=True))
    overhead = median(whole / bare - 1 for bare, whole in pairs)
    outside = median(part / whole for part, whole in zip(found["outside"], found["whole"], strict=True))
    seconds = median(found["report"])
    report = seconds / found["recipe_seconds"]
    gates = [
        {"name": name, "value": value, "bound": MAX_SHARE, "below": True, "passed": value < MAX_SHARE}
        for name, value in (
            ("a run compared with its bare steps", overhead),
            ("plan and progress within a run", outside),
            ("plan and the notebook's curves within a run", median(found["notebook"])),
            ("report / the recipe study", report),
        )
    ]
    return {
        "format": FORMAT,
        "benchmark": "overhead",
        "overhead_share": overhead,
        "outside_share": outside,
        "notebook_share": median(found["notebook"]),
        "report_seconds": seconds,
        "report_share": report,
        "recipe_seconds": found["recipe_seconds"],
        "rounds": {name: found[name] for name in ("bare", "whole", "outside", "notebook", "report")},
        "gates": gates,
        "settings": {
            "batch_size": job.batch_size,
            "steps": job.steps,
            "rounds": job.rounds,
            "threads": job.threads,
            "precision": found["precision"],
            "data": job.data,
        },
        **provenance(),
    }
