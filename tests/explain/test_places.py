"""Whether class maps show where an object is, for a network that was trained on objects in either half of an image."""

import numpy as np
import pytest

import mlpconv
from mlpconv.data import ImageDataset, Splits, load_dataset

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn", reason="the digits come with scikit-learn")


def in_a_half(digits, right):
    """Each digit, 8×8, in the left or the right half of an image of 8×16; the other half is black."""
    images = np.zeros((len(digits), 8, 16, 1), np.uint8)
    for image, digit, moved in zip(images, digits, right, strict=True):
        image[:, 8 * moved : 8 * moved + 8] = digit
    return images


def test_the_evidence_for_a_digit_is_in_its_half(tmp_path):
    train, test = load_dataset("digits")
    right = np.random.default_rng(0).random(len(train)) < 0.5
    sides = ImageDataset(in_a_half(train.images, right), train.labels, train.class_names, "digits in a half")
    shown = test.subset(range(100))
    left, moved = (in_a_half(shown.images, np.full(100, side)) for side in (False, True))
    held = ImageDataset(left, shown.labels, train.class_names, "digits on the left")
    run = mlpconv.train(
        "quick", data=Splits(sides, held), model="nin_28", epochs=3, batch_size=32, precision="float32", device="cpu",
        out=tmp_path / "run",
    )  # fmt: skip
    classifier = mlpconv.load(run, device="cpu")
    for images, half in ((left, slice(0, 3)), (moved, slice(4, 7))):
        maps = classifier.class_maps(images)
        assert np.mean(maps.logits.argmax(1) == shown.labels) > 0.8
        assert maps.before.shape[2:] == (7, 7)
        of_class = np.maximum(maps.before[np.arange(100), shown.labels], 0)
        share = of_class[:, :, half].sum((1, 2)) / of_class.sum((1, 2)).clip(1e-9)
        assert np.median(share) > 0.7
