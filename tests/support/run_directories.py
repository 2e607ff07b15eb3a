"""Run directories as training leaves them, of every form that a report has to support, without a training."""

import json
from pathlib import Path

import numpy as np

from mlpconv.arch.preprocess import Preprocess
from mlpconv.data import ImageDataset
from mlpconv.models import create_model
from mlpconv.runs import evaluation as mistakes
from mlpconv.runs.history import best_epoch
from mlpconv.runs.job import DataInfo, Job
from mlpconv.runs.run import Result, Run
from mlpconv.training.forecast import Forecast
from mlpconv.training.metrics import evaluate
from mlpconv.training.recipe import Recipe

CLASS_NAMES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


def random_evaluation(names=CLASS_NAMES, *, images=200, channels=1, side=28, right=0.8, never=(), seed=0):
    """A test set of noise, and the evaluation of a network on it.

    right: the share of images that are classified correctly. never: classes that are never predicted.
    """
    draw = np.random.default_rng(seed)
    labels = np.arange(images, dtype=np.int64) % len(names)
    dataset = ImageDataset(draw.integers(0, 256, (images, side, side, channels), np.uint8), labels, names, "noise/test")
    logits = draw.normal(0, 0.5, (images, len(names))).astype(np.float32)
    guesses = np.where(draw.random(images) < right, labels, draw.integers(0, len(names), images))
    logits[np.arange(images), guesses] += draw.uniform(3, 8, images).astype(np.float32)
    logits[:, list(never)] = -20
    return dataset, evaluate(logits, labels)


def make_run(
    path,
    names=CLASS_NAMES,
    *,
    epochs=3,
    done=None,
    finished=True,
    pictures=True,
    skipped=0,
    forecast=True,
    recipe=None,
    validation=(),
    **more,
):
    """A run directory; ``more`` goes to ``random_evaluation``. done: finished epochs, by default all. validation: the
    validation accuracy, of 40 images, after each epoch; test accuracies of epochs without the best one are lower."""
    done = epochs if done is None else done
    dataset, evaluation = random_evaluation(names, **more)
    height, width, channels = dataset.image_shape
    network = create_model("nin_28", len(names), channels)
    grey = channels == 1
    config = Job(
        recipe_name="quick",
        recipe=recipe or Recipe(model="nin_28", data="noise", epochs=epochs),
        network=network.to_dict(),
        preprocess=Preprocess(
            28, "L" if grey else "RGB", mean=(0.0,) * channels, std=(1.0,) * channels, source_size=(height, width)
        ),
        data=DataInfo("noise", tuple(names), 1000, len(dataset), "ab" * 32, 0.1, 40 if validation else 0),
        backend="torch",
        device="cpu",
        precision="float32",
    )
    run = Run.create(Path(path), config, "cpu (a processor, 2 threads)")
    by_class = {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(names, evaluation.class_accuracy, strict=True)
    }
    history = [
        {
            "epoch": epoch + 1,
            "loss": 1.5 / (epoch + 1),
            "train_accuracy": 1 - 0.5 / (epoch + 1),
            "test_loss": evaluation.loss,
            "test_accuracy": evaluation.accuracy,
            "class_accuracy": by_class,
            "learning_rate": 0.1,
            "image_size": 28,
            "skipped": skipped if epoch == 0 else 0,
            "curve": [[epoch + k / 5, 1.5 / (epoch + k / 5), 1 - 0.5 / (epoch + k / 5 + 0.2)] for k in range(1, 6)],
            "seconds": 10.0,
            "evaluation_seconds": 1.0,
            "examples_per_second": 1234.5,
        }
        for epoch in range(done)
    ]
    for line, accuracy in zip(history, validation, strict=False):
        line |= {"validation_accuracy": accuracy, "validation_loss": 0.7}
        if accuracy < max(validation):
            line["test_accuracy"] *= 0.9
    run.write_history(history)
    if forecast:
        run.write_forecast(Forecast(30.0, 1300.0))
    if pictures and done:
        mistakes.save(run.path, mistakes.to_store(done, evaluation, dataset))
    if finished:
        last, best = history[-1], history[best_epoch(history) - 1]
        run.write_result(
            Result(
                last["loss"],
                last["train_accuracy"],
                best["test_accuracy"],
                best["test_loss"],
                1234.5,
                33.0,
                done,
                by_class,
                evaluation.confusion.tolist(),
                500 * 2**20,
                best_epoch=best["epoch"] if validation else None,
                validation_accuracy=best.get("validation_accuracy"),
            )
        )
    return run


def change_environment(run, **changes):
    """Change values in environment.json."""
    path = run.path / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
