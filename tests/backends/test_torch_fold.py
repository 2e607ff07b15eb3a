"""The folded first convolution against the plain one: the same training, whatever follows it."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from random_values import random_weights

import mlpconv.backends.torch as backend
from mlpconv.arch.layers import BatchNorm2d, Conv2d, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU, Sigmoid
from mlpconv.arch.network import Network, Preprocess
from mlpconv.backends import torch_model
from mlpconv.backends.base import Optimizer, StepPlan
from mlpconv.backends.fold import can_fold

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
def test_training_is_the_same_folded_and_plain(behind, side, factor, kernel, stride):
    size = side * factor
    ending = [] if any(isinstance(layer, Flatten) for layer in behind) else [GlobalAvgPool2d(), Flatten()]
    network = Network(Conv2d(WIDTH, kernel, stride), *behind, *ending, input_size=size)
    assume(can_fold(network, (side, side), size))
    plain, folded = (trained(network, size, side, folds) for folds in (False, True))
    for name, expected in plain.items():
        np.testing.assert_allclose(folded[name], expected, rtol=1e-3, atol=2e-4, err_msg=name)
