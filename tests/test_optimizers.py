"""The rules of the optimizers that no framework computes for comparison."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.backends import reference
from mlpconv.optimizers import Optimizer
from mlpconv.training.recipe import Recipe, change

MUON = Optimizer("muon", momentum=0.9, nesterov=True)


def step(optimizer, gradient, learning_rate=1.0):
    """The change of a parameter of zeros in the first step."""
    p = {"layer.weight": np.zeros(gradient.shape)}
    after, _ = reference.update(optimizer, p, {"layer.weight": gradient}, reference.OptimizerState(), learning_rate)
    return after["layer.weight"]


@given(
    shape=st.sampled_from([(6, 4, 1, 1), (4, 3, 3, 3), (5, 5), (3, 8), (9, 2, 1, 2)]),
    scale=st.sampled_from([1e-4, 1.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_a_muon_step_has_nearly_equal_singular_values_whatever_the_gradients_size(shape, scale, seed):
    gradient = scale * np.random.default_rng(seed).normal(size=shape)
    matrix = -step(MUON, gradient).reshape(shape[0], -1)
    values = np.linalg.svd(matrix / (0.2 * np.sqrt(max(matrix.shape))), compute_uv=False)
    assert values.max() < 1.3
    assert np.median(values) > 0.6
    # The step goes along the gradient, in its own singular directions.
    u, _, v = np.linalg.svd(gradient.reshape(shape[0], -1), full_matrices=False)
    assert np.sum(matrix * (u @ v)) > 0.6 * np.linalg.norm(matrix) * np.sqrt(len(values))


@given(seed=st.integers(0, 99), steps=st.integers(1, 6))
def test_more_newton_schulz_steps_lift_every_singular_value(seed, steps):
    gradient = np.random.default_rng(seed).normal(size=(6, 4))

    def smallest(ns_steps):
        matrix = step(Optimizer("muon", momentum=0.9, ns_steps=ns_steps), gradient) / (0.2 * np.sqrt(6))
        return np.linalg.svd(matrix, compute_uv=False).min()

    normalized = np.linalg.svd(gradient, compute_uv=False).min() / np.linalg.norm(gradient)
    assert smallest(steps) > min(0.6, 2 * normalized)
    assert smallest(steps) != smallest(steps + 1)


def test_a_muon_step_of_a_vector_is_its_direction():
    gradient = np.array([3.0, 0.0, -4.0])
    np.testing.assert_allclose(step(MUON, gradient), -0.2 * np.sqrt(3) * gradient / 5, rtol=1e-6)


def test_muon_keeps_momentum_and_decays_only_matrices():
    gradient = np.random.default_rng(0).normal(size=(4, 4))
    optimizer = Optimizer("muon", momentum=0.9, weight_decay=0.5)
    p, state = {"a.weight": np.ones((4, 4)), "a.bias": np.ones(4)}, reference.OptimizerState()
    gradients = {"a.weight": gradient, "a.bias": np.zeros(4)}
    p, state = reference.update(optimizer, p, gradients, state, 0.1)
    np.testing.assert_array_equal(p["a.bias"], 1)
    np.testing.assert_allclose(p["a.weight"], 0.95 + step(optimizer, gradient, 0.1))
    np.testing.assert_allclose(state.arrays["a.weight"]["velocity"], gradient)
    _, state = reference.update(optimizer, p, gradients, state, 0.1)
    np.testing.assert_allclose(state.arrays["a.weight"]["velocity"], 1.9 * gradient)


@pytest.mark.parametrize("given", ["muon", {"name": "muon"}, {"name": "muon", "weight_decay": 0.1}])
def test_muon_that_is_chosen_by_name_has_momentum(given):
    optimizer = change(Recipe(), {"optimizer": given}).optimizer
    assert (optimizer.momentum, optimizer.nesterov) == (0.95, True)
    assert change(Recipe(), {"optimizer": {"name": "muon", "momentum": 0.6}}).optimizer.momentum == 0.6


def test_a_muon_step_of_a_depthwise_kernel_is_its_direction():
    gradient = np.random.default_rng(0).normal(size=(4, 1, 3, 3))
    p = {"a.weight": np.zeros_like(gradient)}
    after, _ = reference.update(MUON, p, {"a.weight": gradient}, reference.OptimizerState(), 1.0, {"a.weight"})
    expected = -0.2 * np.sqrt(36) * gradient / np.linalg.norm(gradient)
    np.testing.assert_allclose(after["a.weight"], expected, rtol=1e-6)
    assert not np.allclose(step(MUON, gradient), expected)  # a kernel of one input channel is a matrix
