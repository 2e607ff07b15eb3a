"""A head is fitted on the same features in every framework."""

import numpy as np

from mlpconv.arch.head import find_head
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends import reference
from mlpconv.backends.reference.layers import activations
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.data import ImageDataset
from mlpconv.jobs.fitted_head import examples, fit_head
from mlpconv.models import create_model
from mlpconv.training.recipe import Augmentation, Recipe


def test_features_and_logits_of_a_fitted_head(backend):
    network = create_model("nin_tiny", 3, 1)
    weights = initialize(network, INITIALIZERS["he"], 0)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (24, 14, 14, 1), dtype=np.uint8)
    dataset = ImageDataset(images, np.arange(24) % 3, ("a", "b", "c"), "noise")
    preprocess = Preprocess(mode="L", size=28, mean=(0.4,), std=(0.3,))
    model = backend.build(network, preprocess)
    model.load_weights(weights)
    head = find_head(network)

    seen = examples(model, network, dataset, flips=True)
    x = reference.preprocess(images, preprocess)
    mirrored = reference.preprocess(images[:, :, ::-1], preprocess)
    expected = [activations(network, weights, view)[head.features].mean((2, 3)) for view in (x, mirrored)]
    assert np.allclose(seen.features, expected, rtol=1e-3, atol=1e-4)

    fitted = fit_head(model, network, dataset, Recipe(augmentation=Augmentation(flip=True)))
    model.load_weights({**weights, **fitted.weights})
    linear = fitted.weights[f"{head.first}.weight"][:, :, 0, 0], fitted.weights[f"{head.first}.bias"]
    assert np.allclose(model.logits(images), expected[0] @ linear[0].T + linear[1], rtol=1e-2, atol=1e-2)
