"""Weights and inputs for any network."""

import numpy as np

from mlpconv.arch.network import Network
from mlpconv.backends.weights import weight_shapes


def random_weights(network: Network, seed: int = 0, dtype: type = np.float64) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    weights = {}
    for name, shape in weight_shapes(network).items():
        value = draw.normal(0, 1 / np.sqrt(max(1, np.prod(shape[1:]))), shape)
        weights[name] = (np.abs(value) + 0.5 if name.endswith("running_var") else value).astype(dtype)
    return weights


def random_input(network: Network, batch: int = 2, seed: int = 1, dtype: type = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, (batch, *network.input_shape)).astype(dtype)
