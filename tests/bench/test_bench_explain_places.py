"""Known places: where the marker and the mosaics are, and the scores of perfect, random and wrong maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.data import ImageDataset, Splits

pytest.importorskip("torch")
from mlpconv.bench import explain_places as places


def regions(count, side=12):
    inside = np.zeros((count, side, side), bool)
    for mask, (top, left) in zip(inside, np.random.default_rng(0).integers(0, side - 3, (count, 2)), strict=True):
        mask[top : top + 4, left : left + 4] = True
    return inside


def test_a_perfect_map_scores_1_its_negative_0_and_a_random_one_the_area():
    inside = regions(2000)
    maps = inside.astype(np.float32)
    for score in (places.hits, places.energy):
        np.testing.assert_array_equal(score(maps, inside), 1)
        np.testing.assert_array_equal(score(1 - maps, inside), 0)
        random = score(np.random.default_rng(1).random(maps.shape, np.float32), inside)
        assert random.mean() == pytest.approx(inside.mean(), abs=0.03)


def test_a_map_that_says_nothing_scores_the_area():
    inside = regions(5)
    area = inside.mean((1, 2))
    for value in (0, -3):
        maps = np.full(inside.shape, value, np.float32)
        np.testing.assert_allclose(places.hits(maps, inside), area)
        np.testing.assert_allclose(places.energy(maps, inside), area)


def test_negative_values_have_no_energy():
    maps = np.float32([[[-5, 1], [3, -1]]])
    assert places.energy(maps, np.array([[[True, True], [False, False]]]))[0] == 0.25


@given(seed=st.integers(0, 99), height=st.integers(4, 9), width=st.integers(4, 9), channels=st.sampled_from([1, 3]))
def test_the_marker_is_planted_where_it_is_said_to_be(seed, height, width, channels):
    images = np.full((7, height, width, channels), 77, np.uint8)
    marked, inside = places.plant(images, seed)
    assert (images == 77).all()
    assert (marked[~inside] == 77).all()
    board = 255 * (np.indices((4, 4)).sum(0) % 2)
    for image, mask in zip(marked, inside, strict=True):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert (np.ptp(rows), np.ptp(columns), mask.sum()) == (3, 3, 16)
        for channel in range(channels):
            np.testing.assert_array_equal(image[mask][:, channel].reshape(4, 4), board)


def test_markers_are_all_over_the_image_and_depend_on_the_seed():
    images = np.zeros((4000, 8, 8, 1), np.uint8)
    _, inside = places.plant(images, 3)
    assert inside.any(0).all()
    tops = inside.any(2).argmax(1)
    np.testing.assert_allclose(np.bincount(tops, minlength=5) / 4000, 0.2, atol=0.03)
    assert (places.plant(images, 4)[1] != inside).any()


def test_a_region_is_enlarged_in_all_directions_within_the_image():
    inside = np.zeros((2, 7, 6), bool)
    inside[0, 3, 3] = inside[1, 0, 0] = True
    found = places.enlarge(inside, 2)
    expected = np.zeros_like(inside)
    expected[0, 1:6, 1:6] = expected[1, :3, :3] = True
    np.testing.assert_array_equal(found, expected)


def test_only_the_training_images_of_one_class_get_the_marker():
    labels = np.arange(12) % 3
    train = ImageDataset(np.full((12, 8, 8, 1), 50, np.uint8), labels, ("a", "b", "c"), "dots/train")
    test = ImageDataset(np.full((12, 8, 8, 1), 60, np.uint8), labels, ("a", "b", "c"), "dots/test")
    found = places.with_shortcut(Splits(train, test), 1, seed=0)
    changed = (found.train.images != train.images).any((1, 2, 3))
    np.testing.assert_array_equal(changed, labels == 1)
    assert found.train.name == "dots-marked/train"
    assert found.test is test
    assert (train.images == 50).all()


def numbered(count=40, side=4):
    """Images whose pixels all have ten times their label, plus 1."""
    labels = np.arange(count) % 6
    return np.broadcast_to((10 * labels + 1).astype(np.uint8)[:, None, None, None], (count, side, side, 1)), labels


def test_a_mosaic_has_four_different_classes_in_the_order_of_its_quadrants():
    images, labels = numbered()
    found, classes = places.mosaics(images, labels, 25, seed=0)
    assert found.shape == (25, 8, 8, 1)
    regions = places.quadrants(8, 8)
    np.testing.assert_array_equal(regions.sum(0), 1)
    for mosaic, row in zip(found, classes, strict=True):
        assert len(set(row)) == 4
        for region, label in zip(regions, row, strict=True):
            assert (mosaic[region] == 10 * label + 1).all()
    assert len({tuple(row) for row in classes}) > 20


def test_maps_of_mosaics_get_their_scores():
    own = places.quadrants(10, 6).astype(np.float32)
    perfect = np.repeat(own[None], 8, 0)
    for score, expected in zip(places.quadrant_scores(perfect), (1, 1), strict=True):
        np.testing.assert_array_equal(score, expected)
    for score, expected in zip(places.quadrant_scores(perfect[:, ::-1]), (0, 0), strict=True):
        np.testing.assert_array_equal(score, expected)
    for score in places.quadrant_scores(np.zeros_like(perfect)):
        np.testing.assert_array_equal(score, 0.25)
    # The same map for all classes is right for one of four.
    np.testing.assert_array_equal(places.quadrant_scores(perfect[:, [2, 2, 2, 2]])[0], 0.25)
    random = places.quadrant_scores(np.random.default_rng(0).random((2000, 4, 10, 6), np.float32))
    for score in random:
        assert score.mean() == pytest.approx(0.25, abs=0.02)
