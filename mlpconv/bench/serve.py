"""`mlpconv bench serve`: images a second of the server, next to ONNX Runtime in the same batches without a server.

The clients run on the same processors as the server. Every number is the median over rounds; ratios are taken within
each round first. The weights are those of a start, which take as long as trained ones.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mlpconv import hardware
from mlpconv.bench import predict_case, serve_clients
from mlpconv.bench.contest import run_contender
from mlpconv.bench.predict import NETWORKS, make_files
from mlpconv.errors import BenchmarkFailed, MissingDependency
from mlpconv.formatting import markdown_table
from mlpconv.reports.provenance import provenance, provenance_list
from mlpconv.runs.classifier_file import read_classifier

FORMAT = 1
PACKAGES = ("uvicorn", "starlette", "uvloop")
"""The packages of the server."""
GATE = 0.8
"""The least share of the engine's speed that the server is to reach with the number of clients that gets most."""


class Settings(NamedTuple):
    """What is measured."""

    networks: Sequence[str] = NETWORKS
    batch_sizes: Sequence[int] = (1, 64)
    """The images of a request, and of a call of the engine."""
    clients: Sequence[int] = (1, 4, 16)
    rounds: int = 3
    seconds: float = 2.0
    """How long each is measured in each round at least."""


def measure(settings: Settings, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Measure the engine and the server in turn, for each network and batch size.

    Args:
        settings: What to measure.
        progress: Called with a line after each round.

    Returns:
        The result, as docs/json/bench-serve.schema.json describes it.

    Raises:
        NetworkError: There is no network with such a name.
        MissingDependency: A package of the server is not installed.
        BenchmarkFailed: The server could not be started, or the engine or the clients failed.
    """
    if missing := [name for name in ("onnx", "onnxruntime", "uvicorn", "starlette") if find_spec(name) is None]:
        raise MissingDependency(
            f'bench serve: the package {missing[0]!r} is not installed; pip install "mlpconv[serve]"'
        )
    rows, ready = [], {}
    versions = {name: version(name) for name in PACKAGES if find_spec(name)}
    with tempfile.TemporaryDirectory(prefix="mlpconv-bench-") as folder:
        for network in settings.networks:
            files = make_files(network, Path(folder))
            with _server(files[1]) as (address, ready[network]):
                for batch_size in settings.batch_sizes:
                    rounds: list[dict[str, float]] = []
                    for number in range(1, settings.rounds + 1):
                        speeds, packages = _round(files, address, batch_size, settings)
                        rounds.append(speeds)
                        versions |= packages
                        shown = ", ".join(f"{name} {value:,.1f}" for name, value in speeds.items())
                        progress(
                            f"{network}, batch {batch_size}, round {number} of {settings.rounds}: {shown} images/s"
                        )
                    rows += [_row(network, batch_size, clients, rounds) for clients in settings.clients]
    return {
        "format": FORMAT,
        "benchmark": "serve",
        "rows": rows,
        "passed": all(row["to_engine"] >= GATE for row in _throughput(rows)),
        "ready_seconds": ready,
        "settings": settings._asdict(),
        **provenance(versions),
    }


@contextmanager
def _server(model: Path) -> Iterator[tuple[tuple[str, int], float]]:
    """A server in a new process: its address, and the seconds until it was ready."""
    command = [sys.executable, "-m", "mlpconv", "serve", str(model), "--port=0", "--json"]
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path}) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise BenchmarkFailed(f"bench serve: the server ended with exit code {process.wait()}")
            seconds = time.perf_counter() - started
            url = urlsplit(json.loads(line)["url"])
            assert url.hostname is not None
            assert url.port is not None
            yield (url.hostname, url.port), seconds
        finally:
            process.terminate()


def _round(
    files: tuple[Path, Path], address: tuple[str, int], batch_size: int, settings: Settings
) -> tuple[dict[str, float], dict[str, str]]:
    """Images a second of the engine and of the server with each number of clients, and the versions of packages."""
    engine = predict_case.Job(
        contender="onnxruntime",
        classifier=str(files[0]),
        onnx=str(files[1]),
        batch_size=batch_size,
        seconds=settings.seconds,
        threads=hardware.cpu_count(),
    )
    found = run_contender(predict_case.__name__, engine, name=f"onnxruntime, batch {batch_size}")
    speeds = {"engine": found["images_per_second"]}
    shape = predict_case.batch_shape(read_classifier(files[0]).preprocess, batch_size)
    for clients in settings.clients:
        job = serve_clients.Job(
            host=address[0],
            port=address[1],
            model=files[1].stem,
            shape=shape,
            clients=clients,
            seconds=settings.seconds,
        )
        name = f"{clients} clients, batch {batch_size}"
        speeds[str(clients)] = run_contender(serve_clients.__name__, job, name=name)["images_per_second"]
    return speeds, found["versions"]


def _row(network: str, batch_size: int, clients: int, rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {
        "network": network,
        "batch_size": batch_size,
        "clients": clients,
        "images_per_second": median(each[str(clients)] for each in rounds),
        "engine_images_per_second": median(each["engine"] for each in rounds),
        "to_engine": median(each[str(clients)] / each["engine"] for each in rounds),
    }


def _throughput(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each network and batch size, the row with the number of clients that gets most."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        key = row["network"], row["batch_size"]
        best[key] = max(best.get(key, row), row, key=lambda row: row["to_engine"])
    return list(best.values())


def titles(result: dict[str, Any]) -> list[str]:
    """The titles of the table's columns."""
    return ["network", "batch", "clients", "server", "ONNX Runtime", "× ONNX Runtime"]


def rows(result: dict[str, Any]) -> list[list[str]]:
    """The cells of the table: images a second."""
    return [
        [
            row["network"],
            str(row["batch_size"]),
            str(row["clients"]),
            f"{row['images_per_second']:,.1f}",
            f"{row['engine_images_per_second']:,.1f}",
            f"{row['to_engine']:.2f}",
        ]
        for row in result["rows"]
    ]


def facts(result: dict[str, Any]) -> list[str]:
    """The setting and the gate, with a sentence on each line."""
    has = result["settings"]
    slow = [
        f"{row['network']} at batch {row['batch_size']} ({row['to_engine']:.2f})"
        for row in _throughput(result["rows"])
        if row["to_engine"] < GATE
    ]
    ready = ", ".join(f"{name} after {seconds:.1f} s" for name, seconds in result["ready_seconds"].items())
    return [
        f"images a second, with binary data and the clients on the same processors; rounds: {has['rounds']} (numbers "
        f"are medians), each at least {has['seconds']:g} s",
        f"throughput, with the number of clients that gets most: {GATE:g} of ONNX Runtime's speed or more"
        + (f", except {', '.join(slow)}" if slow else "")
        + "; a client waits for its answer before it sends the next request",
        f"ready: {ready}",
    ]


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    return "\n".join(
        [
            "# Server speed",
            "",
            *markdown_table(titles(result), rows(result)),
            "",
            *(f"- {line}" for line in facts(result)),
            *provenance_list(result),
            "",
        ]
    )
