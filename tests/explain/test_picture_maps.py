"""The class maps of a run's mistakes."""

import numpy as np
import pytest

from mlpconv.explain.picture_maps import over_pictures, with_maps
from mlpconv.inference.classifier import Classifier
from mlpconv.runs import evaluation
from mlpconv.training.metrics import evaluate
from support import tiny_training

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_training.train(tmp_path_factory.mktemp("maps") / "run")[0]


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier(run, device="cpu", precision="float32")


def test_training_stores_the_maps_of_the_true_and_of_the_predicted_class(run, classifier):
    mistakes = evaluation.load(run.path, 3).mistakes
    assert len(mistakes.indices)
    expected = classifier.class_maps(tiny_training.DATA.test.images[mistakes.indices])
    for at in range(len(mistakes.indices)):
        pair = expected.before[at, [mistakes.labels[at], mistakes.predicted[at]]]
        np.testing.assert_allclose(mistakes.maps.maps[at], pair, atol=1e-5)
    np.testing.assert_array_equal(mistakes.maps.rows, expected.rows)
    shown = over_pictures(mistakes, mistakes.maps)
    pairs = np.stack([mistakes.labels, mistakes.predicted], 1)
    np.testing.assert_allclose(
        shown, expected.over_images()[np.arange(len(pairs))[:, None], pairs], rtol=1e-5, atol=1e-5
    )


def test_the_maps_of_large_pictures_are_those_of_their_stored_form(run, classifier):
    # 102×102 pixels are stored as 51×51.
    large = np.repeat(np.repeat(tiny_training.DATA.test.images, 17, 1), 17, 2)
    data = tiny_training.ImageDataset(large, tiny_training.DATA.test.labels, tiny_training.NAMES, "large/test")
    small, stored = evaluation.to_store(1, classifier.evaluate(data), data), classifier.stored
    assert small.mistakes.images.shape[1:3] == (51, 51)
    found = with_maps(small.mistakes, classifier.model, stored.network, stored.preprocess, data)
    expected = classifier.class_maps(large[found.indices])
    np.testing.assert_array_equal(found.maps.rows, expected.rows / 2)
    np.testing.assert_array_equal(found.maps.columns, expected.columns / 2)
    assert over_pictures(found, found.maps).shape == (len(found.indices), 2, 51, 51)


def test_without_mistakes_or_maps_there_are_none(tmp_path, classifier):
    stored, data = classifier.stored, tiny_training.DATA.test
    perfect = 9 * np.eye(3, dtype=np.float32)[data.labels]
    nothing = evaluation.to_store(1, evaluate(perfect, data.labels), data).mistakes
    assert with_maps(nothing, classifier.model, stored.network, stored.preprocess, data).maps is None
    run, _ = tiny_training.train(
        tmp_path / "run",
        job=tiny_training.prepared(epochs=1, model="support.tiny_training:fully_connected"),
    )
    assert evaluation.load(run.path, 3).mistakes.maps is None
