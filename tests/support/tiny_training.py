"""A data set and a network so small that a whole run takes a moment."""

import numpy as np

from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    ReLU,
)
from mlpconv.arch.network import Block, Network
from mlpconv.data import ImageDataset, Splits
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe

NAMES = ("across", "down", "plain")
STEPS = 9  # of an epoch: 70 images in batches of 8


def splits(train=70, test=30, channels=1, names=NAMES, seed=0):
    """Images of 6×6 with stripes across, stripes down, or none."""
    draw = np.random.default_rng(seed)

    def dataset(count, part):
        labels = np.arange(count) % 3
        images = draw.integers(0, 120, (count, 6, 6, channels), dtype=np.uint8)
        images[labels == 0, ::2] += 100
        images[labels == 1, :, ::2] += 100
        return ImageDataset(images, labels, names, f"stripes/{part}")

    return Splits(dataset(train, "train"), dataset(test, "test"))


NETWORK = Network(
    Block(conv=Conv2d(8, 3, padding=1), norm=BatchNorm2d(), relu=ReLU()),
    MaxPool2d(2, stride=2),
    Dropout(0.2),
    Block(conv=Conv2d(3, 3, padding=1), relu=ReLU()),
    GlobalAvgPool2d(),
    Flatten(),
    input_size=6,
    name="tiny",
)


def tiny_network(num_classes=3, input_channels=1):
    """A user's function that returns a network: ``support.tiny_training:tiny_network``."""
    layers = {**NETWORK.layers, "block2": Block(conv=Conv2d(num_classes, 3, padding=1), relu=ReLU())}
    return Network.named(layers, input_channels=input_channels, input_size=6, name="tiny")


def network_without_weights(num_classes=3, input_channels=1):
    """Three classes from the brightness of three parts, without weights."""
    return Network(AvgPool2d((2, 6), stride=(2, 6)), Flatten(), input_channels=input_channels, input_size=6)


def fully_connected(num_classes=3, input_channels=1):
    """A network without class maps."""
    return Network(Flatten(), Linear(num_classes), input_channels=input_channels, input_size=6, name="flat")


def recipe(**changes):
    base = {
        "model": "support.tiny_training:tiny_network",
        "data": "stripes",
        "epochs": 3,
        "batch_size": 8,
        "precision": "float32",
        "learning_rate": 0.05,
        "initializer": "open",
        "augmentation": {"flip": True, "shift": 1, "mixup": 0.2},
    }
    return change(get_recipe("study"), base | changes)


def flat_with_hidden(num_classes=3, input_channels=1):
    """A network without class maps, with a layer before its last."""
    layers = (Block(conv=Conv2d(4, 3, padding=1), relu=ReLU()), Flatten(), Linear(num_classes))
    return Network(*layers, input_channels=input_channels, input_size=6, name="flat")


DATA = splits()


def prepared(data=DATA, request=None, **changes):
    """A prepared job. request: fields of the Request; changes: fields of the recipe."""
    return prepare(Request(recipe=recipe(**changes), device="cpu", **(request or {})), data)


def train(out, *, job=None, stop_after=None, **options):
    """Train into ``out``. job: by default ``prepared()``. stop_after: steps in this process. options: ExecuteOptions.

    Returns the run and its events.
    """
    job = job or prepared()
    steps = []

    def stop():
        steps.append(1)
        return stop_after is not None and len(steps) > stop_after

    execution = execute(job, out, ExecuteOptions(**options), should_stop=stop)
    return execution.run, list(execution)


def file_names(directory):
    """The sorted names of the files in a directory."""
    return sorted(path.name for path in directory.iterdir())
