"""``mlpconv tune``: a search for a better recipe."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

from mlpconv.cli.output import Download, Json, err, next_steps, paragraph, print_json, say, warn, write_file
from mlpconv.errors import DataError, MlpconvError


def tune(
    recipe: Annotated[
        str | None,
        Option(
            help="The recipe to begin from: a name or a TOML file.  [default: quick; own for a folder]",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None, Option(help="A data set's name, a folder of images, or a CSV file of path and label.")
    ] = None,
    space: Annotated[
        list[str] | None,
        Option(metavar="FIELD=…", help="A field to search: 'learning_rate=1e-4..1e-2 log', 'batch_size=64|128'."),
    ] = None,
    trials: Annotated[int, Option(min=1, help="How many; those that the storage holds count.")] = 30,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any field of the recipe, the same in all trials.")
    ] = None,
    images: Annotated[int | None, Option(min=20, help="Training images, chosen at random; all by default.")] = None,
    held_out: Annotated[float, Option(min=0.01, max=0.5, help="The share of them that judges.")] = 0.1,
    name: Annotated[str, Option(help="Of the search.")] = "tune",
    storage: Annotated[
        str | None, Option(help="Optuna's address of one; workers that share it share the search. A file in --out.")
    ] = None,
    seed: Annotated[int, Option(min=0, help="Of what is tried; workers that share a search need one each.")] = 0,
    data_dir: Annotated[Path | None, Option(help="The directory that holds the data set's files.")] = None,
    backend: Annotated[str, Option(help="torch, tensorflow or jax.")] = "torch",
    device: Annotated[str | None, Option(help="cpu, cuda …; a GPU if there is one by default.")] = None,
    out: Annotated[Path, Option(help="The directory for trials, report and recipe.")] = Path("runs/tune"),
    json: Json = False,
) -> None:
    """Search for a better recipe with Optuna, judged on images held out of the training set. Goes on where it was.

    Example: mlpconv tune --trials 20 --set epochs=1 --space 'learning_rate=5e-4..8e-3 log'
    """
    from mlpconv.backends import allocator
    from mlpconv.data.dataset import hold_out
    from mlpconv.jobs.run_data import DEFAULT_OPTIONS, default_recipe, load_run_data
    from mlpconv.jobs.stop import Stop
    from mlpconv.studies import search
    from mlpconv.training.recipe import change, parse_settings, to_toml
    from mlpconv.training.recipes import get_recipe

    search.load()
    allocator.keep_memory()
    changes = parse_settings(set_ or []) | ({} if data is None else {"data": data})
    named = str(changes["data"]) if "data" in changes else None
    asked = change(get_recipe(recipe or default_recipe(named)), changes, "--set")
    # The images that judge are the same for all trials, and the last epoch's weights are judged.
    base = change(asked, {"validation": 0.0, "target_accuracy": None})
    fields = search.parse_space(space or search.SPACE)
    with Download() as download:
        material = load_run_data(base, None, data_dir, DEFAULT_OPTIONS, download)
    splits, base = material.splits, material.recipe
    if images is not None:
        if images >= len(splits.train):
            raise DataError(f"--images {images}: {splits.train.name} has {len(splits.train):,}; leave it out for all")
        splits = splits._replace(train=hold_out(splits.train, images, seed=0)[1])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlpconvError(f"--out {out}: cannot be made: {error.strerror or error}; give another place") from None
    address = storage or f"sqlite:///{out / 'optuna.db'}"

    def progress(line: str) -> None:
        if not json:
            err().print(line, markup=False)

    stop = Stop()
    with stop:
        found = search.search(
            base,
            fields,
            splits,
            trials=trials,
            name=name,
            storage=address,
            held_out=max(1, round(held_out * len(splits.train))),
            seed=seed,
            backend=backend,
            device=device,
            directory=out,
            progress=progress,
            should_stop=stop.wanted,
        )
    kept = {"validation": asked.validation, "patience": asked.patience, "target_accuracy": asked.target_accuracy}
    found = found._replace(recipe=change(found.recipe, kept))
    best, page = out / "best.toml", out / "report.md"
    write_file(best, to_toml(found.recipe), "--out")
    write_file(page, search.report(found, base, shlex.join(["mlpconv", *sys.argv[1:]])), "--out")
    if json:
        print_json(
            {
                "name": name,
                "trials": len(found.study.trials),
                "accuracy": found.accuracy,
                "values": found.values,
                "importance": found.importance,
                "recipe": str(best),
                "report": str(page),
            }
        )
    else:
        paragraph(f"the best of {len(found.study.trials)} trials: {found.accuracy:.4f} on the images held out")
        for key, value in found.values.items():
            weight = f"   importance {found.importance[key]:.2f}" if key in found.importance else ""
            say(f"  {key} = {value:.4g}{weight}" if isinstance(value, float) else f"  {key} = {value}{weight}")
        next_steps((f"mlpconv train --recipe {best}", "train with it"), (f"less {page}", "the report"))
    if stop.seen:
        warn(f"stopped; the same command goes on with the search in {out}")
        raise typer.Exit(stop.exit_code)
