"""How faithful class maps are, and what they cost, compared with Grad-CAM on earlier layers, occlusion and chance."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mlpconv.arch.class_maps import until_class_maps
from mlpconv.arch.network import Block
from mlpconv.arch.shapes import layer_shapes
from mlpconv.backends.base import Floats, Images, Labels
from mlpconv.bench import saliency
from mlpconv.data import ImageDataset, load_dataset
from mlpconv.errors import DataError
from mlpconv.inference.classifier import Classifier
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.reports.provenance import HARDWARE_OF_DEVICE, hardware
from mlpconv.runs.run import Run, environment
from mlpconv.studies.summary import summarize
from mlpconv.training.metrics import softmax

MAX_COST = 1.1
"""The gate: the time of class maps relative to plain prediction."""
OURS = "class map"
Progress = Callable[[str], None]


def trained(path: Path, progress: Progress) -> Run:
    """The run in ``path``, or one that is trained there: ``nin_28``, the recipe study for one epoch."""
    if (path / "config.json").exists() and Run(path).result is not None:
        return Run(path)
    progress(f"training nin_28 for an epoch into {path}")
    prepared = prepare(Request(recipe="study", changes={"model": "nin_28", "epochs": 1}))
    execution = execute(prepared, path, ExecuteOptions(resume=(path / "config.json").exists()))
    for _ in execution:
        pass
    return execution.run


def measure(
    run: Run, count: int, steps: int, rounds: int, progress: Progress, *, data: ImageDataset | None = None
) -> dict[str, Any]:
    """Deletion and insertion of ``count`` test images in ``steps`` steps, and time in ``rounds`` rounds.

    The images are by default those of the test set of the run's data set.

    Raises:
        NetworkError: The network has no class maps.
        DataError: There are fewer images.
    """
    classifier = Classifier(run)
    until_class_maps(classifier.stored.network)
    test = data or load_dataset(classifier.stored.data).test
    if count > len(test):
        raise DataError(f"--images {count}: {test.name} has {len(test)}")
    images = test.images[:count]
    classes = classifier.logits(images).argmax(1).astype(np.int64)
    ratio = cost(classifier, images, rounds)
    fill = np.rint(255 * np.array(classifier.stored.preprocess.mean)).astype(np.uint8)
    rows, curves = [], {}
    for name, method in methods(classifier, fill).items():
        times, found = [], np.empty(0, np.float32)
        for _ in range(rounds):
            started = time.perf_counter()
            found = method(images, classes)
            times.append(time.perf_counter() - started)
        deletion, insertion = faithfulness(classifier, images, classes, found, fill, steps)
        curves[name] = {"deletion": deletion.mean(0).tolist(), "insertion": insertion.mean(0).tolist()}
        rows.append(
            {
                "name": name,
                "deletion": deletion.mean(1),
                "insertion": insertion.mean(1),
                "seconds_per_image": median(times) / count,
                "times_prediction": median(times) / count / ratio["prediction_seconds_per_image"],
            }
        )
        progress(
            f"{name}: deletion {deletion.mean():.3f}, insertion {insertion.mean():.3f}, "
            f"{rows[-1]['times_prediction']:.2f} × prediction"
        )
    ours = rows[0]
    arms = [{**row, **{key: _against(row[key], ours[key]) for key in ("deletion", "insertion")}} for row in rows]
    about = environment(classifier.device)
    return {
        "format": 1,
        "run": str(run.path),
        "network": classifier.stored.network.name,
        "data": test.name,
        "images": count,
        "steps": steps,
        "rounds": rounds,
        "cost": ratio,
        "methods": arms,
        "curves": curves,
        "hardware": hardware(about, HARDWARE_OF_DEVICE),
        "precision": run.config.precision,
        "versions": about["versions"],
        "date": about["date"],
        "command": f"mlpconv bench explain --run {run.path} --images {count} --steps {steps} --rounds {rounds}",
    }


def _against(values: Floats, ours: Floats) -> dict[str, float]:
    """The mean over images, and its difference from ours on the same images, each with its 95 % interval."""
    own, apart = summarize(values.tolist()), summarize((values - ours).tolist())
    return {
        "mean": own.mean,
        "low": own.low,
        "high": own.high,
        "difference": apart.mean,
        "difference_low": apart.low,
        "difference_high": apart.high,
    }


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


def methods(classifier: Classifier, fill: Images) -> dict[str, Callable[[Images, Labels], Floats]]:
    """Each method by name, ours first: (images, classes) → float32 (N, H, W)."""

    def class_map(images: Images, classes: Labels) -> Floats:
        maps = classifier.class_maps(images)
        return maps.over_images(maps.before[np.arange(len(images)), classes])

    found: dict[str, Callable[[Images, Labels], Floats]] = {OURS: class_map}
    maps = {row.name.partition(".")[0] for row in layer_shapes(classifier.stored.network) if len(row.output_shape) == 3}
    blocks = [name for name, layer in classifier.stored.network.layers.items() if isinstance(layer, Block)]
    for block in reversed([name for name in blocks if name in maps][:-1]):
        found[f"Grad-CAM, {block}"] = lambda images, classes, block=block: saliency.grad_cam(
            classifier, images, classes, block
        )
    found["occlusion"] = lambda images, classes: saliency.occlusion(classifier, images, classes, fill)
    found["chance"] = lambda images, _: saliency.chance(images)
    return found


def faithfulness(
    classifier: Classifier, images: Images, classes: Labels, saliencies: Floats, fill: Images, steps: int
) -> tuple[Floats, Floats]:
    """Deletion and insertion (Petsiuk et al. 2018, arXiv:1806.07421).

    Returns:
        The probability of each image's class, (N, steps + 1), while pixels are replaced by ``fill``, the most
        informative first (deletion), and while they are put back into a blurred image (insertion). With a faithful
        order the first falls fast and the second rises fast.
    """
    count, height, width = images.shape[:3]
    order = np.argsort(-saliencies.reshape(count, -1), axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(height * width)[None], axis=1)
    rank = rank.reshape(count, height, width, 1)
    blurred = blur(images)
    deletion, insertion = [], []
    for step in range(steps + 1):
        chosen = rank < round(step * height * width / steps)
        for kept, picture in (
            (deletion, np.where(chosen, fill, images)),
            (insertion, np.where(chosen, images, blurred)),
        ):
            chances = softmax(classifier.logits(picture.astype(np.uint8)))
            kept.append(chances[np.arange(count), classes])
    return np.stack(deletion, 1).astype(np.float32), np.stack(insertion, 1).astype(np.float32)


def blur(images: Images) -> Images:
    """Images blurred by a Gaussian whose standard deviation is an eighth of the longer side; edges are extended."""
    sigma = max(images.shape[1:3]) / 8
    matrices = []
    for side in images.shape[1:3]:
        reach = round(3 * sigma)
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        matrix = np.zeros((side, side))
        for row in range(side):
            np.add.at(matrix[row], np.clip(np.arange(row - reach, row + reach + 1), 0, side - 1), kernel / kernel.sum())
        matrices.append(matrix)
    down, across = matrices
    return np.rint(np.einsum("ih,nhwc,jw->nijc", down, images.astype(np.float64), across, optimize=True)).astype(
        np.uint8
    )
