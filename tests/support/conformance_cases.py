"""Networks, images, plans and optimizers that the conformance tests try on every back end."""

import numpy as np

from mlpconv.arch.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    MaxPool2d,
    ReLU,
    ReLU6,
)
from mlpconv.arch.network import Block, Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import StepPlan
from mlpconv.backends.weights import Initializer, initialize
from mlpconv.models import create_model
from mlpconv.optimizers import OPTIMIZER_NAMES, Optimizer
from mlpconv.training.plan import plan_step
from mlpconv.training.recipe import Augmentation, Recipe

SIZES = {
    "nin": 224,
    "nin_imagenet": 224,
    "nin_cifar10": 32,
    "nin_cifar100": 32,
    "nin_svhn": 32,
    "nin_28": 28,
    "nin_32": 32,
    "nin_fast": 28,
    "nin_tiny": 28,
    "nin_96": 96,
    "nin_photo": 65,
    "nin11": 64,
    "nin16": 64,
    "nin19": 64,
    "lenet": 28,
    "alexnet": 96,
    "vgg11": 32,
}
"""Every registered network and the side of its images in the tests."""

GRADIENTS = [name for name in SIZES if name not in ("nin11", "nin16", "nin19", "nin_96", "nin_photo")]
"""Those whose gradients can be compared. In the deep family, rounding decides so many ReLUs that PyTorch's own
gradients in float32 and float64 differ by up to a third; it is made of the layers of nin_28. So it is, less so, in
nin_96 with its fourteen convolutions (0.4 % between PyTorch and MXNet), made of the layers of nin_32, and in
nin_photo."""

OPTIMIZERS = {name: Optimizer(name) for name in OPTIMIZER_NAMES} | {
    "sgd": Optimizer(weight_decay=0.1),
    "momentum": Optimizer(momentum=0.9, weight_decay=0.1),
    "nesterov": Optimizer(momentum=0.9, nesterov=True),
    "adam": Optimizer("adam", eps=1e-4),
    "adamw": Optimizer("adamw", weight_decay=0.5, beta1=0.0, eps=1e-4),
    "muon": Optimizer("muon", momentum=0.9, nesterov=True, weight_decay=0.5),
}
"""Every optimizer, a new one with its defaults; those that need it with settings that do not amplify rounding."""
GRADIENT_LEARNING_RATE = 1024.0
"""The learning rate of a step that shows its gradient: the weights before it minus those after it, divided by this."""


def network(name: str) -> Network:
    return create_model(name, num_classes=7).replace(input_size=SIZES[name])


def without_dropout(network: Network) -> Network:
    def off(layer):
        return Dropout(0.0) if isinstance(layer, Dropout) else layer

    layers = {
        name: Block(**{part: off(inner) for part, inner in layer.layers.items()})
        if isinstance(layer, Block)
        else off(layer)
        for name, layer in network.layers.items()
    }
    return network.replace(layers)


SEEDS = {"nin": 0, "nin_imagenet": 1, "nin_28": 2, "nin_32": 11, "lenet": 0, "alexnet": 0, "vgg11": 0}
"""Seeds of weights at which rounding decides no ReLU and no maximum, where gradients jump."""


def initial_weights(network: Network) -> dict[str, np.ndarray]:
    return initialize(network, Initializer("he"), SEEDS.get(network.name, 2))


def images(network: Network, count: int, side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, side, side, network.input_channels), dtype=np.uint8)


def preprocess(network: Network) -> Preprocess:
    values = {"L": ((0.3,), (0.4,)), "RGB": ((0.5, 0.4, 0.3), (0.2, 0.2, 0.3))}
    mode = "L" if network.input_channels == 1 else "RGB"
    return Preprocess(max(network.input_size), mode=mode, mean=values[mode][0], std=values[mode][1])


def gradient_case(name: str) -> tuple[Network, np.ndarray, np.ndarray, StepPlan]:
    """A network, images at another size than its own where it allows, labels, and one step."""
    net = without_dropout(network(name))
    side = 28 if name == "nin" else SIZES[name]
    # Smaller maps have fewer values that rounding could decide.
    plan = StepPlan(
        np.arange(2),
        112 if name in ("nin", "nin_imagenet") else SIZES[name],
        GRADIENT_LEARNING_RATE,
        0,
        label_smoothing=0.1,
    )
    return net, images(net, 2, side), np.array([1, 5]), plan


SMALL = Network(
    Block(conv=Conv2d(6, 3, padding=1, bias=False), norm=BatchNorm2d(momentum=0.3), relu=ReLU()),
    MaxPool2d(3, stride=2, padding=1),
    Block(conv=Conv2d(5, 3), relu=ReLU()),
    AvgPool2d(2, ceil_mode=True),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=10,
)
SMALL_IMAGES, SMALL_LABELS = images(SMALL, 40, 10), np.arange(40) % 5


DEPTHWISE = Network(
    Block(
        expand=Conv2d(8, 1),
        relu=ReLU6(),
        conv=Conv2d(8, (3, 2), stride=(1, 2), padding=1, bias=False, depthwise=True),
        norm=BatchNorm2d(),
        relu1=ReLU6(),
        mlp1=Conv2d(5, 1),
    ),
    MaxPool2d(2),
    Conv2d(5, 3, stride=2, padding=1, depthwise=True),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=10,
)
"""Images as those of ``SMALL``."""
DEPTHWISE_OPTIMIZERS = ("momentum", "adamw", "muon")


def depthwise_weights() -> dict[str, np.ndarray]:
    """Weights with which both bounds of the first ReLU6 are reached."""
    weights = initial_weights(DEPTHWISE)
    return weights | {"block1.expand.weight": 4 * weights["block1.expand.weight"]}


def small_plans(count: int = 4) -> list[StepPlan]:
    """Steps that use every field of a plan, at two image sizes."""
    draw = np.random.default_rng(2)
    return [
        StepPlan(
            indices=draw.integers(0, 40, 8),
            image_size=(10, 14)[step % 2],
            learning_rate=0.05 / (step + 1),
            dropout_seed=step,
            flip=draw.random(8) < 0.5,
            shift=draw.integers(-2, 3, (8, 2)),
            erase=draw.integers(0, 5, (8, 4)),
            partner=draw.permutation(8),
            mix=0.8,
            label_smoothing=0.1,
            crop=np.concatenate([draw.integers(0, 4, (8, 2)), draw.integers(4, 7, (8, 2))], axis=1),
            color=draw.integers(180, 333, (8, 3)),
            cut=np.array([2, 3, 5, 4]) if step % 2 else None,
        )
        for step in range(count)
    ]


FIFTY_STEPS = Recipe(
    model="lenet",
    epochs=10,
    batch_size=16,
    learning_rate=0.02,
    schedule="one-cycle",
    label_smoothing=0.05,
    seed=5,
    optimizer=Optimizer(momentum=0.9, weight_decay=1e-3),
    augmentation=Augmentation(flip=True, shift=2, erase=4),
)
FIFTY_STEPS_NETWORK = Network(
    Block(conv=Conv2d(12, 5, padding=2), relu=ReLU(), mlp1=Conv2d(12, 1), relu1=ReLU()),
    MaxPool2d(3, stride=2),
    Block(conv=Conv2d(16, 3, padding=1), norm=BatchNorm2d(), relu=ReLU(), mlp1=Conv2d(10, 1)),
    GlobalAvgPool2d(),
    Flatten(),
    input_size=28,
)
FIFTY_STEPS_LABELS = np.arange(80) % 10
FIFTY_STEPS_IMAGES = np.clip(
    images(FIFTY_STEPS_NETWORK, 80, 28) // 2 + (FIFTY_STEPS_LABELS * 12)[:, None, None, None], 0, 255
).astype(np.uint8)


def fifty_step_plans() -> list[StepPlan]:
    """Fifty steps of a recipe whose learning rate rises and falls."""
    plans = [plan_step(FIFTY_STEPS, 80, (28, 28), 28, epoch, step) for epoch in range(10) for step in range(5)]
    assert len({plan.learning_rate for plan in plans}) > 40
    return plans
