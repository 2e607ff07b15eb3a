"""``mlpconv study``: the exercises of the chapter as experiments."""

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from mlpconv.cli.options import DataDir, Device, ExecutorAddress, NewBackend
from mlpconv.cli.output import (
    Column,
    Download,
    Json,
    make_directory,
    paragraph,
    print_json,
    print_progress,
    say,
    table,
    warn,
    write_results,
)
from mlpconv.errors import MlpconvError, unknown


def study(
    name: Annotated[
        str | None, Argument(metavar="NAME", help="The study to run; without a name, all studies are listed.")
    ] = None,
    budget: Annotated[str, Option(help="Size of the experiment: small (a trial), laptop or gpu.")] = "laptop",
    seeds: Annotated[
        int | None,
        Option(
            min=1, help="Number of seeds (0 to n−1); by default the budget's. Some arms take several times as many."
        ),
    ] = None,
    images: Annotated[int | None, Option(min=10, help="Number of training images; by default the budget's.")] = None,
    epochs: Annotated[int | None, Option(min=1, help="Number of epochs; by default the budget's.")] = None,
    image_size: Annotated[
        int | None, Option(min=1, help="Side in pixels to resize images to; by default the budget's.")
    ] = None,
    runs: Annotated[Path, Option(help="Directory for the runs; finished runs there are reused.")] = Path("runs"),
    data: Annotated[
        str | None, Option(help="A data set's name or a folder of images; by default that of the study.")
    ] = None,
    data_dir: DataDir = None,
    backend: NewBackend = None,
    device: Device = None,
    executor: ExecutorAddress = None,
    out: Annotated[
        Path | None, Option(help="Directory to write the results to, as Markdown with a figure and as JSON.")
    ] = None,
    json: Json = False,
) -> None:
    """Answer an exercise of the chapter by an experiment with several seeds. An interrupted study can be continued.

    Example: mlpconv study one-by-one --budget laptop
    """
    from mlpconv.backends import allocator
    from mlpconv.drawing.plots import png
    from mlpconv.executors import open_workers
    from mlpconv.jobs.stop import Stop
    from mlpconv.studies import earlier, figures, pages
    from mlpconv.studies.perform import StudyData, find, perform
    from mlpconv.studies.runner import StudyOptions

    if name is None:
        _list(json)
        return
    allocator.keep_memory()
    chosen_study = find(name)
    if budget not in chosen_study.budgets:
        raise MlpconvError(f"--budget: {unknown('budget', budget, chosen_study.budgets)}")
    sizes = {"seeds": seeds, "images": images, "epochs": epochs, "image_size": image_size}
    size = chosen_study.budgets[budget]._replace(**{key: value for key, value in sizes.items() if value is not None})
    directory = runs / f"study-{name}-{budget}"
    if out is not None:
        make_directory(out, "--out")

    previous = earlier.read(out / f"{name}.json") if out is not None else None
    stop = Stop(None)
    with stop, Download() as download, open_workers(executor) if executor else nullcontext() as workers:
        result = perform(
            chosen_study,
            size,
            directory,
            StudyData(data, data_dir, download),
            StudyOptions(
                backend, device, (lambda line: None) if json else print_progress, stop.wanted, previous, workers
            ),
        )
    options = {**sizes, "data": data}
    given = [f"--{key.replace('_', '-')} {value}" for key, value in options.items() if value is not None]
    result["command"] = " ".join(["mlpconv study", shlex.quote(name), f"--budget {budget}", *given])
    written = []
    if out is not None and earlier.supersedes(result, previous):
        page = pages.markdown(result, result["command"], pages.not_run_yet(result, chosen_study))
        written = write_results(out, name, result, page, png(figures.figure(result)))
    elif out is not None and previous is not None:
        warn(f"{out / name}.json has runs that this result lacks, so nothing is written; choose another --out")
    if json:
        print_json(result, indent=None)
    else:
        say(result["question"])
        say()
        table([Column(title, leave_out=index) for index, title in enumerate(pages.titles(result))], pages.rows(result))
        say()
        for sentence in result["conclusion"]:
            paragraph(sentence)
        if written:
            say(f"\nwritten: {', '.join(written)}")
    if stop.seen:
        warn(f"stopped and saved in {directory}; run the same command to continue")
        raise typer.Exit(stop.exit_code)


def _list(json: bool) -> None:
    from mlpconv.studies.catalogue import STUDIES

    if json:
        print_json(
            [
                {"name": each.name, "question": each.question, "arms": [arm.name for arm in each.arms]}
                for each in STUDIES.values()
            ]
        )
        return
    rows = [[each.name, str(len(each.arms)), each.question] for each in STUDIES.values()]
    table([Column("study"), Column("arms", right=True), Column("question")], rows, flowing=True)
