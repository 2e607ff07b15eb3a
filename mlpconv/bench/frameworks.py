"""`mlpconv bench frameworks`: mlpconv on each framework next to the chapter in that framework's own style, in float32.

Ratios are taken within each round; the results are medians over the rounds.
"""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import msgspec

from mlpconv.bench.contest import Job, run_contender
from mlpconv.errors import BenchmarkFailed, MlpconvError, unknown
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance, provenance_line

FORMAT = 1
OWN = {
    "torch": ("d2l", "PyTorch, the chapter's loader and loop"),
    "tensorflow": ("keras_fit", "Keras fit, tf.data"),
    "jax": ("flax_nnx", "Flax NNX, optax, a compiled step"),
    "mxnet": ("gluon_loop", "the Gluon loop, the chapter's loader"),
}
"""The module of each framework's own style, and its description."""
MIN_RATIO = 0.95
"""The gate: the speed of mlpconv relative to the framework's own style."""
TITLES = ("framework", "mlpconv, images/s", "its own way, images/s", "ratio", "its own way is")


def interpreters(given: list[str]) -> dict[str, str]:
    """``NAME=PATH`` pairs as a mapping.

    Raises:
        MlpconvError: A pair has another form, or its framework is unknown.
    """
    found = {}
    for each in given:
        name, equals, path = each.partition("=")
        if not equals or not path:
            raise MlpconvError(f"--python {each}: expected NAME=PATH, such as mxnet=.venv-mxnet/bin/python")
        if name not in OWN:
            raise MlpconvError(f"--python {each}: {unknown('framework', name, OWN)}")
        found[name] = path
    return found


def measure(
    job: Job,
    rounds: int,
    *,
    pythons: Mapping[str, str],
    only: list[str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Run the two contenders of every framework in turn.

    Args:
        job: What to measure.
        rounds: The number of rounds.
        pythons: The interpreters of frameworks that have a separate environment.
        only: The frameworks; by default all. One that is not named here and does not run is skipped, and the result
            states the reason.
        progress: Called with a line after each pair.

    Returns:
        The result, as docs/json/bench-frameworks.schema.json describes it.

    Raises:
        BenchmarkFailed: A framework that is named does not run.
    """
    for name in only or ():
        if name not in OWN:
            raise MlpconvError(f"--framework {name}: {unknown('framework', name, OWN)}")
    data = run_contender("mlpconv.bench.images", job, name="data")["data"]
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in only or OWN}
    missing: dict[str, str] = {}
    for number in range(1, rounds + 1):
        for name in done:
            if name in missing:
                continue
            this_job = msgspec.structs.replace(job, data=data, backend=name)
            where = f"{name}, round {number} of {rounds}"
            try:
                pair = {
                    kind: run_contender(
                        f"mlpconv.bench.{module}", this_job, name=f"{kind}, {where}", python=pythons.get(name)
                    )
                    for kind, module in (("ours", "ours_float32"), ("own", OWN[name][0]))
                }
            except BenchmarkFailed as error:
                if only or name in pythons or number > 1:
                    raise
                missing[name] = str(error).splitlines()[-1].strip()
                progress(f"{where}: left out: {missing[name]}")
                continue
            done[name].append(pair)
            ours, own = (pair[kind]["images_per_second"] for kind in ("ours", "own"))
            progress(f"{where}: ours {ours:.1f} images/s, its own way {own:.1f}")
    return summarize(done, job, data, rounds, missing)


def summarize(
    done: Mapping[str, list[dict[str, Any]]], job: Job, data: str, rounds: int, missing: Mapping[str, str]
) -> dict[str, Any]:
    """The result of all rounds."""
    versions: dict[str, str] = {}
    frameworks = {}
    for name, pairs in done.items():
        if not pairs:
            continue
        speeds = {kind: [pair[kind]["images_per_second"] for pair in pairs] for kind in ("ours", "own")}
        ratio = median(ours / own for ours, own in zip(speeds["ours"], speeds["own"], strict=True))
        for pair in pairs:
            versions |= pair["own"].get("versions", {}) | pair["ours"].get("versions", {})
        frameworks[name] = {
            **{kind: median(values) for kind, values in speeds.items()},
            "ratio": ratio,
            "passed": ratio >= MIN_RATIO,
            "own_way": OWN[name][1],
            "device": pairs[0]["ours"]["device"],
            "rounds": speeds,
            "peak_memory_bytes": {
                kind: max((pair[kind]["peak_bytes"] or 0 for pair in pairs), default=0) or None
                for kind in ("ours", "own")
            },
        }
    return {
        "format": FORMAT,
        "benchmark": "frameworks",
        "frameworks": frameworks,
        "least": MIN_RATIO,
        "missing": dict(missing),
        "settings": {
            "batch_size": job.batch_size,
            "image_size": job.image_size,
            "steps": job.steps,
            "warmup": job.warmup,
            "rounds": rounds,
            "threads": job.threads,
            "images": data,
        },
        **provenance(versions, packages=("mlpconv", "python", "numpy")),
    }


def rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    """The cells of each framework, in the order of ``TITLES``."""
    return [
        (name, f"{each['ours']:.1f}", f"{each['own']:.1f}", f"{each['ratio']:.2f}", each["own_way"])
        for name, each in result["frameworks"].items()
    ]


def setting(result: dict[str, Any]) -> str:
    """The setting, in a sentence."""
    settings = result["settings"]
    return (
        f"Training the chapter's network at {settings['image_size']}×{settings['image_size']}, "
        f"batch {settings['batch_size']}, float32, on {result['hardware']['cpus']} cores of "
        f"{result['hardware']['processor']}: images a second, "
        f"medians of {settings['rounds']} rounds of {settings['steps']} steps"
    )


def notes(result: dict[str, Any]) -> list[str]:
    """A line for each gate, and for each framework that was skipped."""
    found = [
        f"{'pass' if each['passed'] else 'FAIL'}  {name}: {each['ratio']:.2f} (≥ {result['least']:g})"
        for name, each in result["frameworks"].items()
    ]
    return found + [f"none  {name}: {reason}" for name, reason in result["missing"].items()]


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    lines = [
        "# `mlpconv bench frameworks`",
        "",
        setting(result) + ".",
        "",
        *markdown_table(TITLES, rows(result), left=(0, 4)),
        "",
        *(f"- {note}" for note in notes(result)),
        "",
        provenance_line(result),
        "",
    ]
    return "\n".join(lines)
