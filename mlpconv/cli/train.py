"""``mlpconv train``: the main job."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from mlpconv.cli.output import Download, Json, err, next_steps, print_json, say, warn
from mlpconv.errors import RecipeError
from mlpconv.formatting import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from mlpconv.jobs.recorder import Recorder
    from mlpconv.jobs.session import Session
    from mlpconv.jobs.stop import Stop
    from mlpconv.runs.run import Result, Run
    from mlpconv.training.forecast import Fit


def train(
    recipe: Annotated[
        str | None,
        Option(help="A recipe's name or a TOML file.  [default: quick; own for a folder]", show_default=False),
    ] = None,
    model: Annotated[
        str | None, Option(help="A network: a name, a JSON file, module:function, or auto: what fits the images.")
    ] = None,
    data: Annotated[
        str | None, Option(help="A data set's name, a folder of images, or a CSV file of path and label.")
    ] = None,
    data_dir: Annotated[Path | None, Option(help="The directory that holds the data set's files.")] = None,
    epochs: Annotated[int | None, Option(help="Times that each image is seen.")] = None,
    lr: Annotated[float | None, Option(help="The peak learning rate.")] = None,
    batch_size: Annotated[int | None, Option(help="Images a step.")] = None,
    image_size: Annotated[int | None, Option(help="Side in pixels to which images are resized.")] = None,
    optimizer: Annotated[str | None, Option(help="sgd, adam or adamw.")] = None,
    initializer: Annotated[str | None, Option(help="xavier, he, torch or open.")] = None,
    seed: Annotated[int | None, Option(help="Of weights, order, augmentation and dropout.")] = None,
    precision: Annotated[str | None, Option(help="float32 or bfloat16; the fastest by default.")] = None,
    on_trouble: Annotated[
        str | None, Option(help="When training diverges or loses a class: repair (default), stop or ignore.")
    ] = None,
    validation: Annotated[
        float | None, Option(help="Share of the training images to choose the best epoch by.")
    ] = None,
    target_accuracy: Annotated[
        float | None, Option(help="Stop once the validation images are recognised so well; holds out 0.1 of them.")
    ] = None,
    patience: Annotated[
        int | None, Option(help="Stop after so many epochs without a better validation accuracy; holds out 0.1 too.")
    ] = None,
    set_: Annotated[
        list[str] | None, Option("--set", metavar="KEY=VALUE", help="Any field, such as optimizer.momentum=0.9.")
    ] = None,
    backend: Annotated[
        str | None, Option(help="torch, tensorflow, jax or mxnet.  [default: torch]", show_default=False)
    ] = None,
    device: Annotated[str | None, Option(help="cpu, cuda, cuda:1 …; a GPU if there is one by default.")] = None,
    deterministic: Annotated[
        bool, Option("--deterministic", help="Only deterministic algorithms, also on a GPU.")
    ] = False,
    out: Annotated[Path | None, Option(help="The run directory; a new one under ./runs by default.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the run in --out (by default the latest).")] = False,
    resume_with: Annotated[
        list[str] | None,
        Option("--resume-with", metavar="KEY=VALUE", help="Go on otherwise than it began: epochs=20, device=cpu …"),
    ] = None,
    checkpoint_every: Annotated[
        str | None,
        Option(
            help="A checkpoint within an epoch after this time (5m) or this many steps (200steps).  [default: 5m]",
            show_default=False,
        ),
    ] = None,
    from_: Annotated[str | None, Option("--from", metavar="RUN", help="Repeat a run: take its recipe.")] = None,
    weights: Annotated[
        str | None,
        Option(metavar="RUN", help="Begin with all weights of a run or .safetensors file: same network, same classes."),
    ] = None,
    pretrained: Annotated[
        str | None,
        Option(
            metavar="RUN",
            help="Begin with those weights but for the last block: for other classes (docs/how-to/start-weights.md).",
        ),
    ] = None,
    strict: Annotated[
        bool, Option("--strict", help="Refuse a folder with anything in it that cannot be used.")
    ] = False,
    follow_links: Annotated[bool, Option("--follow-links", help="Also links that lead out of the folder.")] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the whole plan and stop.")] = False,
    max_time: Annotated[str | None, Option(help="Stop in good order after this time, such as 90s, 30m or 2h.")] = None,
    force: Annotated[bool, Option("--force", help="Begin even where the memory left will not do.")] = False,
    json: Json = False,
) -> None:
    """Train a network and leave a run directory with everything needed to know, use and repeat it.

    Example: mlpconv train --recipe quick --seed 1
    """
    from mlpconv.backends import allocator
    from mlpconv.jobs.stop import PATIENCE, Stop
    from mlpconv.training.recipe import parse_settings

    # Before any framework allocates: see the module's docstring.
    allocator.keep_memory()
    limit = _seconds(max_time, "--max-time") if max_time else None
    every = _every(checkpoint_every) if checkpoint_every else {}
    resume = resume or bool(resume_with)
    chosen = {
        "model": model,
        "data": data,
        "epochs": epochs,
        "learning_rate": lr,
        "batch_size": batch_size,
        "image_size": image_size,
        "optimizer": optimizer,
        "initializer": initializer,
        "seed": seed,
        "precision": precision,
        "on_trouble": on_trouble,
        "validation": validation,
        "target_accuracy": target_accuracy,
        "patience": patience,
        "pretrained": pretrained,
    }
    changes = {key: value for key, value in chosen.items() if value is not None}
    out = _resumed_path(out) if resume else out
    meant = parse_settings(resume_with or [], "--resume-with")
    session, finished = _prepare(
        recipe,
        changes,
        set_ or [],
        resume_from=out if resume else None,
        meant=meant,
        from_=from_,
        backend=backend,
        device=device,
        deterministic=deterministic,
        data_dir=data_dir,
        out=out,
        begin=not dry_run,
        weights=weights,
        strict=strict,
        follow_links=follow_links,
    )
    if finished is not None:
        if not json:
            say(f"{out}: this run is finished; nothing is left to do")
        _report(finished, finished.result, json)
        return
    assert session is not None
    if dry_run:
        _dry_run(session, json)
        return
    stop = Stop(limit, patience=PATIENCE)
    recorder = session.run(out, resume=resume, resume_with=meant, should_stop=stop.wanted, force=force, **every)
    if json:
        recorder.forecast()
    else:
        _announce(session, recorder)
    ended = _follow(session, recorder, stop, quiet=json)
    if ended:
        _report(recorder.run, recorder.run.result, json)
        return
    place = recorder.run.path
    warn(f"stopped and saved; go on with: mlpconv train --out {place} --resume")
    raise typer.Exit(stop.exit_code)


def _prepare(
    recipe_name: str | None,
    changes: dict[str, Any],
    settings: list[str],
    *,
    resume_from: Path | None,
    meant: dict[str, Any],
    from_: str | None,
    backend: str | None,
    device: str | None,
    deterministic: bool,
    data_dir: Path | None,
    strict: bool,
    follow_links: bool,
    out: Path | None,
    begin: bool,
    weights: str | None,
) -> "tuple[Session | None, Run | None]":
    """The session to carry out, or the run that is already finished. begin: whether it shall be carried out."""
    from mlpconv.jobs.run_data import Options, default_recipe
    from mlpconv.jobs.session import Session
    from mlpconv.runs.directory import check_directory
    from mlpconv.runs.run import Run
    from mlpconv.training.recipe import change, parse_settings
    from mlpconv.training.recipes import get_recipe

    if from_ and recipe_name:
        raise RecipeError("--from and --recipe: both say which recipe to take; give one of them")
    old = Run(resume_from) if resume_from else Run(from_) if from_ else None
    if old and not recipe_name:
        recipe, name = old.config.recipe, old.config.recipe_name
    else:
        name = recipe_name or default_recipe(changes.get("data"))
        recipe = get_recipe(name)
        if "pretrained" in changes and not recipe_name:
            recipe = change(recipe, {"model": "auto"})
    more = parse_settings(settings)
    if "model" in more:  # first of all: another model drops the image size, and must not drop one that was asked for
        recipe = change(recipe, {"model": more.pop("model")}, "--set")
    needing = changes.get("target_accuracy") or changes.get("patience")
    if needing and not (recipe.validation or "validation" in changes or "validation" in more):
        changes = {**changes, "validation": 0.1}
    recipe = change(recipe, changes, "command line")
    recipe = change(recipe, more, "--set")
    precision = None
    if "device" in meant:
        device = str(meant["device"])
    recipe = change(recipe, {key: value for key, value in meant.items() if key != "device"}, "--resume-with")
    if old and resume_from:
        # Chosen on the machine where the run began; this one might choose another.
        precision = old.config.precision
        deterministic = deterministic or old.config.deterministic
        backend, device = backend or old.config.backend, device or old.config.device
        weights = weights or old.config.start
        if recipe == old.config.recipe and old.result is not None:
            return None, old
    elif old:
        backend = backend or old.config.backend
    if begin:
        check_directory(out, resume=resume_from is not None)
    with Download() as progress:
        session = Session(
            recipe,
            recipe_name=name,
            data_directory=data_dir,
            backend=backend or "torch",
            device=device,
            precision=precision,
            deterministic=deterministic,
            start=weights,
            goes_on=resume_from,
            options=Options(strict, follow_links),
            progress=progress,
        )
    return session, None


def _resumed_path(out: Path | None) -> Path:
    from mlpconv.runs.run import Run

    return out or Run("latest").path


def _every(text: str) -> dict[str, Any]:
    """What Session.run is told of when to save."""
    if found := re.fullmatch(r"(\d+)\s*steps?", text.strip()):
        if int(found[1]):
            return {"checkpoint_steps": int(found[1])}
        raise RecipeError(f"--checkpoint-every {text}: give 1 step or more")
    return {"checkpoint_every": _seconds(text, "--checkpoint-every", " or, in steps, 200steps")}


def _seconds(text: str, option: str, other: str = "") -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    if not found:
        raise RecipeError(f"{option} {text}: expected a time such as 90s, 30m or 2h{other}")
    return float(found[1]) * {"h": 3600, "m": 60, "min": 60}.get(found[2], 1)


def _follow(session: "Session", recorder: "Recorder", stop: "Stop", *, quiet: bool) -> bool:
    """Carry the run out and show it; whether it came to its end."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from mlpconv.jobs.recorder import Resumed
    from mlpconv.training.trainer import EpochEnded, Repaired, Stopped
    from mlpconv.training.trainer import Progress as Step

    live = err().is_terminal and not quiet
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True),
    )
    epochs = session.recipe.epochs
    with stop, Progress(*columns, console=err(), disable=not live, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task(f"epoch 1/{epochs}", total=None, text="")
        for event in recorder:
            match event:
                case Resumed():
                    if not quiet:
                        say(f"going on behind epoch {event.epoch}, step {event.step}")
                case Step():
                    text = (
                        f"loss {event.loss:.3f} train acc {event.accuracy:.3f} {event.images_per_second:,.0f} images/s"
                    )
                    name = f"epoch {event.epoch + 1}/{epochs}"
                    bar.update(task, description=name, completed=event.step, total=event.steps, text=text)
                case EpochEnded():
                    if not quiet:
                        bar.console.file.flush()
                        held = f"validation acc {event.validation.accuracy:.3f}, " if event.validation else ""
                        say(
                            f"epoch {event.epoch + 1}/{epochs}: loss {event.loss:.3f}, train acc {event.accuracy:.3f}, "
                            f"{held}test acc {event.test.accuracy:.3f}, {event.images_per_second:,.0f} images/s, "
                            f"{format_duration(event.seconds + event.evaluation_seconds)}"
                        )
                case Repaired(event=met):
                    warn(f"epoch {met.epoch}, step {met.step}: {met.what}; {met.action}: {met.done}")
                case Stopped():
                    return False
    return True


def _announce(session: "Session", recorder: "Recorder") -> None:
    """What will happen, before it does."""
    for line in _lines(session):
        say(line)
    say(f"  into      {recorder.run.path}")
    ahead = recorder.forecast()
    say(
        f"  forecast  {format_duration(ahead.seconds)} at {ahead.images_per_second:,.0f} images/s; "
        "Ctrl-C stops and saves\n"
    )


def _lines(session: "Session") -> list[str]:
    from mlpconv.arch.cost import count
    from mlpconv.arch.shapes import show
    from mlpconv.training.recipe import describe

    config, (train_set, test_set) = session.config, session.data
    costs, room = count(session.network), session.fit()
    height, width, channels = train_set.image_shape
    shape = show((channels, height, width))
    held = f", {len(session.validation):,} validation" if session.validation else ""
    return [
        f"Training {session.network.name} on {config.data.name}",
        f"  network   {session.network.name}: {costs.parameters:,} parameters, {format_count(costs.macs)} "
        "MACs an image of "
        f"{show(session.network.input_shape)}",
        f"  data      {len(train_set):,} training{held} and {len(test_set):,} test images of {shape}, "
        f"{train_set.num_classes} classes",
        *_about_folder(session),
        f"  recipe    {describe(config.recipe, config.recipe_name)}",
        f"  runs on   {config.backend}, {session.backend.describe_device(config.device)}, {config.precision}",
        f"  memory    {_memory(room)}",
    ]


def _memory(room: "Fit") -> str:
    tensors = f"about {format_bytes(room.tensor_bytes)} of tensors at the peak"
    if room.available_bytes is None:
        return tensors
    return (
        f"{tensors}, {format_bytes(room.available_bytes)} available; room for batches of up to {room.largest_batch:,}"
    )


def _about_folder(session: "Session") -> list[str]:
    """What was chosen and passed over in images of one's own."""
    material = session.material
    lines = [f"  chosen    {material.chosen}"] if material.chosen else []
    if material.loaded is not None:
        lines += [f"            {note}" for note in material.loaded.folder.notes]
        problems = material.loaded.problems
        lines += [f"  skipped   {problem.path}: {problem.reason}" for problem in problems[:5]]
        if len(problems) > 5:
            lines.append(f"            … and {len(problems) - 5:,} more: skipped.csv in the run lists them")
    return lines


def _dry_run(session: "Session", json: bool) -> None:
    from mlpconv.training.recipe import to_toml

    if json:
        print_json(session.config.to_dict())
        return
    for line in _lines(session):
        say(line)
    say("\nthe recipe as a TOML file (mlpconv train --recipe FILE.toml):\n")
    say(to_toml(session.recipe))


def _report(run: "Run", result: "Result | None", json: bool) -> None:
    """How the run ended, and what to do next."""
    from mlpconv.runs.history import validation_accuracies
    from mlpconv.training.ending import ending, ending_words

    assert result is not None
    held = validation_accuracies(run.history)
    if json:
        keys = (
            "loss",
            "train_accuracy",
            "test_accuracy",
            "examples_per_second",
            "seconds",
            "epochs",
            "best_epoch",
            "validation_accuracy",
            "dead_classes",
            "peak_resident_bytes",
            "peak_tensor_bytes",
        )
        repairs = [event for line in run.history for event in line.get("repairs", ())]
        values = {key: getattr(result, key) for key in keys}
        forecast = run.forecast._asdict() if run.forecast else None
        values["ended_by"] = ending(run.config.recipe, held)
        print_json({"run": str(run.path), **values, "repairs": repairs, "forecast": forecast}, indent=None)
        return
    config = run.config
    from mlpconv.backends.registry import get_backend

    say(f"\nloss {result.loss:.3f}, train acc {result.train_accuracy:.3f}, test acc {result.test_accuracy:.3f}")
    if result.validation_accuracy is not None:
        say(f"validation acc {result.validation_accuracy:.3f}, in epoch {result.best_epoch}, whose weights are kept")
    if why := ending_words(config.recipe, held):
        say(why)
    if result.repairs:
        times = "once" if result.repairs == 1 else f"{result.repairs} times"
        say(f"the guard intervened {times}; report.html says where")
    device = get_backend(config.backend).describe_device(config.device)
    say(f"{result.examples_per_second:.1f} examples/sec on {device}")
    print_class_accuracy(result.class_accuracy)
    say(
        f"\nin {format_duration(result.seconds)}; {run.path} holds report.html, curves.png, weights, history, "
        "checkpoints"
    )
    model = config.recipe.model
    next_steps(
        (f"mlpconv predict {run.path} IMAGE…", "names and probabilities for your own images"),
        (f"mlpconv evaluate {run.path}", "accuracy and confusion on the test set"),
        (f"mlpconv summary {model} --depth layer", "shapes and costs of every layer"),
        (f"mlpconv train --from {run.path} --seed {config.recipe.seed + 1}", "the same with another seed"),
    )


def print_class_accuracy(accuracies: dict[str, float | None]) -> None:
    """Accuracy by class with a bar, the weakest marked."""
    from rich.cells import cell_len

    width = max(cell_len(name) for name in accuracies)
    known = [value for value in accuracies.values() if value is not None]
    lowest = min(known) if len(set(known)) > 1 else None
    say("\ntest accuracy by class:")
    for name, value in accuracies.items():
        text = "no images" if value is None else f"{value:.3f} {'█' * round(20 * value):20}"
        weakest = "  weakest" if value is not None and value == lowest else ""
        say(f"  {name}{' ' * (width - cell_len(name))}  {text}{weakest}".rstrip())
