"""``mlpconv bench predict``: the speed of classifying images."""

from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import Out, Rounds, Threads, print_table, run_benchmark, thread_count
from mlpconv.cli.output import Json


def predict(
    model: Annotated[
        list[str] | None, Option(help="Network to measure; can be repeated.", show_default="three")
    ] = None,
    batch_size: Annotated[
        list[int] | None, Option(min=1, help="Images per call; can be repeated.", show_default="1 and 64")
    ] = None,
    rounds: Rounds = 3,
    seconds: Annotated[float, Option(min=0, help="Seconds that each contender computes per round, at least.")] = 2.0,
    threads: Threads = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Prediction speed: mlpconv with a run and with an ONNX file, PyTorch, ONNX Runtime and OpenVINO.

    The others compute the same network with their default settings: PyTorch eagerly, ONNX Runtime and OpenVINO (if it
    is installed) the ONNX file. Run nothing else meanwhile.

    Example: mlpconv bench predict --rounds 5
    """
    from mlpconv.bench import predict as benchmark

    settings = benchmark.Settings(
        networks=model or benchmark.NETWORKS,
        batch_sizes=batch_size or benchmark.Settings().batch_sizes,
        rounds=rounds,
        seconds=seconds,
        threads=thread_count(threads),
    )

    run_benchmark(
        "predict",
        lambda progress: benchmark.measure(settings, progress),
        lambda result: print_table(benchmark.titles(result), benchmark.rows(result), benchmark.facts(result)),
        benchmark.markdown,
        out=out,
        json=json,
    )
