"""``mlpconv tune``: search for a better recipe."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from mlpconv.cli.deprecated import renamed_options
from mlpconv.cli.options import DataDir, Device, NewBackend
from mlpconv.cli.output import (
    Download,
    Json,
    make_directory,
    next_steps,
    paragraph,
    print_json,
    print_progress,
    say,
    warn,
    write_file,
)
from mlpconv.cli.recipe_options import DATA_HELP, RECIPE_HELP_TAIL
from mlpconv.errors import DataError
from mlpconv.formatting import format_number


@renamed_options({"--held-out": "--validation"})
def tune(
    recipe: Annotated[str | None, Option(help="Recipe to start from: " + RECIPE_HELP_TAIL)] = None,
    data: Annotated[str | None, Option(help=DATA_HELP)] = None,
    space: Annotated[
        list[str] | None,
        Option(
            metavar="FIELD=…",
            help="Field of the recipe to search, such as 'learning_rate=1e-4..1e-2 log' or 'batch_size=64|128'.  "
            "[default: rate, weight decay, batch size, smoothing, flips, warmup]",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int, Option(min=1, help="Number of trials, including those that are already in the storage.")
    ] = 30,
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="Any field of the recipe, the same in all trials and not searched."),
    ] = None,
    images: Annotated[
        int | None, Option(min=20, help="Number of training images, chosen at random; by default all.")
    ] = None,
    validation: Annotated[
        float, Option(min=0.01, max=0.5, help="Share of the training images to hold out; they judge the trials.")
    ] = 0.1,
    name: Annotated[str, Option(help="Name of the search.")] = "tune",
    storage: Annotated[
        str | None,
        Option(
            help="Address of an Optuna storage; workers with the same storage share the search. "
            "By default a file in --out."
        ),
    ] = None,
    seed: Annotated[
        int, Option(min=0, help="Seed of the search; workers that share a search need different seeds.")
    ] = 0,
    data_dir: DataDir = None,
    backend: NewBackend = None,
    device: Device = None,
    out: Annotated[Path, Option(help="Directory for trials, report and recipe.")] = Path("runs/tune"),
    json: Json = False,
) -> None:
    """Search for a better recipe with Optuna, judged on images held out of the training set. An interrupted search
    continues.

    Example: mlpconv tune --trials 20 --set epochs=1 --space 'learning_rate=5e-4..8e-3 log'
    """
    from mlpconv.backends import allocator
    from mlpconv.data.dataset import hold_out
    from mlpconv.jobs.prepare import choose_recipe
    from mlpconv.jobs.request import Request
    from mlpconv.jobs.run_data import load_run_data
    from mlpconv.jobs.stop import Stop
    from mlpconv.studies import search, search_space
    from mlpconv.training.recipe import change, parse_settings, to_toml

    search.load()
    allocator.keep_memory()
    changes = parse_settings(set_ or []) | ({} if data is None else {"data": data})
    named_data = {"data": str(changes["data"])} if "data" in changes else {}
    requested = choose_recipe(Request(recipe=recipe, changes=named_data, settings=changes)).recipe
    # The images that judge are the same for all trials, and the last epoch's weights are judged.
    base = change(requested, {"validation": 0.0, "target_accuracy": None})
    with Download() as download:
        run_data = load_run_data(base, directory=data_dir, progress=download)
    splits, base = run_data.splits, run_data.recipe
    if images is not None:
        if images >= len(splits.train):
            raise DataError(f"--images {images}: {splits.train.name} has {len(splits.train):,}; leave it out for all")
        splits = splits._replace(train=hold_out(splits.train, images, seed=0)[1])
    held_out = max(1, round(validation * len(splits.train)))
    fixed = search_space.field_names(parse_settings(set_ or []))
    fields, base, notes = search_space.fit_space(base, space, fixed, len(splits.train) - held_out)
    for note in notes:
        warn(note)
    make_directory(out, "--out")

    settings = search.SearchSettings(
        directory=out,
        storage=storage or f"sqlite:///{out / 'optuna.db'}",
        validation=held_out,
        trials=trials,
        name=name,
        seed=seed,
        backend=backend,
        device=device,
    )
    progress = (lambda line: None) if json else print_progress
    stop = Stop()
    with stop:
        found = search.search(base, fields, splits, settings, progress=progress, should_stop=stop.wanted)
    ending = {field: getattr(requested, field) for field in ("validation", "patience", "target_accuracy")}
    found = found._replace(recipe=change(found.recipe, ending))
    best, page = out / "best.toml", out / "report.md"
    write_file(best, to_toml(found.recipe), "--out")
    write_file(page, search.report(found, base, shlex.join(["mlpconv", *sys.argv[1:]])), "--out")
    if json:
        print_json(
            {
                "name": name,
                "trials": len(found.study.trials),
                "accuracy": found.accuracy,
                "images": found.images,
                "values": found.values,
                "importance": found.importance,
                "recipe": str(best),
                "report": str(page),
            }
        )
    else:
        judges = format_number(found.images, "image")
        paragraph(f"the best of {len(found.study.trials)} trials: {found.accuracy:.4f} on the {judges} held out")
        for key, value in found.values.items():
            weight = f"   importance {found.importance[key]:.2f}" if key in found.importance else ""
            say(f"  {key} = {value:.4g}{weight}" if isinstance(value, float) else f"  {key} = {value}{weight}")
        next_steps((f"mlpconv train --recipe {best}", "train with it"), (f"less {page}", "the report"))
    if stop.seen:
        warn(f"stopped; the same command continues the search in {out}")
        raise typer.Exit(stop.exit_code)
