"""``mlpconv bench forecast`` and ``mlpconv bench overhead``: what is said before a run, and what is shown in it."""

from typing import Annotated

from typer import Option

from mlpconv.cli.measured import Out, end, make, write
from mlpconv.cli.output import Column, Json, err, print_json, say, table


def forecast(
    network: Annotated[list[str] | None, Option(help="A network; may be given again.  [default: four]")] = None,
    batch_size: Annotated[list[int] | None, Option(min=1, help="May be given again.  [default: 32, 128, 256]")] = None,
    most_images: Annotated[int | None, Option(min=1, help="A bound on the training images of a timed run.")] = None,
    threads: Annotated[int | None, Option(min=1, help="All processors by default.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """What the forecast says of time and memory, and what it then is.

    Every network runs in processes of its own; let no other work run meanwhile. About six minutes on two cores. The
    gates are what mlpconv means to hold; they do not change the exit code.

    Example: mlpconv bench forecast --network nin --batch-size 128
    """
    from mlpconv import hardware
    from mlpconv.bench import forecast as benchmark
    from mlpconv.bench import forecast_report as told

    if out is not None:
        make(out)
    result = benchmark.measure(
        network or tuple(benchmark.RUN_IMAGES),
        batch_size or benchmark.BATCH_SIZES,
        most_images=most_images,
        threads=threads or hardware.cpu_count(),
        device=device,
        progress=lambda line: err().print(line, markup=False),
    )
    write(result, told.markdown(result), out)
    if json:
        print_json(result, indent=None)
        return
    tables = ((told.TIME_TITLES, told.time_rows(result)), (told.MEMORY_TITLES, told.memory_rows(result)))
    for titles, rows in tables:
        table([Column(title, right=index > 2) for index, title in enumerate(titles)], rows)
        say()
    end(result, told.NOTES, out)


def overhead(
    batch_size: Annotated[int, Option(min=1, help="Images a step.")] = 128,
    steps: Annotated[int, Option(min=1, help="Steps of each measurement.")] = 300,
    rounds: Annotated[int, Option(min=1, help="Times that each is measured.")] = 4,
    image_size: Annotated[int | None, Option(min=1, help="Side in pixels; the recipe's by default.")] = None,
    threads: Annotated[int | None, Option(min=1, help="All processors by default.")] = None,
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    out: Out = None,
    json: Json = False,
) -> None:
    """What progress, plan, notebook and report cost beside training itself, with the recipe quick.

    Let no other work run meanwhile. Under two minutes on two cores. The gates do not change the exit code.

    Example: mlpconv bench overhead --rounds 10
    """
    from mlpconv import hardware
    from mlpconv.bench import forecast_report as told
    from mlpconv.bench import overhead as benchmark
    from mlpconv.bench.overhead_case import Job

    if out is not None:
        make(out)
    job = Job(
        batch_size=batch_size,
        steps=steps,
        rounds=rounds,
        image_size=image_size,
        threads=threads or hardware.cpu_count(),
        device=device,
    )
    result = benchmark.measure(job)
    write(result, told.overhead_markdown(result), out)
    if json:
        print_json(result, indent=None)
        return
    end(result, told.overhead_facts(result), out)
