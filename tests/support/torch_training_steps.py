"""Networks, plans and optimizers for the tests of PyTorch, and training steps computed by the reference."""

import numpy as np
import pytest

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Dropout, Flatten, GlobalAvgPool2d, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.arch.shapes import num_classes
from mlpconv.backends import reference
from mlpconv.backends.base import StepPlan
from mlpconv.backends.registry import get_backend
from mlpconv.backends.weights import INITIALIZERS, depthwise_kernels, initialize
from mlpconv.optimizers import OPTIMIZER_NAMES, Optimizer

torch = pytest.importorskip("torch")
F = torch.nn.functional
backend = get_backend("torch")
torch.set_num_threads(1)

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()
COLOR_PREPROCESS = Preprocess(12, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3))
IMAGES = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
LABELS = np.arange(40) % 5
PLAIN = Network(
    Block(conv=Conv2d(6, 3, padding=1, bias=False), norm=BatchNorm2d(momentum=0.3), relu=ReLU()),
    MaxPool2d(3, stride=2, padding=1),
    Block(conv=Conv2d(5, 3), relu=ReLU(), mlp1=Conv2d(5, 1)),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=12,
)
FOLDED = Network(
    Block(conv=Conv2d(6, 9, stride=2), relu=ReLU(), mlp1=Conv2d(5, 1)),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=32,
)
WITH_DROPOUT = Network(
    Block(conv=Conv2d(16, 3, padding=1), norm=BatchNorm2d(), relu=ReLU()),
    Dropout(0.5),
    Block(conv=Conv2d(5, 3)),
    GlobalAvgPool2d(),
    Flatten(),
    input_channels=3,
    input_size=12,
)
OPTIMIZERS = {name: Optimizer(name) for name in OPTIMIZER_NAMES} | {
    "sgd": Optimizer(weight_decay=0.1),
    "momentum": Optimizer(momentum=0.9, weight_decay=0.1),
    "nesterov": Optimizer(momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": Optimizer("adam", eps=1e-4),
    "adamw": Optimizer("adamw", weight_decay=0.5, beta1=0.8, beta2=0.95, eps=1e-4),
}
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_device = pytest.mark.parametrize("device", DEVICES)


def build_model(
    network=PLAIN, optimizer=OPTIMIZERS["momentum"], precision="float32", device="cpu", preprocess=COLOR_PREPROCESS
):
    model = backend.build(network, preprocess, optimizer=optimizer, precision=precision, device=device)
    model.load_weights(initialize(network, INITIALIZERS["xavier"], 3))
    model.attach(IMAGES, LABELS)
    return model


def make_plan(step=0, size=12, count=8, **fields):
    draw = np.random.default_rng([7, step])
    return StepPlan(draw.integers(0, 40, count), size, 0.05 / (step + 1), dropout_seed=step, **fields)


def full_plan(step=0, size=12, count=8):
    """A plan that uses every field."""
    draw = np.random.default_rng([8, step])
    return make_plan(
        step,
        size,
        count,
        flip=draw.random(count) < 0.5,
        shift=draw.integers(-3, 4, (count, 2)),
        erase=np.concatenate([draw.integers(-3, 8, (count, 2)), draw.integers(0, 6, (count, 2))], axis=1),
        partner=draw.permutation(count),
        mix=0.7,
        label_smoothing=0.1,
    )


def assert_equal_tensors(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def reference_steps(network, optimizer, preprocess, plan_list, weights):
    """Weights after some steps, by the reference's formulas and a plain module's gradients; with sums of metrics."""
    state, total, correct = reference.OptimizerState(), 0.0, 0
    for plan in plan_list:
        x, targets = reference.carry_out(plan, IMAGES, LABELS, preprocess, num_classes(network))
        module = backend.native(network, weights).train()
        logits = module(torch.from_numpy(x))
        F.cross_entropy(logits, torch.from_numpy(targets)).backward()
        total += len(x) * reference.loss(logits.detach().numpy(), targets)
        correct += int((logits.detach().numpy().argmax(1) == LABELS[plan.indices]).sum())
        weights = {name: module.state_dict()[name].numpy() for name in weights}
        gradients = {name: parameter.grad.numpy() for name, parameter in module.named_parameters()}
        before = {name: weights[name] for name in gradients}
        kernels = depthwise_kernels(network)
        after, state = reference.update(optimizer, before, gradients, state, plan.learning_rate, kernels)
        weights |= after
    return weights, total, correct
