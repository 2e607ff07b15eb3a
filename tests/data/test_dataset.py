import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.data import ImageDataset, hold_out
from mlpconv.data.dataset import shuffled_by_class
from mlpconv.errors import DataError


def make(labels, shape=(4, 5, 1), classes=None, seed=0):
    labels = np.asarray(labels, np.int64)
    images = np.random.default_rng(seed).integers(0, 256, (len(labels), *shape), np.uint8)
    names = tuple(f"class {i}" for i in range(classes or int(labels.max()) + 1))
    return ImageDataset(images, labels, names, "set/train")


def test_a_data_set_has_a_readable_repr():
    data = make([0, 1, 2, 1], (4, 5, 3))
    assert len(data) == 4
    assert data.image_shape == (4, 5, 3)
    assert data.num_classes == 3
    assert repr(data) == "ImageDataset('set/train', 4 images of 4×5×3, 3 classes)"


def test_counts_that_differ_are_both_named():
    with pytest.raises(DataError, match=r"set/train: 3 images but 2 labels"):
        ImageDataset(np.zeros((3, 2, 2, 1), np.uint8), np.zeros(2, np.int64), ("a",), "set/train")


@pytest.mark.parametrize("label", [-1, 3, 255])
def test_label_out_of_range_gives_index_and_value(label):
    labels = np.array([0, 1, 2, label, 1, label])
    with pytest.raises(DataError, match=rf"label {label} at index 3 is outside 0 to 2 \(3 classes; 2 such labels\)"):
        ImageDataset(np.zeros((6, 2, 2, 1), np.uint8), labels, ("a", "b", "c"), "set")


@pytest.mark.parametrize(
    ("images", "labels", "names", "message"),
    [
        (np.zeros((2, 3, 3, 1)), np.zeros(2, np.int64), ("a",), r"images: expected uint8 \(N, H, W, C\), .* float64"),
        (np.zeros((2, 3, 3), np.uint8), np.zeros(2, np.int64), ("a",), r"images: expected .* \(2, 3, 3\)"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.uint8), ("a",), r"labels: expected int64 \(N\), .* uint8"),
        (np.zeros((2, 3, 3, 1), np.uint8), [0, 0], ("a",), r"labels: expected a NumPy array, .* received list"),
        (np.zeros((0, 3, 3, 1), np.uint8), np.zeros(0, np.int64), ("a",), "expected 1 or more images"),
        (np.zeros((2, 0, 3, 1), np.uint8), np.zeros(2, np.int64), ("a",), "expected 1 or more images"),
        (np.zeros((2, 3, 3, 1), np.uint8), np.zeros(2, np.int64), (), "expected a class name"),
    ],
)
def test_invalid_arrays_and_names_are_refused(images, labels, names, message):
    with pytest.raises(DataError, match=message):
        ImageDataset(images, labels, names, "set")


def test_arrays_are_made_contiguous_and_not_copied_when_they_are():
    images = np.zeros((4, 3, 3, 2), np.uint8)
    assert ImageDataset(images, np.zeros(4, np.int64), ("a",), "s").images is images
    turned = ImageDataset(images.transpose(0, 2, 1, 3), np.zeros(8, np.int64)[::2], ("a",), "s")
    assert turned.images.flags.c_contiguous
    assert turned.labels.flags.c_contiguous


def test_mean_and_std_are_those_of_the_scaled_pixels(monkeypatch):
    monkeypatch.setattr("mlpconv.data.dataset._HISTOGRAM_CHUNK_PIXELS", 7)
    data = make(np.zeros(50, int), (6, 5, 3))
    scaled = data.images / 255
    np.testing.assert_allclose(data.mean, scaled.mean((0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(data.std, scaled.std((0, 1, 2)), rtol=1e-13)


def test_mean_and_std_of_a_constant_are_exact():
    data = ImageDataset(np.full((3, 2, 2, 1), 51, np.uint8), np.zeros(3, np.int64), ("a",), "s")
    assert (data.mean, data.std) == ((0.2,), (0.0,))


def test_subset():
    data = make([0, 1, 2, 1])
    chosen = data.subset([3, 0])
    np.testing.assert_array_equal(chosen.images, data.images[[3, 0]])
    assert chosen.labels.tolist() == [1, 0]
    assert chosen.class_names == data.class_names
    assert data.subset(data.labels == 1).labels.tolist() == [1, 1]
    for none in ([], data.labels == 9):
        with pytest.raises(DataError, match="set/train"):
            data.subset(none)


def test_the_fingerprint_covers_everything_except_the_name():
    data = make([0, 1, 2, 1])
    parts = {"images": data.images, "labels": data.labels, "class_names": data.class_names}
    assert ImageDataset(**parts, name="other").fingerprint() == data.fingerprint()
    changed = data.images.copy()
    changed[2, 1, 1, 0] ^= 1
    others = [
        {"images": changed},
        {"images": data.images.reshape(4, 5, 4, 1)},
        {"labels": np.array([0, 1, 2, 2])},
        {"class_names": ("class 0", "class 2", "class 1")},
    ]
    assert len({ImageDataset(**parts | other, name="s").fingerprint() for other in others} | {data.fingerprint()}) == 5


@given(labels=st.lists(st.integers(0, 4), min_size=2, max_size=60), seed=st.integers(0, 2**40), data=st.data())
def test_hold_out_is_exact_stratified_and_complete(labels, seed, data):
    count = data.draw(st.integers(1, len(labels) - 1))
    whole = make(labels, (1, 1, 1), classes=5)
    # Each image says its own index.
    whole = ImageDataset(
        np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), whole.labels, whole.class_names, "w"
    )
    rest, held = hold_out(whole, count, seed)
    assert len(held) == count
    assert sorted([*rest.images.flat, *held.images.flat]) == list(range(len(labels)))
    for part in (rest, held):
        np.testing.assert_array_equal(part.labels, whole.labels[part.images.reshape(-1)])
        assert (np.diff(part.images.reshape(-1).astype(int)) > 0).all()
    for label in range(5):
        fair = count * labels.count(label) / len(labels)
        assert abs(np.count_nonzero(held.labels == label) - fair) <= 1
    again = hold_out(whole, count, seed)
    assert (again[0].fingerprint(), again[1].fingerprint()) == (rest.fingerprint(), held.fingerprint())


def test_hold_out_is_the_same_with_every_numpy():
    data = make(np.arange(12) % 3)
    assert [members.tolist() for members in shuffled_by_class(data, 0)] == [[0, 9, 3, 6], [1, 4, 10, 7], [2, 11, 8, 5]]
    _, held = hold_out(data, 5, seed=0)
    assert (held.name, held.labels.tolist().count(0)) == ("set/train (held out)", 2)
    assert hold_out(data, 5, 1)[1].fingerprint() != held.fingerprint()


def test_hold_out_keeps_every_class_in_the_rest_if_possible():
    rest, _ = hold_out(make([0] + [1] * 7), 7 // 2 + 2, seed=0)
    assert 0 in rest.labels


@pytest.mark.parametrize("count", [-1, 0, 12, 100])
def test_hold_out_of_nothing_or_all_is_refused(count):
    with pytest.raises(DataError, match=rf"cannot hold out {count} of 12 images; expected 1 to 11"):
        hold_out(make(np.arange(12) % 3), count, 0)


def test_negative_seed_is_refused():
    with pytest.raises(DataError, match="seed of 0 or more, received -1"):
        hold_out(make([0, 0]), 1, -1)
