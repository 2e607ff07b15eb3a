"""``mlpconv bench folder``: reading, caching and training from a folder of images."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from mlpconv.cli.bench.common import Out, print_facts, run_benchmark
from mlpconv.cli.output import Json

GENERATED_IMAGES = 20_000
"""How many images are generated if no directory is given."""


def folder(
    directory: Annotated[
        Path | None, Argument(metavar="DIR", help="A folder of images; by default one is generated.")
    ] = None,
    generate: Annotated[
        int | None,
        Option(
            min=1000,
            show_default=False,
            help="Number of small images to generate, in DIR if it is given, where they stay.  "
            f"[default: {GENERATED_IMAGES} without DIR]",
        ),
    ] = None,
    steps: Annotated[int, Option(min=1, help="Number of timed training steps.")] = 50,
    rounds: Annotated[int, Option(min=1, help="Number of times that training on some and on all images is timed.")] = 3,
    memory_gb: Annotated[float, Option(min=0.5, help="Memory limit of the training process in GB.")] = 2.0,
    out: Out = None,
    json: Json = False,
) -> None:
    """Folder of images: decoding into the cache, batches from the cache, and training with limited memory.

    Example: mlpconv bench folder photos
    """
    from mlpconv.bench import folder as benchmark
    from mlpconv.bench import folder_report as report

    if directory is None and generate is None:
        generate = GENERATED_IMAGES
    run_benchmark(
        "folder-generated" if generate else "folder",
        lambda progress: benchmark.measure(
            directory, generate=generate, steps=steps, rounds=rounds, memory_gb=memory_gb, progress=progress
        ),
        lambda result: print_facts(report.lines(result), report.gates(result)),
        report.markdown,
        out=out,
        json=json,
    )
