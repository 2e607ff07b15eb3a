"""``mlpconv bench serve``: the speed of the server."""

from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import Out, Rounds, print_table, run_benchmark
from mlpconv.cli.output import Json


def serve(
    model: Annotated[list[str] | None, Option(help="Network to serve; can be repeated.", show_default="three")] = None,
    batch_size: Annotated[
        list[int] | None, Option(min=1, max=1024, help="Images per request; can be repeated.", show_default="1 and 64")
    ] = None,
    clients: Annotated[
        list[int] | None,
        Option(min=1, max=256, help="Clients at the same time; can be repeated.", show_default="1, 4 and 16"),
    ] = None,
    rounds: Rounds = 3,
    seconds: Annotated[float, Option(min=0, help="Seconds that each is measured per round, at least.")] = 2.0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Server speed: mlpconv serve, and ONNX Runtime in the same batches without a server.

    The clients send binary data, from this machine. Run nothing else meanwhile.

    Example: mlpconv bench serve --model nin --clients 16
    """
    from mlpconv.bench import serve as benchmark

    default = benchmark.Settings()
    settings = benchmark.Settings(
        networks=model or default.networks,
        batch_sizes=batch_size or default.batch_sizes,
        clients=clients or default.clients,
        rounds=rounds,
        seconds=seconds,
    )

    run_benchmark(
        "serve",
        lambda progress: benchmark.measure(settings, progress),
        lambda result: print_table(benchmark.titles(result), benchmark.rows(result), benchmark.facts(result)),
        benchmark.markdown,
        out=out,
        json=json,
    )
