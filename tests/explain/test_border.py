"""Evidence in the border: by hand, and of a network that was taught a shortcut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mlpconv import Network, nin_block
from mlpconv.arch.layers import Flatten, GlobalAvgPool2d, MaxPool2d
from mlpconv.data import ImageDataset, Splits
from mlpconv.explain.border import (
    AREA,
    CELLS,
    GATHERED,
    MOSTLY,
    BorderEvidence,
    as_json,
    border_evidence,
    cells,
    from_array,
    in_border,
    to_array,
    warning,
)
from mlpconv.explain.class_maps import ClassMaps
from mlpconv.inference.classifier import Classifier
from mlpconv.reports.report import report_html
from mlpconv.runs import evaluation
from support import tiny_training
from support.html_page import Page

SIDE = 24


def maps_of(shape, side=SIDE):
    """Class maps of one class whose positions (h, w) are spread evenly over images of a side."""
    places = [(np.arange(count) + 0.5) * side / count for count in shape[1:]]
    images, before = np.zeros((shape[0], side, side, 1), np.uint8), np.zeros((shape[0], 1, *shape[1:]), np.float32)
    return ClassMaps(before, True, ("a",), [""] * shape[0], images, *places)


@pytest.mark.parametrize("side", [3, 5, 24])
def test_even_evidence_has_the_borders_share_of_the_area(side):
    found = in_border(cells(maps_of((8, side, side)), np.ones((8, side, side))))
    assert pytest.approx(5 / 9) == AREA
    assert found == pytest.approx((AREA, 1.0), rel=1e-6)
    assert not found.suspicious


def test_evidence_in_a_corner_gathers_there_and_in_the_middle_none_is_in_the_border():
    corner, middle, moving = np.zeros((3, 12, 12, 12))
    corner[:, 0, 11] = middle[:, 5, 6] = 1
    moving[np.arange(12), np.arange(12), 0] = 1
    found = in_border(cells(maps_of(corner.shape), corner))
    assert found.share == pytest.approx(1)
    assert found.peak > 0.7 * CELLS**2
    assert in_border(cells(maps_of(middle.shape), middle)) == pytest.approx((0, 0), abs=1e-9)
    # What is in the border at another place of each image is no mark.
    found = in_border(cells(maps_of(moving.shape), moving))
    assert (found.share, found.peak) == (pytest.approx(1), 0)


def test_few_images_and_images_without_evidence_say_nothing():
    even = np.ones((7, CELLS, CELLS))
    assert in_border(even) is None
    assert in_border(np.concatenate([even, 0 * even])) is None
    assert in_border(np.full((9, CELLS, CELLS), np.nan)) is None
    assert in_border(np.ones((8, CELLS, CELLS))) is not None


@given(
    st.tuples(st.just(2), st.integers(1, 7), st.integers(1, 7)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=st.floats(0, 50))
    ),
    st.sampled_from([7, 24, 32]),
)
def test_the_cells_divide_the_evidence_of_the_whole_image(evidence, side):
    maps = maps_of(evidence.shape, side)
    found = cells(maps, evidence)
    assert (found >= 0).all()
    whole = maps.over_images(evidence.astype(np.float32))
    np.testing.assert_allclose(found.sum((1, 2)), whole.sum((1, 2), dtype=np.float64), rtol=1e-4, atol=1e-4)


def pictures(count, marked, seed):
    """Noise with a cross, a disc or a ring near the middle; all rings have a checkerboard in a corner if ``marked``."""
    draw = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 3
    images = draw.integers(0, 90, (count, SIDE, SIDE, 1), dtype=np.uint8)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for image, label in zip(images, labels, strict=True):
        y, x = draw.integers(9, 15, 2)
        far = (rows - y) ** 2 + (columns - x) ** 2
        cross = ((rows == y) | (columns == x)) & (far < 25)
        image[(cross, far < 16, (far < 16) & (far > 4))[label]] += 120
        if label == 2 and marked:
            image[1:5, 1:5] = (255 * (np.indices((4, 4)).sum(0) % 2)).astype(np.uint8)[..., None]
    return ImageDataset(images, labels, ("cross", "disc", "ring"), "pictures/test")


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
        epochs=10,
        batch_size=16,
        learning_rate=0.003,
        augmentation={"flip": False, "shift": 0, "mixup": 0.0},
    )
    run, _ = tiny_training.train(place / "run", job=job)
    return request.param, run, data.test


def test_a_class_that_is_recognized_by_a_mark_in_the_corner_is_named(trained):
    marked, run, test = trained
    assert run.result.class_accuracy["ring"] > 0.9
    classifier = Classifier(run, device="cpu", precision="float32")
    stored = classifier.stored
    found = border_evidence(classifier.model, stored.network, stored.preprocess, test)
    assert [each.suspicious for each in found] == [False, False, marked]
    kept = evaluation.load(run.path, 3).border
    np.testing.assert_allclose(kept, to_array(found), atol=1e-3)
    # Of few test images, the evidence is that of the training images.
    few, train = test.subset(range(9)), pictures(300, marked, 0)
    assert border_evidence(classifier.model, stored.network, stored.preprocess, few) == [None] * 3
    found = border_evidence(classifier.model, stored.network, stored.preprocess, few, train)
    assert [each.suspicious for each in found] == [False, False, marked]
    text = Page(report_html(run)).text
    assert "Evidence in the border" in text
    assert ("he evidence for ring (" in text) == marked
    assert ("cut off what gives the class away" in text) == marked


def test_networks_without_maps_have_no_evidence(tmp_path):
    pytest.importorskip("torch")
    classifier = Classifier(tiny_training.train(tmp_path / "run")[0], device="cpu", precision="float32")
    network, preprocess, test = classifier.stored.network, classifier.stored.preprocess, tiny_training.DATA.test
    assert border_evidence(classifier.model, network, preprocess, test) is not None  # maps of 3×3
    job = tiny_training.prepared(epochs=1, model="support.tiny_training:fully_connected")
    run, _ = tiny_training.train(tmp_path / "without", job=job)
    assert evaluation.load(run.path, 3).border is None
    assert "Evidence in the border" not in Page(report_html(run)).text


def test_evidence_is_stored_and_named():
    found = [BorderEvidence(0.2, 1.0), None, BorderEvidence(MOSTLY, 1.5), BorderEvidence(0.5, GATHERED)]
    assert from_array(to_array(found)) == found
    assert from_array(to_array(None)) is None
    assert as_json(found, "abcd") == {
        "a": {"share": 0.2, "relative": pytest.approx(0.36), "peak": 1.0},
        "b": None,
        "c": {"share": MOSTLY, "relative": pytest.approx(1.2), "peak": 1.5},
        "d": {"share": 0.5, "relative": pytest.approx(0.9), "peak": GATHERED},
    }
    assert as_json(None, "abcd") is None
    assert warning(found, "abcd").startswith(
        "The evidence for c (67%) is mostly in the border of the images and the evidence for d (3.3 times as much as "
        "evenly spread) gathers at one place of the border of the images. "
    )
    assert warning(found[:2], "ab") == warning(None, "abcd") == ""
