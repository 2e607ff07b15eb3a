"""The folded first convolution against the plain one: the same training, whatever follows it."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU, Sigmoid
from mlpconv.arch.network import Block, Network, Preprocess
from mlpconv.backends.base import StepPlan
from mlpconv.backends.common.resize_folding import can_fold
from mlpconv.backends.pytorch import model as torch_model
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.models import create_model
from mlpconv.optimizers import Optimizer
from support.random_values import random_weights
from support.torch_training_steps import (
    COLOR_PREPROCESS,
    IMAGES,
    OPTIMIZERS,
    backend,
    build_model,
    make_plan,
    reference_steps,
    torch,
)

BATCH = 3
WIDTH = 16  # with fewer channels, oneDNN 3.12 writes beyond the weight gradient of a strided 1×1 convolution
BEHIND = {
    "nothing": [],
    "relu": [ReLU()],
    "mlpconv": [ReLU(), Conv2d(4, 1), ReLU(), Conv2d(3, 1), Sigmoid(), MaxPool2d(2)],
    "pool": [MaxPool2d(2), ReLU()],
    "norm": [BatchNorm2d(), ReLU(), Conv2d(3, 1)],
    "padded 1×1": [ReLU(), Conv2d(4, 1, padding=1), ReLU()],
    "strided 1×1": [Sigmoid(), Conv2d(WIDTH, 1, stride=2), ReLU()],
    "linear": [ReLU(), Conv2d(2, 1), Flatten(), Linear(5)],
}


def trained(network, size, side, folds):
    """Weights and logits after two training steps."""
    with pytest.MonkeyPatch.context() as patch:
        if not folds:
            patch.setattr(torch_model, "can_fold", lambda *_: False)
        model = backend.build(network, Preprocess(size=size, mean=(0.3,), std=(0.5,)), optimizer=Optimizer())
        model.load_weights(random_weights(network, dtype=np.float32))
        draw = np.random.default_rng(0)
        images = draw.integers(0, 256, (BATCH, side, side, 1), np.uint8)
        model.attach(images, draw.integers(0, 2, BATCH))
        for seed in range(2):
            model.train_step(StepPlan(np.arange(BATCH), size, 0.1, seed))
        return model.weights() | {"logits": model.logits(images)}


@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@given(
    side=st.integers(5, 9),
    factor=st.sampled_from([4, 6, 8]),
    kernel=st.integers(5, 9),
    stride=st.sampled_from([1, 2, 3, 4]),
)
@settings(max_examples=12)
def test_training_is_the_same_with_and_without_folding(behind, side, factor, kernel, stride):
    size = side * factor
    ending = [] if any(isinstance(layer, Flatten) for layer in behind) else [GlobalAvgPool2d(), Flatten()]
    network = Network(Conv2d(WIDTH, kernel, stride), *behind, *ending, input_size=size)
    assume(can_fold(network, (side, side), size))
    plain, folded = (trained(network, size, side, folds) for folds in (False, True))
    for name, expected in plain.items():
        np.testing.assert_allclose(folded[name], expected, rtol=1e-3, atol=2e-4, err_msg=name)


@pytest.fixture
def fold_always(monkeypatch):
    """Also where it saves nothing; a switch back for the plain path."""

    def switch(on):
        monkeypatch.setattr("mlpconv.backends.pytorch.model.can_fold", lambda *_: on)

    return switch


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    source=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    across=st.integers(1, 6),
    down=st.integers(1, 6),
    kernel=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    bias=st.booleans(),
)
def test_a_folded_layer_agrees_with_the_plain_path(fold_always, source, across, down, kernel, stride, bias):
    height, width = source
    size = int(np.lcm(height * down, width * across))
    assume(size <= 200)
    kernel = (min(kernel[0], size), min(kernel[1], size))
    # The gradient of a ReLU would jump where rounding changes a sign.
    network = Network(
        Block(conv=Conv2d(4, kernel, stride, bias=bias), sigmoid=Sigmoid()),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=3,
        input_size=size,
    )
    model = backend.build(network, COLOR_PREPROCESS, optimizer=Optimizer())
    model.load_weights(initialize(network, INITIALIZERS["xavier"], 1))
    pixels = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (2, 3, *source), dtype=np.uint8))
    results = []
    for folded in (True, False):
        fold_always(folded)
        model.native.zero_grad()
        logits = model._forward(pixels, size)
        (logits * torch.arange(1, 9).reshape(2, 4)).sum().backward()
        results.append([logits.detach()] + [p.grad.clone() for p in model.native.parameters()])
    # Gradients are sums of at most 12 / std, from which the mean's share is taken: rounding is relative to those.
    for found, expected in zip(*results, strict=True):
        scale = max(12 / min(COLOR_PREPROCESS.std), expected.abs().max().item())
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * scale)


def test_the_folded_network_of_the_chapter_agrees_with_the_plain_path(fold_always):
    network = create_model("nin").replace(input_size=112)
    model = backend.build(network, Preprocess(112, mean=(0.3,), std=(0.4,)))
    model.load_weights(initialize(network, INITIALIZERS["open"], 1))
    images = IMAGES[:2, :7, :7, :1]
    fold_always(False)
    plain = model.logits(images)
    fold_always(True)
    np.testing.assert_allclose(model.logits(images), plain, rtol=0, atol=1e-5 * np.abs(plain).max())


@pytest.mark.parametrize(("source", "size"), [((8, 8), 56), ((28, 28), 56), ((5, 7), 35)])
def test_folding_rounds_like_enlarged_8_bit_images(fold_always, source, size):
    # A 1×1 convolution with the weight 1 shows the enlarged image itself.
    network = Network(Block(conv=Conv2d(1, 1, bias=False)), Flatten(), input_size=size)
    model = backend.build(network, Preprocess(size))
    model.load_weights({"block1.conv.weight": np.ones((1, 1, 1, 1), np.float32)})
    fold_always(True)
    images = np.random.default_rng(9).integers(0, 256, (3, *source, 1), dtype=np.uint8)
    found = model.logits(images).reshape(3, size, size)
    for image, ours in zip(images, found, strict=True):
        theirs = Image.fromarray(image[..., 0]).resize((size, size), Image.Resampling.BILINEAR)
        assert np.abs(ours - np.asarray(theirs) / 255).max() <= 1 / 255 + 1e-6


def test_a_strided_1x1_convolution_of_few_channels_trains():
    # Channels last, oneDNN overwrites foreign memory here (its issue 6035): a crash, or other gradients.
    network = Network(
        Block(conv=Conv2d(6, 1, stride=(2, 1)), relu=ReLU()),
        Conv2d(5, 1),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=3,
        input_size=60,
    )
    model = build_model(
        network, preprocess=Preprocess(60, mode="RGB", mean=COLOR_PREPROCESS.mean, std=COLOR_PREPROCESS.std)
    )
    expected, _, _ = reference_steps(
        network, OPTIMIZERS["momentum"], model.preprocess, [make_plan(0, 60)], model.weights()
    )
    model.train_step(make_plan(0, 60))
    for name, value in model.weights().items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-6)
