"""The memory model of the PyTorch back end against what PyTorch itself counts."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from strategies import networks  # noqa: E402

from mlpconv.arch.layers import Conv2d, Dropout, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU  # noqa: E402
from mlpconv.arch.network import Network, Preprocess  # noqa: E402
from mlpconv.arch.shapes import num_classes  # noqa: E402
from mlpconv.backends.base import Optimizer, StepPlan, get_backend  # noqa: E402
from mlpconv.backends.fold import can_fold  # noqa: E402
from mlpconv.bench.tensors import peak_tensor_bytes  # noqa: E402
from mlpconv.models import nin_block  # noqa: E402

SLACK = 60_000
"""Bytes of what the model leaves out, which only counts in networks as small as these: losses, masks, statistics."""


def measured_and_predicted(network, batch, precision, source, optimizer=None):
    """Two pairs, of a training step and of prediction."""
    optimizer = optimizer or Optimizer(momentum=0.9)
    backend = get_backend("torch")
    preprocess = Preprocess(network.input_size[0], mean=(0.0,) * network.input_channels,
                            std=(1.0,) * network.input_channels)  # fmt: skip
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (batch, *source, network.input_channels), np.uint8)
    labels = draw.integers(0, num_classes(network), batch)

    def train():
        model = backend.build(network, preprocess, optimizer=optimizer, precision=precision)
        model.attach(images, labels)
        for _ in range(2):
            model.train_step(StepPlan(np.arange(batch), network.input_size[0], 0.01, 1))
        return model

    def predict():
        model = backend.build(network, preprocess, precision=precision)
        model.logits(images)
        return model

    about = {"batch": batch, "precision": precision}
    training = backend.training_memory(network, preprocess, source, optimizer=optimizer.kind, **about)
    prediction = backend.prediction_memory(network, preprocess, source, **about)
    return (peak_tensor_bytes(train), training.total), (peak_tensor_bytes(predict), prediction.total)


FOLDED = Network(
    nin_block(16, kernel_size=11, stride=4), MaxPool2d(3, stride=2), Dropout(0.5), nin_block(5, 3), GlobalAvgPool2d(),
    Flatten(), input_size=112,
)  # fmt: skip
UNEVEN = Network(Conv2d(8, 15, stride=4), ReLU(), MaxPool2d(3, stride=2), Flatten(), Linear(5), input_size=224)
PLAIN = Network(
    Conv2d(24, 3, padding=1), ReLU(), MaxPool2d(2, stride=2), Flatten(), Linear(512), ReLU(), Dropout(0.5), Linear(5),
    input_size=28,
)  # fmt: skip


@pytest.mark.parametrize("optimizer", [Optimizer(), Optimizer("adamw")], ids=lambda each: each.name)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("network", [FOLDED, UNEVEN, PLAIN], ids=["folded", "uneven", "plain"])
def test_it_agrees_with_the_profiler(network, precision, optimizer):
    assert can_fold(network, (28, 28), network.input_size[0]) == (network is not PLAIN)
    for measured, predicted in measured_and_predicted(network, 32, precision, (28, 28), optimizer):
        assert predicted == pytest.approx(measured, rel=0.05)


@given(networks(most_layers=4), st.integers(64, 128), st.sampled_from(["float32", "bfloat16"]))
@settings(max_examples=25)
def test_random_networks(network, batch, precision):
    side = network.input_size[0]
    network = network.replace(input_size=side)
    try:
        num_classes(network)
    except ValueError:  # the drawn layers fit the image that was drawn, which need not be square
        return
    for measured, predicted in measured_and_predicted(network, batch, precision, (side, side)):
        assert abs(predicted - measured) <= 0.15 * measured + SLACK


def test_a_larger_batch_never_needs_less():
    backend, preprocess = get_backend("torch"), Preprocess(112)
    totals = [
        backend.training_memory(FOLDED, preprocess, (28, 28), batch=batch, optimizer="adam", precision="bfloat16").total
        for batch in range(1, 200)
    ]
    assert totals == sorted(totals)


def test_prediction_goes_in_batches():
    backend, preprocess = get_backend("torch"), Preprocess(112)
    few, many = (
        backend.prediction_memory(FOLDED, preprocess, (28, 28), batch=batch, precision="float32")
        for batch in (256, 10_000)
    )
    assert few == many
