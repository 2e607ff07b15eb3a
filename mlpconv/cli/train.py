"""``mlpconv train``: train a network."""

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

from mlpconv.cli.deprecated import renamed_options
from mlpconv.cli.options import BACKENDS, DataDir, Device
from mlpconv.cli.output import Download, Json, say, warn
from mlpconv.cli.recipe_options import RECIPE_HELP_TAIL, with_recipe_options
from mlpconv.cli.train_output import announce, print_plan, print_result, train_and_show
from mlpconv.errors import MlpconvError, ProcessLost, RecipeError

if TYPE_CHECKING:
    from mlpconv.jobs.request import CheckpointPolicy


@renamed_options({"--resume-with": "--resume-override", "--weights": "--start-from"})
@with_recipe_options
def train(
    *,
    context: typer.Context,
    recipe: Annotated[str | None, Option(help="Recipe: " + RECIPE_HELP_TAIL)] = None,
    changes: dict[str, Any],
    data_dir: DataDir = None,
    set_: Annotated[
        list[str] | None,
        Option("--set", metavar="KEY=VALUE", help="Any field of the recipe, such as optimizer.momentum=0.9."),
    ] = None,
    backend: Annotated[str | None, Option(help=f"Back end: {BACKENDS} (default: torch).")] = None,
    device: Device = None,
    deterministic: Annotated[
        bool, Option("--deterministic", help="Use only deterministic algorithms, also on a GPU.")
    ] = False,
    out: Annotated[Path | None, Option(help="Run directory; by default a new one under ./runs.")] = None,
    resume: Annotated[bool, Option("--resume", help="Continue the run in --out (default: the latest).")] = False,
    resume_override: Annotated[
        list[str] | None,
        Option(
            "--resume-override",
            metavar="KEY=VALUE",
            help="Continue the run in --out with a changed setting, such as epochs=20 or device=cpu.",
        ),
    ] = None,
    checkpoint_every: Annotated[
        str | None,
        Option(
            help="Time (5m, the default) or number of steps (200steps) between two checkpoints within an epoch.",
        ),
    ] = None,
    from_: Annotated[str | None, Option("--from", metavar="RUN", help="Run to repeat, with the same recipe.")] = None,
    start_from: Annotated[
        str | None,
        Option(
            metavar="RUN",
            help="Run or .safetensors file whose weights to start from in all layers: same network, same classes.",
        ),
    ] = None,
    strict: Annotated[
        bool, Option("--strict", help="Refuse a folder of images if anything in it cannot be used.")
    ] = False,
    follow_links: Annotated[
        bool, Option("--follow-links", help="Follow links that lead out of the folder of images.")
    ] = False,
    dry_run: Annotated[bool, Option("--dry-run", help="Print the whole plan and exit.")] = False,
    max_time: Annotated[
        str | None, Option(help="Time, such as 90s, 30m or 2h, after which to save the run and stop.")
    ] = None,
    force: Annotated[bool, Option("--force", help="Start even if the available memory is not enough.")] = False,
    nproc: Annotated[
        int | None,
        Option(min=1, metavar="N", help="Train with N processes on this machine, which share each batch."),
    ] = None,
    json: Json = False,
) -> None:
    """Train a network and write a run directory with everything needed to inspect, use and repeat the run.

    Example: mlpconv train --recipe quick --seed 1
    """
    from mlpconv import hardware
    from mlpconv.backends import allocator, processes
    from mlpconv.jobs import several
    from mlpconv.jobs.execute import execute
    from mlpconv.jobs.prepare import finished_run, prepare
    from mlpconv.jobs.request import CheckpointPolicy, ExecuteOptions, Request
    from mlpconv.jobs.stop import GRACE_SECONDS, Stop
    from mlpconv.runs.directory import check_directory
    from mlpconv.runs.run import Run
    from mlpconv.training.recipe import parse_settings

    place = processes.join()
    if place.size == 1 and nproc is not None and nproc > 1:
        raise typer.Exit(processes.launch(nproc, sys.argv[1:]))
    if nproc not in (None, place.size):
        raise MlpconvError(f"--nproc {nproc}: the launcher has started {place.size} processes; leave --nproc out")
    # Before any framework allocates: see the module's docstring.
    allocator.keep_memory()
    group = processes.make_group() if place.size > 1 else None
    if group and place.rank:
        several.follow(group)
        return
    if group:
        context.call_on_close(group.end)
    limit = _seconds(max_time, "--max-time") if max_time else None
    checkpoints = _checkpoint_policy(checkpoint_every) if checkpoint_every else CheckpointPolicy()
    resume = resume or bool(resume_override)
    if resume:
        out = out or Run("latest").path
    overrides = parse_settings(resume_override or [], "--resume-override")
    request = Request(
        recipe=recipe,
        changes=changes,
        settings=parse_settings(set_ or []),
        repeat=from_,
        resume_from=str(out) if resume else None,
        resume_override=overrides,
        start_from=start_from,
        data_directory=str(data_dir) if data_dir is not None else None,
        strict=strict,
        follow_links=follow_links,
        backend=backend,
        device=device,
        deterministic=deterministic,
    )
    if finished := finished_run(request):
        if not json:
            say(f"{out}: this run is finished; nothing is left to do")
        print_result(finished, json)
        return
    if not dry_run:
        check_directory(out, resume=resume)
    with Download() as progress:
        prepared = prepare(request, progress=progress)
    if group:
        processes.check(prepared.job.backend, prepared.job.device)
    if dry_run:
        print_plan(prepared, json)
        return
    stop = Stop(limit, grace_seconds=GRACE_SECONDS)
    if force and prepared.job.device == "cpu":
        hardware.limit_memory()
    options = ExecuteOptions(resume=resume, allowed_changes=tuple(overrides), checkpoints=checkpoints, force=force)
    execution = execute(prepared, out, options, should_stop=stop.wanted)
    again = f"mlpconv train{f' --nproc {nproc}' if nproc else ''} --out {execution.run.path} --resume"
    try:
        if group:
            several.lead(group, execution, data_dir)
        if json:
            execution.forecast()
        else:
            announce(execution)
        ended = train_and_show(execution, stop, quiet=json)
    except ProcessLost as error:
        raise ProcessLost(f"{error}; to continue from the last checkpoint: {again}") from None
    if ended:
        print_result(execution.run, json)
        return
    warn(f"stopped and saved; to continue: {again}")
    raise typer.Exit(stop.exit_code)


def _checkpoint_policy(text: str) -> "CheckpointPolicy":
    """What ``--checkpoint-every`` means."""
    from mlpconv.jobs.request import CheckpointPolicy

    if steps := re.fullmatch(r"(\d+)\s*steps?", text.strip()):
        if int(steps[1]):
            return CheckpointPolicy(steps=int(steps[1]))
        raise RecipeError(f"--checkpoint-every {text}: give 1 step or more")
    return CheckpointPolicy(seconds=_seconds(text, "--checkpoint-every", " or, in steps, 200steps"))


def _seconds(text: str, option: str, other: str = "") -> float:
    time = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|)", text.strip())
    if not time:
        raise RecipeError(f"{option} {text}: expected a time such as 90s, 30m or 2h{other}")
    return float(time[1]) * {"h": 3600, "m": 60, "min": 60}.get(time[2], 1)
