"""`mlpconv bench predict`: images a second of classifying, for mlpconv and for programs that compute the same network.

Every number is the median over rounds; ratios are taken within each round first. The weights are those of a start,
which take as long as trained ones.
"""

import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.bench.contest import run_contender
from mlpconv.bench.predict_case import PACKAGES, Job
from mlpconv.errors import MissingDependency
from mlpconv.formatting import markdown_table
from mlpconv.models import create_model
from mlpconv.reports.provenance import provenance, provenance_list
from mlpconv.runs.classifier_file import read_classifier, write_classifier

FORMAT = 1
NETWORKS = ("nin", "nin_fast", "nin_photo")
OURS, PEERS = ("ours", "ours_onnx", "ours_openvino"), ("eager", "onnxruntime", "openvino")
NAMES = {
    "ours": "mlpconv, run",
    "ours_onnx": "mlpconv, ONNX Runtime",
    "ours_openvino": "mlpconv, OpenVINO",
    "eager": "PyTorch, eager",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
"""What the contenders are called in the table."""
SOURCE_SIZES = {"nin": (28, 28), "nin_fast": (28, 28)}
"""The size of the images where it is not that of the network's input."""
_MODULE = "mlpconv.bench.predict_case"

Speeds = dict[str, list[float]]
"""Images a second in each round, by contender."""


class Settings(NamedTuple):
    """What is measured."""

    networks: Sequence[str] = NETWORKS
    batch_sizes: Sequence[int] = (1, 64)
    rounds: int = 3
    seconds: float = 2.0
    """How long each contender computes in each round at least."""
    threads: int = 1


def measure(settings: Settings, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Run all contenders in turn, for each network and batch size.

    Args:
        settings: What to measure.
        progress: Called with a line after each round.

    Returns:
        The result, as docs/json/bench-predict.schema.json describes it.

    Raises:
        NetworkError: There is no network with such a name.
        MissingDependency: onnx or ONNX Runtime is not installed.
        BenchmarkFailed: A contender failed.
    """
    if find_spec("onnxruntime") is None:
        raise MissingDependency('bench predict: needs ONNX Runtime; pip install "mlpconv[export]"')
    openvino = [name for name, package in PACKAGES.items() if package == "openvino"]
    missing = {} if find_spec("openvino") else dict.fromkeys(openvino, 'not installed: pip install "mlpconv[openvino]"')
    contenders = [name for name in PACKAGES if name not in missing]
    rows, versions = [], {}
    with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as folder:
        for network in settings.networks:
            files = make_files(network, Path(folder))
            for batch_size in settings.batch_sizes:
                speeds: Speeds = {name: [] for name in contenders}
                for number in range(1, settings.rounds + 1):
                    for name in contenders:
                        job = Job(
                            contender=name,
                            classifier=str(files[0]),
                            onnx=str(files[1]),
                            batch_size=batch_size,
                            seconds=settings.seconds,
                            threads=settings.threads,
                        )
                        measured = run_contender(_MODULE, job, name=f"{name}, {network}, batch {batch_size}")
                        speeds[name].append(measured["images_per_second"])
                        versions |= measured["versions"]
                    shown = ", ".join(f"{name} {values[-1]:,.1f}" for name, values in speeds.items())
                    progress(f"{network}, batch {batch_size}, round {number} of {settings.rounds}: {shown} images/s")
                rows.append(_row(network, batch_size, speeds))
    return {
        "format": FORMAT,
        "benchmark": "predict",
        "rows": rows,
        "missing": missing,
        "settings": settings._asdict(),
        **provenance(versions),
    }


def make_files(name: str, folder: Path) -> tuple[Path, Path]:
    """A classifier file of a network with the weights of a start, and an ONNX file of it."""
    from mlpconv.export.onnx_file import onnx_model

    network = create_model(name)
    channels, side = network.input_shape[0], max(network.input_size)
    preprocess = Preprocess.of_channels(side, channels, source_size=SOURCE_SIZES.get(name, (side, side)))
    classes = tuple(f"class {index}" for index in range(10))
    path = folder / f"{name}.safetensors"
    write_classifier(path, initialize(network, INITIALIZERS["he"], 0), network, preprocess, classes)
    path.with_suffix(".onnx").write_bytes(onnx_model(read_classifier(path)).SerializeToString())
    return path, path.with_suffix(".onnx")


def _row(network: str, batch_size: int, speeds: Speeds) -> dict[str, Any]:
    peers = [name for name in PEERS if name in speeds]
    each_round = [dict(zip(speeds, values, strict=True)) for values in zip(*speeds.values(), strict=True)]
    ratios = {
        name: median(each[name] / max(each[peer] for peer in peers) for each in each_round)
        for name in OURS
        if name in speeds
    }
    return {
        "network": network,
        "batch_size": batch_size,
        "images_per_second": {name: median(values) for name, values in speeds.items()},
        "rounds": speeds,
        "to_fastest_peer": ratios,
        "passed": max(ratios.values()) >= 1,
    }


def titles(result: dict[str, Any]) -> list[str]:
    """The titles of the table's columns."""
    return ["network", "batch", *(NAMES[name] for name in _measured(result)), "× fastest other"]


def rows(result: dict[str, Any]) -> list[list[str]]:
    """The cells of the table: images a second, and those of the fastest way of mlpconv relative to the fastest peer."""
    return [
        [
            row["network"],
            str(row["batch_size"]),
            *(f"{row['images_per_second'][name]:,.1f}" for name in _measured(result)),
            f"{max(row['to_fastest_peer'].values()):.2f}",
        ]
        for row in result["rows"]
    ]


def _measured(result: dict[str, Any]) -> list[str]:
    return [name for name in NAMES if name in result["rows"][0]["images_per_second"]]


def facts(result: dict[str, Any]) -> list[str]:
    """The setting and the gate, with a sentence on each line."""
    has = result["settings"]
    slower = [f"{row['network']} at batch {row['batch_size']}" for row in result["rows"] if not row["passed"]]
    return [
        f"images a second, resized and classified; threads: {has['threads']}; rounds: {has['rounds']} (numbers are "
        f"medians), each at least {has['seconds']:g} s",
        "mlpconv's fastest way is at least as fast as the fastest of the others"
        + (f", except {', '.join(slower)}" if slower else ""),
        *(f"{NAMES[name]}: {reason}" for name, reason in result["missing"].items()),
    ]


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    return "\n".join(
        [
            "# Prediction speed",
            "",
            *markdown_table(titles(result), rows(result)),
            "",
            *(f"- {line}" for line in facts(result)),
            *provenance_list(result),
            "",
        ]
    )
