"""The class maps of a trained network: their positions on the image, how they are drawn, which ones a run stores."""

from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mlpconv import create_model
from mlpconv.arch.class_maps import Grid
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.registry import get_backend
from mlpconv.backends.weights import INITIALIZERS, initialize
from mlpconv.errors import DataError, NetworkError, RunError
from mlpconv.explain import stored_class_maps
from mlpconv.explain.class_maps import ClassMaps, class_maps, interpolation, positions_on_image, strongest
from mlpconv.explain.overlay import overlay
from mlpconv.inference.classifier import Classifier
from mlpconv.reports.report import report_html
from mlpconv.runs.files import read_tensors, write_tensors
from mlpconv.runs.run import Run
from support import tiny_training

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "run"
    quiet = {"label_smoothing": 0.0, "augmentation": {"shift": 0, "mixup": 0.0}}
    tiny_training.train(path, job=tiny_training.prepared(epochs=20, learning_rate=0.02, **quiet))
    return Run(path)


@pytest.fixture(scope="module")
def classifier(run):
    return Classifier(run, device="cpu", precision="float32")


def test_the_mean_of_a_map_is_the_logit(classifier):
    images = tiny_training.DATA.test.images
    maps = classifier.class_maps(images)
    assert maps.before.shape == (30, 3, 3, 3)
    assert maps.before.dtype == np.float32
    np.testing.assert_allclose(maps.logits, classifier.logits(images), atol=1e-5)
    assert (maps.after >= 0).all()
    assert (maps.before < 0).any()
    assert maps.class_names == tiny_training.NAMES


@given(
    before=arrays(np.float32, (2, 4, 3, 5), elements=st.floats(-100, 100, width=32)),
    rectified=st.booleans(),
    pair=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_the_mean_of_a_difference_is_the_difference_of_the_logits(before, rectified, pair):
    images, names = np.zeros((2, 9, 15, 1), np.uint8), ("a", "b", "c", "d")
    maps = ClassMaps(before, rectified, names, ["0", "1"], images, np.arange(3) * 3 + 1.5, np.arange(5) * 3 + 1.5)
    first, second = pair
    found = maps.difference(first, second)
    exact = maps.logits[:, first].astype(np.float64) - maps.logits[:, second]
    np.testing.assert_allclose(found.mean((1, 2), dtype=np.float64), exact, atol=1e-4)
    np.testing.assert_array_equal(found, -maps.difference(second, first))


@pytest.mark.parametrize("dense", [False, True])
def test_pixels_outside_its_receptive_field_do_not_change_a_position(dense):
    network = create_model("nin_tiny")
    preprocess = Preprocess(28)
    model = get_backend("torch").build(network, preprocess)
    model.load_weights(initialize(network, INITIALIZERS["he"], 0))
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)

    def of(pixels):
        return class_maps(model, network, preprocess, tuple("abcdefghij"), pixels, ["0"], dense=dense)

    maps = of(images)
    assert maps.receptive_field == (18, 18)
    for row, column in ((0, 0), (3, 3), (2, 6)):
        field = maps.field_of(row, column)
        inside = np.zeros((28, 28, 1), bool)
        inside[floor(field.top) : ceil(field.bottom), floor(field.left) : ceil(field.right)] = True
        others = draw.integers(0, 256, images.shape, dtype=np.uint8)
        before, after = maps.before[0, :, row, column], of(np.where(inside, images, others)).before[0, :, row, column]
        np.testing.assert_allclose(after, before, atol=1e-5)
        changed = of(np.where(inside, others, images)).before[0, :, row, column]
        assert np.abs(changed - before).max() > 1e-3


def test_files_and_arrays_agree(classifier, tmp_path):
    image = tiny_training.DATA.test.images[0]
    Image.fromarray(image[..., 0]).save(tmp_path / "a.png")
    by_file, by_array = classifier.class_maps(tmp_path / "a.png"), classifier.class_maps(image[None])
    np.testing.assert_array_equal(by_file.before, by_array.before)
    assert (by_file.names, by_array.names) == ([str(tmp_path / "a.png")], ["0"])
    turned = classifier.class_maps(255 - image[None], invert=True)
    np.testing.assert_array_equal(turned.before, by_array.before)


def test_a_large_image_gives_a_large_map_that_locates_classes(classifier, tmp_path):
    across, down = (tiny_training.DATA.test.images[label] for label in (0, 1))
    large = np.full((24, 36, 1), 60, np.uint8)
    large[:12, :12] = np.tile(across, (2, 2, 1))
    large[12:, 24:] = np.tile(down, (2, 2, 1))
    maps = classifier.class_maps(large[None], dense=True)
    assert maps.before.shape == (1, 3, 12, 18)
    evidence = maps.before[0]
    for label, rows, columns in ((0, slice(0, 6), slice(0, 6)), (1, slice(6, 12), slice(12, 18))):
        inside = evidence[label, rows, columns].mean()
        assert inside > evidence[label].mean() + 0.3
        assert evidence[label, rows, columns].mean() == evidence[:2, rows, columns].mean((1, 2)).max()
    Image.fromarray(large[..., 0]).save(tmp_path / "large.png")
    by_file = classifier.class_maps(tmp_path / "large.png", dense=True)
    np.testing.assert_array_equal(by_file.before, maps.before)


def test_errors_name_the_reason(classifier, tmp_path, monkeypatch):
    for side in (6, 9):
        Image.fromarray(np.zeros((side, 6), np.uint8)).save(tmp_path / f"{side}.png")
    files = [tmp_path / "6.png", tmp_path / "9.png"]
    assert classifier.class_maps(files).images.shape == (2, 6, 6, 1)
    with pytest.raises(DataError, match="different sizes; give them one at a time"):
        classifier.class_maps(files, dense=True)
    with pytest.raises(DataError, match="class_maps: no images given"):
        classifier.class_maps([])
    with pytest.raises(DataError, match=r"expected uint8 \(N, H, W, 1\)"):
        classifier.class_maps(np.zeros((1, 6, 6, 3), np.uint8))
    monkeypatch.setattr("mlpconv.explain.class_maps.MAX_INPUT_PIXELS", 100)
    with pytest.raises(DataError, match="11×10 gives the network an input of 11×10, more than 100 pixels"):
        classifier.class_maps(np.zeros((1, 11, 10, 1), np.uint8), dense=True)


def test_a_network_without_class_maps(tmp_path):
    job = tiny_training.prepared(epochs=1, model="support.tiny_training:fully_connected")
    tiny_training.train(tmp_path / "run", job=job)
    assert not (tmp_path / "run" / stored_class_maps.FILE_NAME).exists()
    assert "Class maps" not in report_html(Run(tmp_path / "run"))
    with pytest.raises(NetworkError, match="flat has no class maps"):
        Classifier(Run(tmp_path / "run")).class_maps(tiny_training.DATA.test.images)


@pytest.mark.parametrize(
    ("fit", "image_size", "expected"),
    [
        ("squash", (10, 20), ([2.5, 5.0, 7.5], [5.0, 10.0, 15.0])),
        ("crop", (10, 20), ([2.5, 5.0, 7.5], [7.5, 10.0, 12.5])),
        ("pad", (10, 20), ([0.0, 5.0, 10.0], [5.0, 10.0, 15.0])),
        ("pad-border", (10, 20), ([0.0, 5.0, 10.0], [5.0, 10.0, 15.0])),
    ],
)
def test_positions_on_an_image(fit, image_size, expected):
    grid = Grid((4.0, 4.0), (4, 4))
    positions = positions_on_image(grid, (3, 3), input_size=(16, 16), image_size=image_size, fit=fit)
    for along_axis, wanted in zip(positions, expected, strict=True):
        np.testing.assert_allclose(along_axis, wanted)


def test_interpolation_weights_sum_to_one():
    matrix = interpolation(np.array([1.0, 3.0]), 5)
    np.testing.assert_allclose(matrix.sum(1), 1)
    np.testing.assert_allclose(matrix[:, 1], [0, 0.25, 0.75, 1, 1])
    maps = ClassMaps(
        np.float32([[[[0, 8]]]]),
        True,
        ("a",),
        ["0"],
        np.zeros((1, 2, 5, 1), np.uint8),
        np.array([1.0]),
        np.array([1.0, 3.0]),
    )
    np.testing.assert_allclose(maps.over_images()[0, 0], [[0, 2, 6, 8, 8]] * 2)


def test_the_overlay_is_red_for_and_blue_against_a_class():
    image = np.full((1, 4, 1), 100, np.uint8)
    shown = overlay(image, np.float32([[0, 2, -2, 9]]), 2.0)
    assert shown[0, 0].tolist() == [100, 100, 100]
    red, blue = shown[0, 1], shown[0, 2]
    assert red[0] > red[2] + 80
    assert blue[2] > blue[0] + 80
    assert shown[0, 3].tolist() == red.tolist()


def test_a_run_stores_maps_for_its_report(run, classifier):
    stored = stored_class_maps.load(run.path, tiny_training.NAMES)
    assert stored is not None
    assert stored.labels.tolist() == [0, 1, 2]
    chosen = [int(name) for name in stored.maps.names]
    expected = classifier.class_maps(tiny_training.DATA.test.images[chosen])
    np.testing.assert_allclose(stored.maps.before, expected.before, atol=1e-5)
    np.testing.assert_array_equal(stored.predicted, expected.logits.argmax(1))
    page = report_html(run)
    assert "Class maps" in page
    assert page.count('alt="Evidence for') == 3
    assert "3×3" in page


def test_the_report_marks_places_as_explain_does(run, classifier):
    stored = stored_class_maps.load(run.path, tiny_training.NAMES)
    assert stored is not None
    page = report_html(run)
    maps = classifier.class_maps(stored.maps.images)
    height, width = maps.receptive_field
    assert f"depends on {height:.0f}×{width:.0f} pixels" in page
    for index, label in enumerate(stored.predicted):
        box = maps.field_of(*strongest(maps.before[index, label]))
        sides = (box.left, box.top, box.right - box.left, box.bottom - box.top)
        assert 'class="over" x="{:.2f}" y="{:.2f}" width="{:.2f}" height="{:.2f}"'.format(*sides) in page
    assert page.count('<svg viewBox="0 0 6 6"') == len(stored.predicted)


@pytest.mark.parametrize("wrong", [("a", "b"), ("a", "b", "c", "d")])
def test_stored_maps_of_other_classes_are_refused(run, wrong):
    with pytest.raises(RunError, match="not a file that mlpconv wrote for this run"):
        stored_class_maps.load(run.path, wrong)


def test_damaged_stored_maps_are_refused(tmp_path):
    assert stored_class_maps.load(tmp_path, tiny_training.NAMES) is None
    (tmp_path / stored_class_maps.FILE_NAME).write_bytes(b"no")
    with pytest.raises(RunError, match="damaged"):
        stored_class_maps.load(tmp_path, tiny_training.NAMES)


@pytest.mark.parametrize("value", [3e38, -3e38, np.nan, np.inf])
def test_stored_maps_whose_mean_is_not_finite_are_refused(run, tmp_path, value):
    tensors, texts = read_tensors(run.path / stored_class_maps.FILE_NAME)
    changed = tensors | {"before": np.full_like(tensors["before"], value)}
    write_tensors(tmp_path / stored_class_maps.FILE_NAME, changed, texts)
    with pytest.raises(RunError, match="not a file that mlpconv wrote for this run"):
        stored_class_maps.load(tmp_path, tiny_training.NAMES)
