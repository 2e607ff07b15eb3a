"""Random weights: rank correlations, the cascade over the blocks, and methods that do or do not look at the network."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlpconv import create_model
from mlpconv.backends.weights import INITIALIZERS, initialize

pytest.importorskip("torch")
from mlpconv.backends.pytorch.backend import TorchBackend
from mlpconv.bench import explain_weights as weights
from mlpconv.bench.saliency import View

MAPS = arrays(np.float32, (3, 4, 5), elements=st.integers(-4, 4).map(float))


@given(MAPS, MAPS)
def test_the_correlation_is_that_of_scipy_and_0_for_a_constant_map(first, second):
    stats = pytest.importorskip("scipy.stats", reason="scipy comes with scikit-learn")
    found = weights.spearman(first, second)
    for a, b, value in zip(first, second, found, strict=True):
        if np.ptp(a) and np.ptp(b):
            assert value == pytest.approx(stats.spearmanr(a.ravel(), b.ravel()).statistic, abs=1e-5)
        else:
            assert value == 0


@given(arrays(np.float32, (3, 4, 5), elements=st.floats(-5, 5, width=32), unique=True))
def test_only_the_order_counts(maps):
    np.testing.assert_allclose(weights.spearman(maps, np.argsort(np.argsort(maps.ravel())).reshape(maps.shape)), 1)
    np.testing.assert_allclose(weights.spearman(maps, -maps), -1)


def test_the_cascade_replaces_one_block_more_at_a_time_from_the_last_to_the_first():
    network = create_model("nin_tiny")
    learned = initialize(network, INITIALIZERS["xavier"], 5)
    seen = list(weights.cascade(network, learned, 0, framework_biases=True))
    assert [block for block, _ in seen] == ["block4", "block3", "block2", "block1"]
    for count, (_, mixed) in enumerate(seen, 1):
        assert mixed.keys() == learned.keys()
        random = {block for block, _ in seen[:count]}
        for name, value in mixed.items():
            if name.endswith((".weight", ".bias")) and "norm" not in name:
                assert (value != learned[name]).any() == (name.partition(".")[0] in random), name


class Stored:
    network = create_model("nin_tiny")
    weights = initialize(network, INITIALIZERS["xavier"], 5)


class Classifier:
    """Weights in a model, without a run."""

    stored = Stored

    def __init__(self):
        from mlpconv.arch.preprocess import Preprocess

        self.model = TorchBackend().build(Stored.network, Preprocess(28))
        self.model.load_weights(Stored.weights)


def test_a_method_that_ignores_the_network_is_found_out_and_the_weights_come_back():
    view = View(Classifier())
    draw = np.random.default_rng(0)

    def edges(view, images, classes):
        return np.abs(np.diff(images[..., 0].astype(np.float32), axis=1))[:, None]

    def unrelated(view, images, classes):
        return draw.random((len(images), 1, 28, 28), np.float32)

    def logits(view, images, classes):
        return view.classifier.model.class_maps(images)[np.arange(len(images)), classes[:, 0]][:, None]

    images = draw.integers(0, 256, (6, 28, 28, 1), dtype=np.uint8)
    methods = {"edges": edges, "unrelated": unrelated, "logits": logits}
    blocks, found = weights.correlations(view, methods, images, np.arange(6), 0, True)
    assert len(blocks) == 4
    assert all(values.shape == (4, 6) for values in found.values())
    np.testing.assert_allclose(found["edges"], 1)
    assert np.abs(found["unrelated"]).max() < 0.2
    assert found["logits"].mean() < 0.9
    for name, value in view.classifier.model.weights().items():
        np.testing.assert_array_equal(value, Stored.weights[name])
