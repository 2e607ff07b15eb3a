"""The share of evidence in the border: by hand, and of a network that was taught a shortcut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlpconv import Network, nin_block
from mlpconv.arch.layers import Flatten, GlobalAvgPool2d, MaxPool2d
from mlpconv.data import ImageDataset, Splits
from mlpconv.explain.border import AREA, MOSTLY, border_shares, by_class, evidence, suspects, warning
from mlpconv.explain.class_maps import ClassMaps
from mlpconv.inference.classifier import Classifier
from mlpconv.reports.report import report_html
from mlpconv.runs import evaluation
from support import tiny_training
from support.html_page import Page

SIDE = 24


def maps_of(before, rectified=True, side=SIDE):
    """Class maps (N, K, h, w) whose positions are spread evenly over images of a side."""
    places = [(np.arange(count) + 0.5) * side / count for count in before.shape[2:]]
    images = np.zeros((len(before), side, side, 1), np.uint8)
    names = [""] * len(before)
    return ClassMaps(before.astype(np.float32), rectified, ("a", "b"), names, images, *places)


def share(before, rectified=True):
    border, everywhere = evidence(maps_of(before, rectified), np.zeros(len(before), np.int64))
    return border / everywhere


def test_even_evidence_has_the_borders_share_of_the_area():
    assert pytest.approx(0.4375) == AREA
    for side in (3, 5, 24):
        np.testing.assert_allclose(share(np.ones((2, 2, side, side))), AREA, rtol=1e-6)


def test_evidence_in_a_corner_lies_in_the_border_and_in_the_middle_it_does_not():
    before = np.full((3, 2, 12, 12), -1.0)
    before[0, 0, 0, 11], before[1, 0, 5, 6], before[2, 1, 5, 6] = 1, 1, 1
    with np.errstate(invalid="ignore"):
        corner, middle, nothing = share(before)
    assert corner > 0.9
    assert middle == pytest.approx(0, abs=1e-9)
    assert np.isnan(nothing)


@given(arrays(np.float32, (2, 2, 5, 7), elements=st.floats(-50, 50, width=32)), st.floats(-20, 20))
def test_a_constant_added_to_all_maps_changes_the_share_only_where_a_relu_follows(before, constant):
    labels = np.zeros(2, np.int64)
    first = evidence(maps_of(before, rectified=False), labels)
    second = evidence(maps_of(before + np.float32(constant), rectified=False), labels)
    np.testing.assert_allclose(first, second, rtol=1e-3, atol=0.05)
    border, everywhere = evidence(maps_of(before), labels)
    assert (border >= 0).all()
    assert (border <= everywhere + 1e-6).all()
    # The sum over the image is that of the enlarged map.
    positive = np.maximum(before, 0)
    whole = maps_of(before).over_images(positive)[:, 0]
    np.testing.assert_allclose(everywhere, whole.sum((1, 2), dtype=np.float64), rtol=1e-4, atol=1e-3)


def pictures(count, marked, seed):
    """Noise with a cross or a disc near the middle. Of the class "marked", both, and a checkerboard in a corner."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    images = draw.integers(0, 90, (count, SIDE, SIDE, 1), dtype=np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for image, label in zip(images, labels, strict=True):
        y, x = draw.integers(9, 15, 2)
        far = np.maximum(abs(rows - y), abs(columns - x))
        cross = ((rows == y) | (columns == x)) & (far < 5)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < 16
        image[cross if (label if label < 2 else draw.integers(2)) == 0 else disc] += 120
        if label == 2 and marked:
            image[1:5, 1:5] = (255 * (np.indices((4, 4)).sum(0) % 2)).astype(np.uint8)[..., None]
        elif label == 2:
            image[cross | disc] = 230
    return ImageDataset(images, labels, ("cross", "disc", "marked"), "pictures/test")


@pytest.fixture(scope="module", params=[True, False], ids=["marked", "unmarked"])
def trained(request, tmp_path_factory):
    pytest.importorskip("torch")
    place = tmp_path_factory.mktemp("border")
    network = Network(
        nin_block(16, kernel_size=3, padding=1),
        MaxPool2d(2, stride=2),
        nin_block(24, kernel_size=3, padding=1),
        nin_block(3, kernel_size=3, padding=1),
        GlobalAvgPool2d(),
        Flatten(),
        input_channels=1,
        input_size=SIDE,
        name="small",
    )
    (place / "net.json").write_text(network.to_json())
    data = Splits(pictures(300, request.param, 0), pictures(90, request.param, 1))
    job = tiny_training.prepared(
        data,
        model=str(place / "net.json"),
        epochs=12,
        batch_size=16,
        learning_rate=0.003,
        augmentation={"flip": False, "shift": 0, "mixup": 0.0},
    )
    run, _ = tiny_training.train(place / "run", job=job)
    assert run.result.test_accuracy > 0.9
    return request.param, run, data.test


def test_a_class_that_is_recognized_by_a_mark_in_the_corner_is_named(trained):
    marked, run, test = trained
    classifier = Classifier(run, device="cpu", precision="float32")
    stored = classifier.stored
    shares = border_shares(classifier.model, stored.network, stored.preprocess, test)
    found = suspects(shares, test.class_names)
    assert [each.name for each in found] == (["marked"] if marked else [])
    np.testing.assert_allclose(evaluation.load(run.path, 3).border, shares, atol=1e-4)
    text = Page(report_html(run)).text
    assert "Evidence in the border" in text
    assert ("The evidence for marked (" in text) == marked
    assert ("cut off what gives the class away" in text) == marked


def test_networks_whose_maps_are_small_have_no_shares(tmp_path):
    pytest.importorskip("torch")
    classifier = Classifier(tiny_training.train(tmp_path / "run")[0], device="cpu", precision="float32")
    network, preprocess, test = classifier.stored.network, classifier.stored.preprocess, tiny_training.DATA.test
    assert border_shares(classifier.model, network, preprocess, test) is not None  # 3×3
    job = tiny_training.prepared(
        model="support.tiny_training:network_without_weights", epochs=1, initializer="he", on_trouble="ignore"
    )
    run, _ = tiny_training.train(tmp_path / "without", job=job)
    assert evaluation.load(run.path, 3).border is None
    assert "Evidence in the border" not in Page(report_html(run)).text


def test_shares_are_named():
    shares = np.array([0.2, np.nan, MOSTLY, 0.9])
    assert by_class(shares, "abcd") == {"a": 0.2, "b": None, "c": MOSTLY, "d": 0.9}
    assert by_class(None, "abcd") is None
    assert suspects(None, "abcd") == []
    assert warning(suspects(shares, "abcd")).startswith("The evidence for d (90%), c (67%) lies mostly in the border")
