"""Carry a study of the catalogue out: its data, its runs, its costs, its conclusion."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mlpconv.data import ImageDataset, Splits, load_dataset
from mlpconv.data.dataset import hold_out
from mlpconv.errors import MlpconvError, unknown
from mlpconv.runs.run import Run
from mlpconv.studies import answers, measures, resources, runner
from mlpconv.studies.catalogue import STUDIES, Budget, Study
from mlpconv.studies.runner import Arm
from mlpconv.training.recipe import Recipe, change
from mlpconv.training.recipes import get_recipe

HEADLINE = "test_accuracy"


def find(name: str) -> Study:
    """A study by name. Raises MlpconvError naming the nearest."""
    if name not in STUDIES:
        raise MlpconvError(unknown("study", name, STUDIES))
    return STUDIES[name]


def perform(
    study: Study,
    budget: Budget,
    directory: Path,
    *,
    data: Splits | None = None,
    data_name: str | None = None,
    data_directory: Path | None = None,
    download: Callable[[str, int, int], None] | None = None,
    backend: str = "torch",
    device: str | None = None,
    progress: Callable[[str], None] = lambda line: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """A study's result, plain values: the runner's, and of each arm ``mean``, ``low``, ``high`` of the test accuracy,
    what it costs, and in words what the numbers allow to be said.

    data, data_name: instead of the recipe's data set, of which ``budget`` takes a part. What is over in ``directory``
    is taken as it is. Raises MlpconvErrors for what cannot be carried out.
    """
    recipe = base(study, budget)
    recipe = change(recipe, {"data": data_name}) if data_name else recipe
    seeds = range(budget.seeds)
    if study.kind == "resources":
        result = resources.study(
            study, recipe, seeds, directory, device=device, progress=progress, should_stop=should_stop
        )
    else:
        whole = data or load_dataset(recipe.data, directory=data_directory, progress=download)
        images = part(whole, budget)
        result = runner.study(
            study.name,
            recipe,
            arms(study, budget),
            seeds,
            directory,
            measure=lambda run: measures.measure(run, images, study.extra),
            progress=progress,
            data=images,
            backend=backend,
            device=device,
            should_stop=should_stop,
        )
        for arm in result["arms"]:
            arm |= _totals(arm, directory)
    result |= {
        "question": study.question,
        "about": study.about,
        "kind": study.kind,
        "columns": dict(study.columns),
        "recipe": study.recipe,
        "budget": budget._asdict(),
    }
    comparisons = answers.compare(result, study.pairs, HEADLINE)
    result["comparisons"] = [each._asdict() for each in comparisons]
    result["conclusion"] = conclusion(result, study, comparisons)
    return result


def base(study: Study, budget: Budget) -> Recipe:
    """The recipe that all arms of a study change."""
    # A study shows what happens: nothing is repaired in it, but where an arm says so.
    changes = {"epochs": budget.epochs, "image_size": budget.image_size, "on_trouble": "ignore", **study.base}
    if budget.batch_size is not None:
        changes["batch_size"] = budget.batch_size
    return change(get_recipe(study.recipe), changes)


def arms(study: Study, budget: Budget) -> list[Arm]:
    """The arms with the image size that the budget says: another model would drop it."""
    return [arm._replace(changes={"image_size": budget.image_size, **arm.changes}) for arm in study.arms]


def part(data: Splits, budget: Budget) -> Splits:
    """As many images as the budget says, each class in proportion, the same ones at every call."""

    def some(dataset: ImageDataset, count: int | None, kind: str) -> ImageDataset:
        if count is None or count >= len(dataset):
            return dataset
        _, chosen = hold_out(dataset, count, seed=0)
        stem = dataset.name.removesuffix(f"/{kind}")
        return ImageDataset(chosen.images, chosen.labels, chosen.class_names, f"{stem}-{count}/{kind}")

    return Splits(some(data.train, budget.images, "train"), some(data.test, budget.test_images, "test"))


def _totals(arm: dict[str, Any], directory: Path) -> dict[str, Any]:
    """The headline's mean and interval, None where no seed is over, and what the arm costs."""
    found: dict[str, Any] = {key: arm["summary"].get(HEADLINE, {}).get(key) for key in ("mean", "low", "high")}
    found |= {"parameters": None, "flops": None, "training_memory_bytes": None, "seconds": None}
    if arm["seeds"]:
        config = Run(directory / arm["name"] / f"seed-{arm['seeds'][0]['seed']}").config
        found |= measures.costs(config.make_network(), config)
        # The median: a run that something else disturbed does not count.
        found["seconds"] = arm["summary"].get("seconds", {}).get("median")
    return found


def conclusion(result: dict[str, Any], study: Study, comparisons: Sequence[answers.Comparison]) -> list[str]:
    """What the numbers allow to be said, a sentence each."""
    if study.kind == "resources":
        return resources.sentences(result)
    said = answers.outcomes(result)
    if study.kind == "map":
        said += answers.best(result, HEADLINE, "test accuracy")
    said += answers.sentences(result, comparisons, "test accuracy")
    for key, title in study.columns.items():
        if key in study.only_shown:
            continue
        tests = answers.compare(result, study.pairs, key)
        told = [each for each in tests if answers.verdict(each) != "not told apart"]
        for each in told:
            said.append(
                f"{title[0].upper()}{title[1:]}: {each.arm} is {answers.verdict(each)} than {each.other} "
                f"({each.difference:+.3g}, 95 % interval {each.low:+.3g} to {each.high:+.3g}, "
                f"{answers.chance(each.adjusted)})."
            )
        if tests and not told:
            said.append(f"{title[0].upper()}{title[1:]}: no two of the arms compared can be told apart.")
    return said
