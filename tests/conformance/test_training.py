"""Whole training steps of a back end, against PyTorch's gradients and the reference's formulas."""

import numpy as np
import pytest

from mlpconv.arch.layers import Conv2d, Dropout, Flatten, GlobalAvgPool2d, Linear, MaxPool2d, ReLU
from mlpconv.arch.network import Block, Network
from mlpconv.arch.preprocess import FITS, Preprocess
from mlpconv.backends import reference
from mlpconv.backends.base import Metrics, StepPlan
from mlpconv.backends.training_state import parse_key
from mlpconv.backends.weights import Initializer, initialize
from mlpconv.data.memory_mapped import open_images
from mlpconv.errors import NetworkError, RecipeError, WeightsError
from mlpconv.optimizers import Optimizer
from support import conformance_cases

WITH_DROPOUT = Network(Flatten(), Dropout(0.5), Linear(40), Dropout(0.5), Linear(5), input_channels=3, input_size=10)


def build_model(backend, network=conformance_cases.SMALL, optimizer=None, precision="float32"):
    preprocess = conformance_cases.preprocess(network)
    model = backend.build(network, preprocess, optimizer=optimizer or Optimizer(momentum=0.9), precision=precision)
    model.load_weights(conformance_cases.initial_weights(network))
    model.attach(conformance_cases.SMALL_IMAGES, conformance_cases.SMALL_LABELS)
    return model


@pytest.mark.parametrize("name", conformance_cases.OPTIMIZERS)
def test_steps_agree_with_the_reference(backend, oracle, name):
    model = build_model(backend, optimizer=conformance_cases.OPTIMIZERS[name])
    for plan in conformance_cases.small_plans():
        model.train_step(plan)
    for key, value in model.weights().items():
        np.testing.assert_allclose(value, oracle[f"small/{name}/{key}"], rtol=1e-4, atol=1e-5, err_msg=key)
    metrics = model.read_metrics(reset=True)
    assert metrics.loss == pytest.approx(8 * oracle[f"small/{name}/losses"].sum(), rel=1e-4)
    assert metrics[1:] == (oracle[f"small/{name}/hits"].sum(), 32, 0)
    assert model.read_metrics() == Metrics()


@pytest.mark.parametrize("name", conformance_cases.DEPTHWISE_OPTIMIZERS)
def test_steps_with_depthwise_convolutions_and_relu6_agree_with_the_reference(backend, oracle, name):
    network, optimizer = conformance_cases.DEPTHWISE, conformance_cases.OPTIMIZERS[name]
    model = build_model(backend, network, optimizer)
    model.load_weights(conformance_cases.depthwise_weights())
    reached = model.outputs(conformance_cases.SMALL_IMAGES, "block1.relu")
    assert reached.min() == 0
    assert reached.max() == 6
    for plan in conformance_cases.small_plans():
        model.train_step(plan)
    for key, value in model.weights().items():
        np.testing.assert_allclose(value, oracle[f"depthwise/{name}/{key}"], rtol=1e-4, atol=1e-5, err_msg=key)
    losses = oracle[f"depthwise/{name}/losses"]
    assert model.read_metrics().loss == pytest.approx(8 * losses.sum(), rel=1e-4)


def test_the_losses_of_fifty_steps_agree_with_pytorch(backend, oracle):
    network = conformance_cases.FIFTY_STEPS_NETWORK
    model = backend.build(
        network, conformance_cases.preprocess(network), optimizer=conformance_cases.FIFTY_STEPS.optimizer
    )
    model.load_weights(conformance_cases.initial_weights(network))
    model.attach(conformance_cases.FIFTY_STEPS_IMAGES, conformance_cases.FIFTY_STEPS_LABELS)
    losses = []
    for plan in conformance_cases.fifty_step_plans():
        model.train_step(plan)
        losses.append(model.read_metrics(reset=True).loss / len(plan.indices))
    assert oracle["fifty"][-5:].mean() < 0.8 * oracle["fifty"][:5].mean()
    assert np.abs(losses - oracle["fifty"]).max() <= 1e-2


def test_images_larger_than_memory_stay_memory_mapped(backend, tmp_path):
    shape = (360_000, 1000, 1000, 3)  # A terabyte that no file system has to keep: nothing is written.
    with (tmp_path / "images").open("wb") as file:
        file.truncate(int(np.prod(shape)))
    model = backend.build(
        conformance_cases.SMALL, conformance_cases.preprocess(conformance_cases.SMALL), optimizer=Optimizer()
    )
    model.load_weights(conformance_cases.initial_weights(conformance_cases.SMALL))
    images = open_images(tmp_path / "images", shape)
    model.attach(images, np.arange(len(images)) % 5)
    model.train_step(StepPlan(np.array([7, 359_999]), 10, 0.1, 0))
    assert model.read_metrics().examples == 2


def test_logits_of_several_chunks_and_of_none(backend):
    model = build_model(backend)
    images = np.concatenate([conformance_cases.SMALL_IMAGES] * 7)
    preprocess = conformance_cases.preprocess(conformance_cases.SMALL)
    expected = reference.forward(conformance_cases.SMALL, model.weights(), reference.preprocess(images, preprocess))
    np.testing.assert_allclose(model.logits(images), expected, rtol=1e-4, atol=1e-5)
    assert model.logits(images[:0]).shape == (0, 5)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [20, 10, 7])
def test_images_fit_as_in_the_reference(backend, fit, size):
    preprocess = Preprocess(size, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.3), fit=fit)
    network = Network(
        Block(conv=Conv2d(4, 3, stride=2), relu=ReLU(), mlp1=Conv2d(3, 1)),
        MaxPool2d(2),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=3,
        input_size=size,
    )
    weights = conformance_cases.initial_weights(network)
    model = backend.build(network, preprocess)
    model.load_weights(weights)
    images = np.random.default_rng(4).integers(0, 256, (3, 8, 10, 3), dtype=np.uint8)
    expected = reference.forward(network, weights, reference.preprocess(images, preprocess))
    np.testing.assert_allclose(model.logits(images), expected, rtol=1e-3, atol=1e-4)


def test_dropout_depends_on_the_seed_of_the_plan(backend):
    results = []
    for seed in (1, 1, 2):
        model = build_model(backend, WITH_DROPOUT)
        model.train_step(StepPlan(np.arange(8), 10, 0.1, seed))
        results.append(model.weights())
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])
    assert not np.array_equal(results[0]["fc1.weight"], results[2]["fc1.weight"])


def test_two_dropouts_drop_different_values(backend):
    # One image of ones: what moves in the weights shows where both masks let values pass.
    network = Network(Flatten(), Dropout(0.5), Dropout(0.5), Linear(2), input_channels=3, input_size=10)
    model = backend.build(network, conformance_cases.preprocess(network), optimizer=Optimizer())
    weights = initialize(network, Initializer("he"), 0)
    model.load_weights(weights)
    model.attach(np.full((1, 10, 10, 3), 255, np.uint8), np.zeros(1, np.int64))
    model.train_step(StepPlan(np.zeros(1, np.int64), 10, 1.0, 0))
    moved = (model.weights()["fc1.weight"] != weights["fc1.weight"])[0].mean()
    assert 0.15 < moved < 0.35  # A quarter passes two separate masks; half would pass the same mask twice.


@pytest.mark.parametrize("name", conformance_cases.OPTIMIZERS)
def test_a_loss_that_is_not_finite_changes_nothing(backend, name):
    model = build_model(backend, optimizer=conformance_cases.OPTIMIZERS[name])
    model.train_step(conformance_cases.small_plans()[0])
    # 10³⁸ is a float32 that a sum of a few carries past the largest.
    model.load_weights({**model.weights(), "block2.conv.weight": np.full((5, 6, 3, 3), 1e38, np.float32)})
    before, sums = model.training_state(), model.read_metrics()
    model.train_step(conformance_cases.small_plans()[1])
    after = model.training_state()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert all("metrics" in name for name in changed)
    assert model.read_metrics() == sums._replace(skipped=1)
    assert sums.examples == 8


@pytest.mark.parametrize(
    "network",
    [conformance_cases.SMALL, WITH_DROPOUT, conformance_cases.DEPTHWISE],
    ids=["norm", "dropout", "depthwise"],
)
@pytest.mark.parametrize("name", conformance_cases.OPTIMIZERS)
def test_a_training_state_resumes_exactly(backend, name, network):
    whole, first, second = (build_model(backend, network, conformance_cases.OPTIMIZERS[name]) for _ in range(3))
    steps = [plan.at_size(10) for plan in conformance_cases.small_plans()]
    for plan in steps:
        whole.train_step(plan)
    for plan in steps[:2]:
        first.train_step(plan)
    second.load_training_state(first.training_state())
    for plan in steps[2:]:
        second.train_step(plan)
    expected, found = whole.training_state(), second.training_state()
    assert list(expected) == list(found)
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("name", ["momentum", "adamw", "muon"])
@pytest.mark.parametrize("network", [conformance_cases.SMALL, conformance_cases.DEPTHWISE], ids=["small", "depthwise"])
def test_what_an_optimizer_keeps_has_the_layout_of_the_weight(backend, name, network):
    """So that a repair finds the elements of a channel, whatever the framework's layout is."""
    model = build_model(backend, network, conformance_cases.OPTIMIZERS[name])
    state = model.training_state()
    weights = model.weights()
    kept = [key for key in state if parse_key(key).role == "optimizer" and parse_key(key).name and state[key].ndim]
    assert "block1.conv.weight" in {parse_key(key).name for key in kept}
    for key in kept:
        assert state[key].shape == weights[parse_key(key).name].shape, key


def test_a_foreign_training_state_is_refused(backend):
    state = build_model(backend, optimizer=Optimizer("adam")).training_state()
    with pytest.raises(WeightsError, match=r"load_training_state: .*another (network, )?optimi.er or"):
        build_model(backend).load_training_state(state)


def test_weights_of_another_network_are_refused(backend):
    with pytest.raises(WeightsError, match="these weights belong to another network"):
        build_model(backend).load_weights(conformance_cases.initial_weights(WITH_DROPOUT))


def test_a_network_without_classes_is_refused(backend):
    with pytest.raises(NetworkError, match="not in one value for each class"):
        backend.build(Network(ReLU(), input_channels=3), conformance_cases.preprocess(conformance_cases.SMALL))


def test_an_unknown_precision_is_refused(backend):
    with pytest.raises(RecipeError, match="did you mean 'float32'"):
        backend.choose("cpu", "float23")


def test_the_processor_is_named(backend):
    assert backend.describe_device("cpu").startswith("cpu (")
    assert backend.choose("cpu", "float32") == ("cpu", "float32")


@pytest.mark.parametrize("size", [None, (14, 11)])
def test_class_maps_and_layer_outputs_agree_with_the_reference(backend, size):
    network, preprocess = (
        conformance_cases.FIFTY_STEPS_NETWORK,
        conformance_cases.preprocess(conformance_cases.FIFTY_STEPS_NETWORK),
    )
    weights = conformance_cases.initial_weights(network)
    model = backend.build(network, preprocess)
    model.load_weights(weights)
    x = reference.preprocess(conformance_cases.FIFTY_STEPS_IMAGES, preprocess, size)
    expected = reference.class_maps(network, weights, x)
    found = model.class_maps(conformance_cases.FIFTY_STEPS_IMAGES, size)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    if size is None:
        for layer in ("block1.conv", "pool1", "block2.relu"):
            expected = reference.activations(network, weights, x)[layer]
            np.testing.assert_allclose(
                model.outputs(conformance_cases.FIFTY_STEPS_IMAGES, layer), expected, atol=1e-4 * np.abs(expected).max()
            )
