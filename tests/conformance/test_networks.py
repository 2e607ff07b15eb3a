"""Every registered network in a framework: its logits, and the gradients of one step."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from mlpconv.backends import reference
from mlpconv.models import list_models
from mlpconv.optimizers import Optimizer
from support import conformance_cases
from support.native_objects import call_native
from support.random_values import random_input, random_weights
from support.strategies import networks


def test_every_registered_network_is_tested():
    assert set(conformance_cases.SIZES) == set(list_models())


@pytest.mark.parametrize("name", conformance_cases.SIZES)
def test_logits_agree_with_the_reference(backend, name):
    network = conformance_cases.network(name)
    weights = conformance_cases.initial_weights(network)
    model = backend.build(network, conformance_cases.preprocess(network))
    model.load_weights(weights)
    images = conformance_cases.images(network, 2, 28 if name == "nin" else conformance_cases.SIZES[name])
    expected = reference.forward(network, weights, reference.preprocess(images, conformance_cases.preprocess(network)))
    found = model.logits(images)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= 1e-4 * np.abs(expected).max()
    assert all(np.array_equal(weights[key], value) for key, value in model.weights().items())


@pytest.mark.parametrize("name", conformance_cases.GRADIENTS)
def test_gradients_agree_with_pytorch(backend, oracle, name):
    network, images, labels, plan = conformance_cases.gradient_case(name)
    model = backend.build(network, conformance_cases.preprocess(network), optimizer=Optimizer())
    before = conformance_cases.initial_weights(network)
    model.load_weights(before)
    model.attach(images, labels)
    model.train_step(plan)
    after = model.weights()
    assert model.read_metrics().loss == pytest.approx(2 * float(oracle[f"loss/{name}"]), rel=1e-4)
    for key, expected in {k.split("/")[2]: v for k, v in oracle.items() if k.startswith(f"gradient/{name}/")}.items():
        found = (before[key].astype(np.float64) - after[key]) / conformance_cases.GRADIENT_LEARNING_RATE
        # What is subtracted from a weight is rounded with it.
        rounding = np.finfo(np.float32).eps * np.abs(before[key]).max() / conformance_cases.GRADIENT_LEARNING_RATE
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max() + rounding, key


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(network=networks())
def test_any_network_agrees_with_the_reference(backend, backend_name, network):
    side = max(network.input_size)
    network = network.replace(input_size=side)
    assume(network.input_channels != 2)  # images have one or three
    weights = random_weights(network, dtype=np.float32)
    model = backend.build(network, conformance_cases.preprocess(network))
    model.load_weights(weights)
    images = conformance_cases.images(network, 2, side)
    expected = reference.forward(network, weights, reference.preprocess(images, conformance_cases.preprocess(network)))
    np.testing.assert_allclose(model.logits(images), expected, atol=1e-4 * max(1, np.abs(expected).max()))
    # The framework's own object.
    x = random_input(network, dtype=np.float32)
    expected = reference.forward(network, weights, x)
    found = call_native(backend.native(network, weights=weights), backend_name, x)
    np.testing.assert_allclose(found, expected, atol=1e-4 * max(1, np.abs(expected).max()))
