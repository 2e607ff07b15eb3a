"""What ``mlpconv train`` prints: the plan, the progress, the result."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from mlpconv.cli.output import err, has_progress_bars, next_steps, print_json, say, warn
from mlpconv.formatting import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from mlpconv.arch.network import Network
    from mlpconv.jobs.execute import Execution
    from mlpconv.jobs.prepared import PreparedJob
    from mlpconv.jobs.stop import Stop
    from mlpconv.runs.job import Job
    from mlpconv.runs.run import Result, Run
    from mlpconv.training.forecast import Fit
    from mlpconv.training.recipe import TroublePolicy
    from mlpconv.training.trainer import EpochEnded

RESULT_KEYS = (
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


def print_plan(prepared: "PreparedJob", json: bool) -> None:
    """Print the whole job, for ``--dry-run``."""
    from mlpconv.training.recipe import to_toml

    if json:
        print_json(prepared.job.to_dict())
        return
    for line in _plan_lines(prepared):
        say(line)
    say("\nthe recipe as a TOML file (mlpconv train --recipe FILE.toml):\n")
    say(to_toml(prepared.recipe))


def announce(execution: "Execution") -> None:
    """Print what will happen, before it does."""
    for line in _plan_lines(execution.prepared):
        say(line)
    say(f"  into      {execution.run.path}")
    forecast = execution.forecast()
    say(
        f"  forecast  {format_duration(forecast.seconds)} at {forecast.images_per_second:,.0f} images/s; "
        "Ctrl-C stops and saves\n"
    )


def _plan_lines(prepared: "PreparedJob") -> list[str]:
    from mlpconv.arch.cost import count
    from mlpconv.arch.shapes import show
    from mlpconv.training.recipe import describe

    job, network, (train, test) = prepared.job, prepared.network, prepared.data
    costs, memory = count(network), prepared.fit()
    height, width, channels = train.image_shape
    validation = f", {len(prepared.validation):,} validation" if prepared.validation else ""
    return [
        f"Training {network.name} on {job.data.name}",
        f"  network   {network.name}: {costs.parameters:,} parameters, {format_count(costs.macs)} MACs for an image of "
        f"{show(network.input_shape)}",
        *_map_lines(network),
        f"  data      {len(train):,} training{validation} and {len(test):,} test images of "
        f"{show((channels, height, width))}, {train.num_classes} classes",
        *_folder_lines(prepared),
        f"  recipe    {describe(job.recipe, job.recipe_name)}",
        f"  start     {_start_line(job)}",
        f"  guard     {_guard_line(job.recipe.on_trouble)}",
        f"  runs on   {job.backend}, {prepared.backend.describe_device(job.device)}, {job.precision}",
        f"  memory    {_memory(memory)}",
    ]


def _map_lines(network: "Network") -> list[str]:
    from mlpconv.arch.class_maps import single_position

    single = single_position(network)
    return [f"  maps      {single}"] if single else []


def _start_line(job: "Job") -> str:
    from mlpconv.training.recipe import initializer_name

    if job.start is not None:
        return f"all weights of {job.start}"
    initializer = initializer_name(job.recipe.initializer)
    if job.recipe.pretrained:
        return f"weights of {job.recipe.pretrained}, the last block {initializer}"
    return f"{initializer} weights"


def _guard_line(policy: "TroublePolicy") -> str:
    match policy:
        case "repair":
            return "repairs the run if it diverges, learns nothing or loses a class"
        case "stop":
            return "stops the run if it diverges, learns nothing or loses a class"
        case "ignore":
            return "reports problems and does not act; --on-trouble repair lets it repair the run"
        case _:
            assert_never(policy)


def _memory(memory: "Fit") -> str:
    tensors = f"about {format_bytes(memory.tensor_bytes)} of tensors at the peak"
    if memory.available_bytes is None:
        return tensors
    return (
        f"{tensors}, {format_bytes(memory.available_bytes)} available; enough for batches of up to "
        f"{memory.largest_batch:,}"
    )


def _folder_lines(prepared: "PreparedJob") -> list[str]:
    """What was chosen for a folder of images, and what was skipped in it."""
    from mlpconv.data.folders.check import warnings

    data = prepared.run_data
    lines = [f"  chosen    {data.chosen}"] if data.chosen else []
    if data.loaded_folder is not None:
        lines += [f"            {note}" for note in data.loaded_folder.folder.notes]
        problems = data.loaded_folder.problems
        lines += [f"  skipped   {problem.path}: {problem.reason}" for problem in problems[:5]]
        if len(problems) > 5:
            lines.append(f"            … and {len(problems) - 5:,} more: skipped.csv in the run lists them")
        lines += [f"  warning   {warning}" for warning in warnings(data.loaded_folder)]
    return lines


def train_and_show(execution: "Execution", stop: "Stop", *, quiet: bool) -> bool:
    """Train with a progress bar and a line for each epoch; whether the run came to its end."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from mlpconv.jobs.execute import Resumed
    from mlpconv.training.guard_runner import Repaired
    from mlpconv.training.trainer import EpochEnded, Stopped
    from mlpconv.training.trainer import Progress as Step

    live = has_progress_bars() and not quiet
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TextColumn("{task.fields[text]}"),
        TimeRemainingColumn(compact=True),
    )
    epochs = execution.prepared.recipe.epochs
    with stop, Progress(*columns, console=err(), disable=not live, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task(f"epoch 1/{epochs}", total=None, text="")
        for event in execution:
            match event:
                case Resumed():
                    if not quiet:
                        say(f"resuming from epoch {event.epoch}, step {event.step}")
                case Step():
                    text = (
                        f"loss {event.loss:.3f} train acc {event.accuracy:.3f} {event.images_per_second:,.0f} images/s"
                    )
                    name = f"epoch {event.epoch + 1}/{epochs}"
                    bar.update(task, description=name, completed=event.step, total=event.steps, text=text)
                case EpochEnded():
                    if not quiet:
                        bar.console.file.flush()
                        say(_epoch_line(event, epochs))
                case Repaired(event=met):
                    action = "" if met.action == "ignored" else f"{met.action}: "
                    warn(f"epoch {met.epoch}, step {met.step}: {met.what}; {action}{met.done}")
                case Stopped():
                    return False
    return True


def _epoch_line(event: "EpochEnded", epochs: int) -> str:
    validation = f"validation acc {event.validation.accuracy:.3f}, " if event.validation else ""
    return (
        f"epoch {event.epoch + 1}/{epochs}: loss {event.loss:.3f}, train acc {event.accuracy:.3f}, "
        f"{validation}test acc {event.test.accuracy:.3f}, {event.images_per_second:,.0f} images/s, "
        f"{format_duration(event.seconds + event.evaluation_seconds)}"
    )


def print_result(run: "Run", json: bool) -> None:
    """Print how a finished run ended, and what to do next."""
    result = run.result
    assert result is not None
    if json:
        _print_json_result(run, result)
    else:
        _print_text_result(run, result)


def _print_json_result(run: "Run", result: "Result") -> None:
    from mlpconv.arch.cost import count
    from mlpconv.explain import border
    from mlpconv.runs import evaluation
    from mlpconv.runs.history import validation_accuracies
    from mlpconv.training.ending import ending
    from mlpconv.training.metrics import accuracy_interval

    history, data = run.history, run.config.data
    values = {key: getattr(result, key) for key in RESULT_KEYS}
    values["test_images"] = data.test
    values["test_accuracy_interval"] = accuracy_interval(result.test_accuracy, data.test)
    values["validation_images"] = data.validation
    validated = result.validation_accuracy
    values["validation_accuracy_interval"] = (
        None if validated is None else accuracy_interval(validated, data.validation)
    )
    values["parameters"] = count(run.config.make_network()).parameters
    values["processes"] = run.environment.get("processes", 1)
    values["ended_by"] = ending(run.config.recipe, validation_accuracies(history))
    stored = evaluation.load(run.path, len(data.class_names))
    values["border_evidence"] = border.as_json(border.from_array(stored.border if stored else None), data.class_names)
    repairs = [event for line in history for event in line.get("repairs", ())]
    forecast = run.forecast._asdict() if run.forecast else None
    print_json({"run": str(run.path), **values, "repairs": repairs, "forecast": forecast}, indent=None)


def _print_text_result(run: "Run", result: "Result") -> None:
    from mlpconv.backends.registry import get_backend
    from mlpconv.explain import border
    from mlpconv.runs import evaluation
    from mlpconv.runs.history import validation_accuracies
    from mlpconv.runs.outcome import what_is_wrong
    from mlpconv.training.ending import ending_words
    from mlpconv.training.metrics import accuracy_note

    job = run.config
    # The line of the chapter, unchanged.
    say(f"\nloss {result.loss:.3f}, train acc {result.train_accuracy:.3f}, test acc {result.test_accuracy:.3f}")
    if note := accuracy_note(result.test_accuracy, job.data.test):
        say(f"test acc of {note.strip(' ()')}")
    if result.validation_accuracy is not None:
        note = accuracy_note(result.validation_accuracy, job.data.validation)
        say(
            f"validation acc {result.validation_accuracy:.3f}{note}, in epoch {result.best_epoch}, "
            "whose weights are kept"
        )
    if why := ending_words(job.recipe, validation_accuracies(run.history)):
        say(why)
    if result.repairs:
        times = "once" if result.repairs == 1 else f"{result.repairs} times"
        say(f"the guard intervened {times}; report.html says where")
    device = get_backend(job.backend).describe_device(job.device)
    say(f"{result.examples_per_second:.1f} examples/sec on {device}")
    print_class_accuracy(result.class_accuracy, [sum(row) for row in result.confusion])
    say(
        f"\nin {format_duration(result.seconds)}; {run.path} holds report.html, curves.png, weights, history, "
        "checkpoints"
    )
    stored = evaluation.load(run.path, len(job.data.class_names))
    found = border.from_array(stored.border if stored else None)
    if text := border.warning(found, job.data.class_names):
        warn(f"\n{text}")
    wrong = what_is_wrong(result)
    if wrong:
        explained = " docs/why-nin-collapses.md explains why a class can be lost."
        say(f"\n{wrong}{explained if result.dead_classes is not None else ''}")
        next_steps(*_after_a_collapse(run, result))
        return
    next_steps(
        (f"mlpconv predict {run.path} IMAGE…", "names and probabilities for your own images"),
        (f"mlpconv evaluate {run.path}", "accuracy and confusion on the test set"),
        (f"mlpconv summary {job.recipe.model} --depth layer", "shapes and costs of every layer"),
        (f"mlpconv train --from {run.path} --seed {job.recipe.seed + 1}", "the same with another seed"),
    )


def _after_a_collapse(run: "Run", result: "Result") -> list[tuple[str, str]]:
    """The commands that may give a network that recognizes every class."""
    recipe, again = run.config.recipe, f"mlpconv train --from {run.path}"
    steps = []
    if recipe.on_trouble != "repair":
        steps.append((f"{again} --on-trouble repair", "the same, repaired by the guard"))
    if result.dead_classes is None:  # no class of this network can die
        if recipe.balance < 1:
            steps.append((f"{again} --set balance=1", "the same, with every class shown equally often"))
    elif not recipe.initializer.open_last:
        steps.append((f"{again} --set initializer=open", "the same, from weights with every class open"))
    return [
        *steps,
        (f"{again} --lr {recipe.learning_rate / 10:.2g}", "the same, with a tenth of the learning rate"),
        (f"mlpconv evaluate {run.path}", "accuracy and confusion on the test set"),
    ]


def print_class_accuracy(
    accuracies: dict[str, float | None], images: Sequence[int], title: str = "test accuracy by class"
) -> None:
    """Print the accuracy of each class with a bar, the weakest marked.

    Args:
        accuracies: The accuracy of each class by its name; None without images.
        images: The number of images of each class.
        title: The title.
    """
    from rich.cells import cell_len

    from mlpconv.training.metrics import interval_text

    width = max(cell_len(name) for name in accuracies)
    known = [value for value in accuracies.values() if value is not None]
    lowest = min(known) if len(set(known)) > 1 else None
    pairs = list(zip(accuracies.values(), images, strict=True))
    few = any(value is not None and interval_text(value, count) for value, count in pairs)
    say(f"\n{title}{', with the 95 % interval' if few else ''}:")
    for (name, value), count in zip(accuracies.items(), images, strict=True):
        if value is None:
            text = "no images"
        else:
            text = f"{value:.3f} {'█' * round(20 * value):20}"
            if interval := interval_text(value, count):
                text += f"  {round(value * count)} of {count}, {interval}"
        weakest = "  weakest" if value is not None and value == lowest else ""
        say(f"  {name}{' ' * (width - cell_len(name))}  {text}{weakest}".rstrip())
