"""``mlpconv bench checkpoint``: the cost of checkpoints."""

from pathlib import Path
from typing import Annotated

from typer import Option

from mlpconv.cli.bench.common import BatchSize, ImageSize, Out, Result, run_benchmark
from mlpconv.cli.options import Device
from mlpconv.cli.output import Json, paragraph
from mlpconv.errors import MlpconvError


def checkpoint(
    rounds: Annotated[int, Option(min=1, help="Number of checkpoints to save and load.")] = 10,
    batch_size: BatchSize = 128,
    image_size: ImageSize = 80,
    device: Device = None,
    folder: Annotated[
        Path | None, Option(help="Directory on the disk to measure; by default that of temporary files.")
    ] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """Cost of checkpoints: seconds, bytes, and their share of the training time at the default interval.

    Example: mlpconv bench checkpoint --folder .
    """
    from mlpconv.bench import checkpoint as benchmark

    if folder is not None and not folder.is_dir():
        raise MlpconvError(f"--folder {folder}: there is no such directory")

    def show(result: Result) -> None:
        for line in benchmark.lines(result):
            paragraph(line)

    run_benchmark(
        "checkpoint",
        lambda progress: benchmark.measure(
            rounds, folder=folder, batch_size=batch_size, image_size=image_size, device=device, progress=progress
        ),
        show,
        benchmark.markdown,
        out=out,
        json=json,
    )
