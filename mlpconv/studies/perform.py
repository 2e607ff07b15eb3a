"""Run a study of the catalogue: its data, its runs, its costs, its conclusion."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlpconv.arch.class_maps import last_map, smallest_side
from mlpconv.arch.network import Network
from mlpconv.arch.shapes import show
from mlpconv.data import ImageDataset, Splits
from mlpconv.data.dataset import hold_out
from mlpconv.errors import MlpconvError, unknown
from mlpconv.jobs.run_data import load_run_data
from mlpconv.models import create_model
from mlpconv.studies import answers, measures, resources, runner
from mlpconv.studies.catalogue import STUDIES, Budget, Study
from mlpconv.studies.runner import DEFAULT_OPTIONS, Arm, ReadyArm, StudyOptions
from mlpconv.training.recipe import Recipe, change
from mlpconv.training.recipes import get_recipe

HEADLINE = "test_accuracy"
"""The measure by which every study compares its arms."""


def find(name: str) -> Study:
    """A study by its name.

    Raises:
        MlpconvError: There is no such study; the message names the nearest.
    """
    if name not in STUDIES:
        raise MlpconvError(unknown("study", name, STUDIES))
    return STUDIES[name]


class StudyData(NamedTuple):
    """The data set of a study."""

    name: str | None = None
    """Its name, or a folder of images; None is that of the study's recipe."""
    directory: Path | None = None
    """The directory with its files; None is where it is installed or cached."""
    download: Callable[[str, int, int], None] | None = None
    """Called with the progress of a download."""


DEFAULT_DATA = StudyData()


def perform(
    study: Study,
    budget: Budget,
    directory: Path,
    data: Splits | StudyData = DEFAULT_DATA,
    options: StudyOptions = DEFAULT_OPTIONS,
) -> dict[str, Any]:
    """Run a study.

    Args:
        study: The study.
        budget: Its size.
        directory: The directory for the runs; finished runs there are reused.
        data: The images, or where to find them; the budget uses a part of them.
        options: Back end and device, what to call with the progress, when to stop, and the earlier result.

    Returns:
        Plain values: the runner's result, the ``mean``, ``low`` and ``high`` of each arm's test accuracy, its costs and
        last map, and the conclusion in sentences.

    Raises:
        MlpconvError: The study cannot be run, or the maps of an arm are too small for its question.
    """
    if study.kind == "resources":
        result = resources.study(study, _recipe(study, budget, data), range(budget.seeds), directory, options)
    else:
        made = prepare_arms(study, budget, data, options)
        for each in made:
            _check_last_map(study, each)
        result = runner.study(
            study.name,
            made,
            budget.seeds,
            directory,
            options,
            measure=lambda run, images: measures.measure(run, images, study.extra),
            train=None if options.workers is None else _by_workers(study, budget, directory, data, options),
        )
        for arm, each in zip(result["arms"], made, strict=True):
            arm |= _totals(arm, each)
    result |= {
        "kind": study.kind,
        "columns": dict(study.columns),
        "recipe": study.recipe,
        "budget": budget._asdict(),
    }
    conclude(result, study)
    return result


def conclude(result: dict[str, Any], study: Study) -> None:
    """Write a study's question, notes, comparisons and conclusion into its result."""
    comparisons = answers.compare(result, study.pairs, HEADLINE)
    result |= {
        "question": study.question,
        "about": study.about,
        "comparisons": [each._asdict() for each in comparisons],
        "conclusion": conclusion(result, study, comparisons),
    }


def prepare_arms(
    study: Study, budget: Budget, data: Splits | StudyData = DEFAULT_DATA, options: StudyOptions = DEFAULT_OPTIONS
) -> list[ReadyArm]:
    """The arms of a study with their images and jobs; arguments and errors as for ``perform``."""
    recipe = _recipe(study, budget, data)
    images = _load(recipe, data) if isinstance(data, StudyData) else data
    return runner.ready(recipe, arms(study, budget), _parts(images, budget), options)


def _recipe(study: Study, budget: Budget, data: Splits | StudyData) -> Recipe:
    recipe = base(study, budget)
    return change(recipe, {"data": data.name}) if isinstance(data, StudyData) and data.name else recipe


def _by_workers(
    study: Study, budget: Budget, directory: Path, data: Splits | StudyData, options: StudyOptions
) -> runner.Train:
    """Train runs by the workers of ``options``."""
    from mlpconv.studies.distributed import Place, train_by_workers

    workers = options.workers
    assert workers is not None
    if not isinstance(data, StudyData):
        raise MlpconvError("study: workers load the images themselves; give a name or a folder, not arrays")
    place = Place(study.name, budget, data.name, data.directory, options.backend, options.device)
    return lambda runs: train_by_workers(workers, place, runs, directory, options.should_stop)


def _load(recipe: Recipe, data: StudyData) -> Splits:
    loaded = load_run_data(recipe, directory=data.directory, progress=data.download)
    if loaded.loaded_folder is None:
        return loaded.splits
    # Results name a folder as the user does, not where it is on this machine.
    name = Path(loaded.name).name
    parts = zip(loaded.splits, ("train", "test"), strict=True)
    return Splits(*(ImageDataset(each.images, each.labels, each.class_names, f"{name}/{part}") for each, part in parts))


def base(study: Study, budget: Budget) -> Recipe:
    """The recipe that all arms of a study change."""
    # A study shows what happens, so nothing is repaired unless an arm asks for it. It trains in the fastest precision.
    fixed = {"on_trouble": "ignore", "precision": None}
    changes = {"epochs": budget.epochs, "image_size": budget.image_size, **fixed, **study.base}
    if budget.batch_size is not None:
        changes["batch_size"] = budget.batch_size
    return change(get_recipe(study.recipe), changes)


def arms(study: Study, budget: Budget) -> list[Arm]:
    """The arms with the budget's image size, which a change of the model would drop."""
    return [arm._replace(changes={"image_size": budget.image_size, **arm.changes}) for arm in study.arms]


def part(data: Splits, budget: Budget) -> Splits:
    """The budget's number of images, in proportion to the classes, the same ones at every call."""

    def some(dataset: ImageDataset, count: int | None, split: str) -> ImageDataset:
        if count is None or count >= len(dataset):
            return dataset
        _, chosen = hold_out(dataset, count, seed=0)
        stem = dataset.name.removesuffix(f"/{split}")
        return ImageDataset(chosen.images, chosen.labels, chosen.class_names, f"{stem}-{count}/{split}")

    return Splits(some(data.train, budget.images, "train"), some(data.test, budget.test_images, "test"))


def _parts(data: Splits, budget: Budget) -> Callable[[Arm], Splits]:
    """From an arm to its images; arms with as many images share them."""
    made: dict[int | None, Splits] = {}

    def images(arm: Arm) -> Splits:
        count = budget.images if arm.images is None else arm.images
        if count not in made:
            made[count] = part(data, budget._replace(images=count))
        return made[count]

    return images


def _check_last_map(study: Study, made: ReadyArm) -> None:
    """Refuse an arm whose maps are too small for the question."""
    network = made.prepared.network
    side = last_map(network)
    if side is None or min(side) >= study.least_map:
        return
    enough = smallest_side(network, study.least_map)
    remedy = f"; --image-size {enough} gives larger ones" if enough else ""
    raise MlpconvError(
        f"study {study.name}: with images of {show(network.input_size)}, the last map of the arm {made.arm.name} is "
        f"{show(side)}, and on fewer than {show((study.least_map, study.least_map))} positions the question has no "
        f"meaning{remedy}"
    )


def _totals(arm: dict[str, Any], made: ReadyArm) -> dict[str, Any]:
    """The mean and interval of ``HEADLINE``, None if no seed is finished, and the costs and last map of the arm."""
    found: dict[str, Any] = {key: arm["summary"].get(HEADLINE, {}).get(key) for key in ("mean", "low", "high")}
    network = made.prepared.network
    found |= measures.costs(network, made.prepared.job)
    # The median, as other programs may slow down single runs.
    found["seconds"] = arm["summary"].get("seconds", {}).get("median")
    return found | {"last_map": last_map(network)}


def arm_network(result: dict[str, Any], arm: dict[str, Any]) -> Network:
    """The network of an arm of a result, at the size of its images."""
    recipe = change(base(find(result["study"]), Budget(**result["budget"])), arm["changes"])
    side = recipe.image_size or result["budget"]["image_size"]
    return create_model(recipe.model).replace(input_size=(side, side))


def conclusion(result: dict[str, Any], study: Study, comparisons: Sequence[answers.Comparison]) -> list[str]:
    """The conclusions from the numbers, a sentence each."""
    if study.kind == "resources":
        return resources.sentences(result)
    lines = _findings(result, study, comparisons)
    single = [arm["name"] for arm in result["arms"] if min(arm.get("last_map") or (2,)) == 1]
    if not single:
        return lines
    # No sentence may be read without its condition.
    whose = "" if len(single) == len(result["arms"]) else f" of {', '.join(single)}"
    return [f"{line.removesuffix('.')}; last map{whose}: 1×1." for line in lines]


def _findings(result: dict[str, Any], study: Study, comparisons: Sequence[answers.Comparison]) -> list[str]:
    lines = answers.outcomes(result)
    if study.kind == "map":
        lines += answers.best(result, HEADLINE, "test accuracy")
    lines += answers.sentences(result, comparisons, "test accuracy")
    lines += answers.among_learners(result, comparisons, HEADLINE, "test accuracy")
    for key, title in study.columns.items():
        if key in study.only_shown:
            continue
        tests = answers.compare(result, study.pairs, key)
        different = [each for each in tests if answers.verdict(each) != "not distinguished"]
        for each in different:
            lines.append(
                f"{title[0].upper()}{title[1:]}: {each.arm} is {answers.verdict(each)} than {each.other} "
                f"({each.difference:+.3g}, 95 % interval {each.low:+.3g} to {each.high:+.3g}, "
                f"{answers.chance(each.adjusted)})."
            )
        if tests and not different:
            lines.append(f"{title[0].upper()}{title[1:]}: no two of the arms compared can be distinguished.")
    return lines
