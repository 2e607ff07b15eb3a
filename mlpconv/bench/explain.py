"""Tests of class maps, each against Grad-CAM on earlier layers, occlusion and chance, and what class maps cost.

Four tests, which a method can fail: ``explain_road`` (removed pixels), ``explain_weights`` (random weights),
``explain_places`` (a planted shortcut, and objects in a mosaic).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.backends.base import Floats, Images
from mlpconv.backends.registry import get_backend
from mlpconv.bench import explain_places as places
from mlpconv.bench import recipe as recipes
from mlpconv.bench.explain_road import SHARES, road
from mlpconv.bench.explain_weights import MAX_CORRELATION, correlations
from mlpconv.bench.saliency import OURS, View, methods
from mlpconv.data import ImageDataset, load_dataset
from mlpconv.errors import BenchmarkFailed, DataError, TrainingFailed
from mlpconv.inference.classifier import Classifier
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.jobs.run_data import reload_run_data
from mlpconv.reports.provenance import HARDWARE_OF_DEVICE, hardware
from mlpconv.runs.run import Run, environment
from mlpconv.studies.summary import Summary, summarize
from mlpconv.training.recipes import get_recipe

MAX_COST = 1.1
"""The gate: the time of class maps relative to plain prediction."""
FEWER = 8
"""Random weights and mosaics, which need many maps, are measured on this fraction of the images."""
POOL = 5
"""The shortcut and the mosaics choose from this number of times the images."""
MARKED_CLASS = 0
"""The class whose training images have the marker."""
Progress = Callable[[str], None]


class Budget(NamedTuple):
    """How much is measured."""

    images: int = 200
    rounds: int = 5
    """Rounds in which the cost of class maps is timed."""


def train_marked(recipe: str, seed: int, runs: Path, progress: Progress) -> Run:
    """The run in ``runs`` of a recipe whose data set has the marker in one class; it is trained if it is not finished.

    Raises:
        BenchmarkFailed: The training failed.
    """
    path = runs / f"{Path(recipe).stem}-marked-seed-{seed}"
    if recipes.finished(path):
        return Run(path)
    progress(f"training {recipe} with a marker in one class, seed {seed}, into {path}")
    data = places.with_shortcut(load_dataset(get_recipe(recipe).data), MARKED_CLASS, seed)
    prepared = prepare(Request(recipe=recipe, changes={"seed": seed}), data)
    execution = execute(prepared, path, ExecuteOptions(resume=(path / "config.json").exists()))
    try:
        for _ in execution:
            pass
    except TrainingFailed as error:
        raise BenchmarkFailed(f"{recipe} with a marker in one class, seed {seed}: {error}") from None
    return execution.run


def measure(
    runs: Sequence[Run],
    marked: Sequence[Run],
    budget: Budget,
    progress: Progress,
    *,
    data: ImageDataset | None = None,
    marked_data: ImageDataset | None = None,
) -> dict[str, Any]:
    """Carry out all tests.

    Args:
        runs: Runs of one network with different seeds, or one run.
        marked: Runs whose training images of class ``MARKED_CLASS`` had the marker, and no others.
        budget: How much to measure.
        progress: Called with a line for each test and run.
        data: The test images of ``runs``; by default those of the data set that the first was trained on.
        marked_data: The test images of ``marked``, without the marker; by default likewise.

    Raises:
        NetworkError: A network has no class maps.
        DataError: There are fewer images or classes than needed.
    """
    views, marked_views = ([View(open_classifier(run)) for run in each] for each in (runs, marked))
    first, misled = views[0].classifier, marked_views[0].classifier
    test = data or reload_run_data(first).dataset
    if budget.images > len(test):
        raise DataError(f"--images {budget.images}: {test.name} has {len(test)}")
    if test.num_classes < 4:
        raise DataError(f"{test.name}: has {test.num_classes} classes; a mosaic of four classes needs four or more")
    marked_test = marked_data or load_dataset(misled.stored.data.removesuffix(places.SUFFIX)).test
    ratio = cost(first, test.images[: budget.images], budget.rounds)
    road_result, seconds = measure_road(views, test, budget.images, progress)
    about = environment(first.device)
    return {
        "format": 2,
        "runs": [str(run.path) for run in runs],
        "network": first.stored.network.name,
        "data": test.name,
        "images": budget.images,
        "map_size": _map_size(first, test.images[:1]),
        "cost": ratio,
        "seconds": [
            {"name": name, "seconds_per_image": each, "times_prediction": each / ratio["prediction_seconds_per_image"]}
            for name, each in seconds.items()
        ],
        "road": road_result,
        "weights": measure_weights(views, test, max(budget.images // FEWER, 2), progress),
        "mosaics": measure_mosaics(views, test, budget.images, progress),
        "shortcut": measure_shortcut(marked_views, marked_test, budget.images, progress),
        "hardware": hardware(about, HARDWARE_OF_DEVICE),
        "precision": runs[0].config.precision,
        "versions": about["versions"],
        "date": about["date"],
    }


def open_classifier(run: Run) -> Classifier:
    """The network of a run. Raises NetworkError if it has no class maps."""
    classifier = Classifier(run, backend="torch")  # Grad-CAM needs its gradients
    until_class_maps(classifier.stored.network)
    return classifier


def _map_size(classifier: Classifier, images: Images) -> list[int]:
    return list(classifier.class_maps(images).before.shape[2:])


def statistic(values: Floats, ours: Floats | None = None, *, better: int = 1) -> dict[str, Any]:
    """A mean with its 95 % interval, and how class maps compare with it.

    The value of an image is the mean over the runs in which it counts; intervals are over images, by Student's t. Class
    maps are better or worse if the interval of the difference on the same images does not contain 0 and every run
    agrees.

    Args:
        values: (runs, images); not a number where an image does not count for a run.
        ours: The values of class maps, which count for the same images; None if these are ``values``.
        better: 1 if more is better, −1 if less is.
    """
    summary = _over_images(values)
    found: dict[str, Any] = {
        "mean": summary.mean, "low": summary.low, "high": summary.high, "runs": _over_runs(values),
        "difference": None, "verdict": None,
    }  # fmt: skip
    if ours is not None:
        apart = _over_images(values - ours)
        gains = [-better * each for each in (apart.low, apart.high, *_over_runs(values - ours))]
        verdict = "better" if min(gains) > 0 else "worse" if max(gains) < 0 else "open"
        found |= {"difference": {"mean": apart.mean, "low": apart.low, "high": apart.high}, "verdict": verdict}
    return found


def _over_images(values: Floats) -> Summary:
    counted = values[:, ~np.isnan(values).all(0)].astype(np.float64)
    return summarize(np.nanmean(counted, 0).tolist())


def _over_runs(values: Floats) -> list[float]:
    return [float(np.nanmean(row)) for row in values.astype(np.float64) if not np.isnan(row).all()]


def _compared(values: Mapping[str, Mapping[str, Floats]], better: Mapping[str, int]) -> list[dict[str, Any]]:
    """For each method its name and the statistics of each measure in ``better``."""
    return [
        {"name": name}
        | {
            key: statistic(measured[key], None if name == OURS else values[OURS][key], better=sign)
            for key, sign in better.items()
        }
        for name, measured in values.items()
    ]


def cost(classifier: Classifier, images: Images, rounds: int) -> dict[str, Any]:
    """The seconds per image of plain prediction and of class maps with logits: medians of alternating rounds."""
    times: dict[str, list[float]] = {"logits": [], "class_maps": []}
    for turn in range(rounds + 1):
        for name, seconds in times.items():
            started = time.perf_counter()
            getattr(classifier.model, name)(images)
            if turn:  # the first prepares
                seconds.append(time.perf_counter() - started)
    prediction, maps = (median(seconds) / len(images) for seconds in times.values())
    return {
        "prediction_seconds_per_image": prediction,
        "class_maps_seconds_per_image": maps,
        "ratio": maps / prediction,
        "bound": MAX_COST,
        "passed": maps <= MAX_COST * prediction,
    }


def measure_road(
    views: Sequence[View], test: ImageDataset, count: int, progress: Progress
) -> tuple[dict[str, Any], dict[str, float]]:
    """Accuracy while pixels are imputed, and the seconds that each method takes for an image: see ``explain_road``.

    The map is that of the predicted class. ``morf`` and ``lerf`` of an image are means over ``SHARES``; ``gap`` is
    their difference, which is larger for a better order.
    """
    images, labels = test.images[:count], test.labels[:count]
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    seconds: dict[str, list[float]] = {}
    whole = []
    for index, view in enumerate(views):
        classes = view.logits(images).argmax(1).astype(np.int64)
        whole.append(float(np.mean(classes == labels)))
        for name, method in methods(view.classifier.stored.network).items():
            started = time.perf_counter()
            maps = method(view, images, classes[:, None])[:, 0]
            seconds.setdefault(name, []).append((time.perf_counter() - started) / count)
            found.setdefault(name, []).append(road(view, images, labels, maps, seed=index))
            lines = [
                f"{label} {each.mean():.3f}" for label, each in zip(("MoRF", "LeRF"), found[name][-1], strict=True)
            ]
            progress(f"ROAD, run {index + 1} of {len(views)}, {name}: accuracy {', '.join(lines)}")
    values = {
        name: dict(zip(("morf", "lerf"), (np.stack(each) for each in zip(*pairs, strict=True)), strict=True))
        for name, pairs in found.items()
    }
    areas = {
        name: {key: each.mean(2) for key, each in pair.items()} | {"gap": (pair["lerf"] - pair["morf"]).mean(2)}
        for name, pair in values.items()
    }
    result = {
        "shares": list(SHARES),
        "accuracy": float(np.mean(whole)),
        "methods": _compared(areas, {"morf": -1, "lerf": 1, "gap": 1}),
        "curves": {
            name: {key: each.mean((0, 1)).tolist() for key, each in pair.items()} for name, pair in values.items()
        },
    }
    return result, {name: median(each) for name, each in seconds.items()}


def measure_weights(views: Sequence[View], test: ImageDataset, count: int, progress: Progress) -> dict[str, Any]:
    """The rank correlation of maps with those of the network with random weights: see ``explain_weights``.

    A method passes if, with all blocks randomized, the 95 % interval of its mean is below ``MAX_CORRELATION``.
    """
    images, biases = test.images[:count], get_backend("torch").framework_biases
    blocks: list[str] = []
    found: dict[str, list[Floats]] = {}
    for index, view in enumerate(views):
        classes = view.logits(images).argmax(1).astype(np.int64)
        blocks, measured = correlations(view, methods(view.classifier.stored.network), images, classes, index, biases)
        for name, each in measured.items():
            found.setdefault(name, []).append(each)
        progress(
            f"random weights, run {index + 1} of {len(views)}: "
            + ", ".join(f"{name} {each[-1].mean():+.2f}" for name, each in measured.items())
        )
    values = {name: np.stack(each, 1) for name, each in found.items()}
    rows = []
    for name, each in values.items():
        steps = [{"block": block, **statistic(step)} for block, step in zip(blocks, each, strict=True)]
        rows.append({"name": name, "steps": steps, "passed": steps[-1]["high"] < MAX_CORRELATION})
    return {"images": count, "bound": MAX_CORRELATION, "blocks": blocks, "methods": rows}


def measure_mosaics(views: Sequence[View], test: ImageDataset, count: int, progress: Progress) -> dict[str, Any]:
    """Mosaics of four images that every run classifies correctly: see ``explain_places.quadrant_scores``."""
    pool = test.subset(range(min(POOL * count, len(test))))
    right = np.all([view.logits(pool.images).argmax(1) == pool.labels for view in views], 0)
    if len(np.unique(pool.labels[right])) < 4:
        raise DataError(
            f"{test.name}: of fewer than four classes every run classifies an image correctly; train longer"
        )
    number = max(count // FEWER, 2)
    images, labels = places.mosaics(pool.images[right], pool.labels[right], number, seed=0)
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    size: list[int] = []
    for index, view in enumerate(View(view.classifier, dense=True) for view in views):
        size = list(view.classifier.class_maps(images[:1], dense=True).before.shape[2:])
        for name, method in methods(view.classifier.stored.network).items():
            found.setdefault(name, []).append(places.quadrant_scores(method(view, images, labels)))
            hit, share = (each.mean() for each in found[name][-1])
            progress(f"mosaics, run {index + 1} of {len(views)}, {name}: quadrant {hit:.3f}, share {share:.3f}")
    return {"mosaics": number, "map_size": size, "chance": 0.25, "methods": _compared(_pairs(found), _PLACES)}


_PLACES = {"hit": 1, "energy": 1}


def _pairs(found: Mapping[str, Sequence[tuple[Floats, Floats]]]) -> dict[str, dict[str, Floats]]:
    """The values of all runs, (runs, images), of each measure in ``_PLACES``."""
    return {
        name: {key: np.stack([pair[place] for pair in pairs]) for place, key in enumerate(_PLACES)}
        for name, pairs in found.items()
    }


def measure_shortcut(views: Sequence[View], test: ImageDataset, count: int, progress: Progress) -> dict[str, Any]:
    """Whether the map of the marked class finds the marker in images that it misleads: see ``explain_places``.

    These are test images of other classes that a run classifies correctly without the marker, and as the marked class
    with it; at most ``count`` for each run. ``methods`` is empty if there are fewer than two.
    """
    first = views[0].classifier
    others = test.subset(np.flatnonzero(test.labels != MARKED_CLASS)[: POOL * count])
    marked, inside = places.plant(others.images, seed=0)
    near = places.enlarge(inside)
    found: dict[str, list[tuple[Floats, Floats]]] = {}
    misled_shares, all_chosen = [], np.zeros(len(others), bool)
    for index, view in enumerate(views):
        right = view.logits(others.images).argmax(1) == others.labels
        misled = np.flatnonzero(right & (view.logits(marked).argmax(1) == MARKED_CLASS))
        misled_shares.append(len(misled) / max(int(right.sum()), 1))
        chosen = misled[:count]
        all_chosen[chosen] = True
        for name, method in methods(view.classifier.stored.network).items():
            scores = np.full((2, len(others)), np.nan, np.float32)
            if len(chosen):
                maps = method(view, marked[chosen], np.full((len(chosen), 1), MARKED_CLASS))[:, 0]
                scores[:, chosen] = places.hits(maps, near[chosen]), places.energy(maps, near[chosen])
            found.setdefault(name, []).append((scores[0], scores[1]))
        progress(f"shortcut, run {index + 1} of {len(views)}: {misled_shares[-1]:.1%} of the images are misled")
    return {
        "runs": [str(view.classifier.path) for view in views],
        "network": first.stored.network.name,
        "data": test.name,
        "map_size": _map_size(first, marked[:1]),
        "class": test.class_names[MARKED_CLASS],
        "marker": places.MARKER,
        "tolerance": places.TOLERANCE,
        "misled": misled_shares,
        "images": int(all_chosen.sum()),
        "chance": float(near[all_chosen].mean()) if all_chosen.any() else None,
        "methods": _compared(_pairs(found), _PLACES) if all_chosen.sum() > 1 else [],
    }
