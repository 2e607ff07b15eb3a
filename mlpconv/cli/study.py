"""``mlpconv study``: the chapter's exercises as experiments."""

import shlex
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from mlpconv.cli.output import Column, Download, Json, err, paragraph, print_json, say, table, warn, write_file
from mlpconv.errors import MlpconvError, unknown


def study(
    name: Annotated[str | None, Argument(metavar="[NAME]", help="A study; without one, all are listed.")] = None,
    budget: Annotated[str, Option(help="small (a trial), laptop or gpu.")] = "laptop",
    seeds: Annotated[int | None, Option(min=1, help="How many: 0, 1, 2 …; the budget's by default.")] = None,
    images: Annotated[int | None, Option(min=10, help="Training images; the budget's by default.")] = None,
    epochs: Annotated[int | None, Option(min=1, help="Times that each image is seen; the budget's by default.")] = None,
    image_size: Annotated[int | None, Option(min=1, help="Side in pixels; the budget's by default.")] = None,
    runs: Annotated[Path, Option(help="Where the runs go; what is over there is taken as it is.")] = Path("runs"),
    data: Annotated[str | None, Option(help="A data set's name; fashion-mnist by default.")] = None,
    data_dir: Annotated[Path | None, Option(help="The directory that holds the data set's files.")] = None,
    backend: Annotated[str, Option(help="torch, tensorflow or jax.")] = "torch",
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    out: Annotated[Path | None, Option(help="Also write the page and its picture into this directory.")] = None,
    json: Json = False,
) -> None:
    """Answer one of the chapter's exercises by an experiment with several seeds. Interrupted, it goes on where it was.

    Example: mlpconv study one-by-one --budget laptop
    """
    from mlpconv.backends import allocator
    from mlpconv.drawing.plots import png
    from mlpconv.jobs.stop import Stop
    from mlpconv.studies import pages
    from mlpconv.studies.perform import find, perform

    if name is None:
        _list(json)
        return
    allocator.keep_memory()
    found = find(name)
    if budget not in found.budgets:
        raise MlpconvError(f"--budget: {unknown('budget', budget, found.budgets)}")
    sizes = {"seeds": seeds, "images": images, "epochs": epochs, "image_size": image_size}
    chosen = found.budgets[budget]._replace(**{key: value for key, value in sizes.items() if value is not None})
    directory = runs / f"study-{name}-{budget}"
    if out is not None:
        _make(out)

    def progress(line: str) -> None:
        err().print(line, markup=False)

    stop = Stop(None)
    with stop, Download() as download:
        result = perform(
            found,
            chosen,
            directory,
            data_name=data,
            data_directory=data_dir,
            download=download,
            backend=backend,
            device=device,
            progress=lambda line: None if json else progress(line),
            should_stop=stop.wanted,
        )
    told = {**sizes, "data": data}
    given = [f"--{key.replace('_', '-')} {value}" for key, value in told.items() if value is not None]
    result["command"] = " ".join(["mlpconv study", shlex.quote(name), f"--budget {budget}", *given])
    if out is not None and result["complete"]:
        write_file(out / f"{name}.md", pages.markdown(result, result["command"]), "--out")
        write_file(out / f"{name}.png", png(pages.figure(result)), "--out")
        write_file(out / f"{name}.json", dumps(result, indent=1, ensure_ascii=False) + "\n", "--out")
    if json:
        print_json(result, indent=None)
    else:
        say(result["question"])
        say()
        table([Column(title, leave_out=index) for index, title in enumerate(pages.titles(result))], pages.rows(result))
        say()
        for sentence in result["conclusion"]:
            paragraph(sentence)
        if out is not None and result["complete"]:
            say(f"\nwritten: {out / name}.md, .png and .json")
    if stop.seen:
        warn(f"stopped and saved in {directory}; the same command goes on")
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


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpconvError(
            f"--out {directory}: cannot be made: {error.strerror or error}; give another place"
        ) from None
