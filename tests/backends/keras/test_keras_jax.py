"""Max pooling and its gradient as written out for XLA, against JAX's own."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
pytest.importorskip("keras")


@pytest.fixture(scope="module")
def max_pool():
    from mlpconv.backends.registry import get_backend

    get_backend("jax")
    from mlpconv.backends.keras.jax_operations import max_pool

    return max_pool


def plain(x, kernel, strides):
    return jax.lax.reduce_window(x, -np.inf, jax.lax.max, (1, *kernel, 1), (1, *strides, 1), "VALID")


@pytest.mark.parametrize("side", [(6, 6), (9, 7)])
@pytest.mark.parametrize("kernel", [(3, 3), (2, 2), (1, 4)])
@pytest.mark.parametrize("strides", [(2, 2), (1, 3)])
def test_values_and_gradients_agree_with_jax(max_pool, side, kernel, strides):
    draw = np.random.default_rng(0)
    x = draw.permutation(2 * side[0] * side[1] * 3).reshape(2, *side, 3).astype(np.float32)  # no two are equal
    values, backward = jax.vjp(lambda x: max_pool(x, kernel, strides), x)
    expected, expected_backward = jax.vjp(lambda x: plain(x, kernel, strides), x)
    assert np.array_equal(values, expected)
    gradient = draw.standard_normal(values.shape).astype(np.float32)
    np.testing.assert_allclose(backward(gradient)[0], expected_backward(gradient)[0], rtol=1e-5, atol=1e-6)


def test_the_first_of_equal_values_has_the_gradient(max_pool):
    gradient = jax.grad(lambda x: max_pool(x, (2, 2), (2, 2)).sum())(np.zeros((1, 2, 2, 1), np.float32))
    assert gradient.ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("place", range(4))
def test_nan_is_propagated(max_pool, place):
    x = np.zeros(4, np.float32)
    x[place] = np.nan
    assert np.isnan(max_pool(x.reshape(1, 2, 2, 1), (2, 2), (2, 2))).all()
