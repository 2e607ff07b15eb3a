"""ROAD: what is imputed, in which order pixels are removed, and the scores of a perfect and of a wrong order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip("torch")
from mlpconv.bench import explain_road as road
from mlpconv.bench.saliency import View


def inner(draw, shape, share):
    """Random pixels to remove, none of them at the edge."""
    removed = draw.random(shape) < share
    removed[:, [0, -1]] = removed[:, :, [0, -1]] = False
    return removed


@given(seed=st.integers(0, 99), slopes=st.tuples(*[st.floats(-5, 5)] * 3), share=st.floats(0, 1))
def test_a_linear_image_is_restored(seed, slopes, share):
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[:12, :9]
    image = (slopes[0] + slopes[1] * rows + slopes[2] * columns)[None, ..., None]
    removed = inner(draw, (1, 12, 9), share)
    broken = np.where(removed[..., None], draw.normal(0, 100, image.shape), image)
    np.testing.assert_allclose(road.impute(broken, removed), image, atol=road.TOLERANCE)


@settings(deadline=None, max_examples=50)
@given(
    images=arrays(np.uint8, (2, 7, 6, 3)),
    removed=arrays(np.bool_, (2, 7, 6)).filter(lambda mask: not mask.all((1, 2)).any()),
)
def test_a_removed_pixel_is_the_weighted_mean_of_its_neighbors_and_the_others_are_unchanged(images, removed):
    found = road.impute(images, removed)
    np.testing.assert_array_equal(found[~removed], images[~removed].astype(float))
    for index, row, column in np.argwhere(removed):
        total, weights = np.zeros(3), 0.0
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                y, x = row + down, column + across
                if (down or across) and 0 <= y < 7 and 0 <= x < 6:
                    weight = 1 / 12 if down and across else 1 / 6
                    total, weights = total + weight * found[index, y, x], weights + weight
        np.testing.assert_allclose(found[index, row, column], total / weights, atol=road.TOLERANCE)


def test_conjugate_gradients_agree_with_a_sparse_solver_on_a_large_hole():
    linalg = pytest.importorskip("scipy.sparse.linalg", reason="scipy comes with scikit-learn")
    sparse = pytest.importorskip("scipy.sparse")
    image = np.random.default_rng(0).integers(0, 256, (1, 28, 28, 1), dtype=np.uint8)
    removed = np.zeros((1, 28, 28), bool)
    removed[0, 1:27, :26] = True
    number = np.cumsum(removed[0]).reshape(28, 28) - 1
    matrix, right = sparse.lil_matrix((removed.sum(), removed.sum())), np.zeros(removed.sum())
    for row, column in np.argwhere(removed[0]):
        own = number[row, column]
        for down, across in [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]:
            y, x, weight = row + down, column + across, 1 / 12 if down and across else 1 / 6
            if 0 <= x < 28:
                matrix[own, own] += weight
                if removed[0, y, x]:
                    matrix[own, number[y, x]] -= weight
                else:
                    right[own] += weight * image[0, y, x, 0]
    solved = linalg.spsolve(matrix.tocsr(), right)
    np.testing.assert_allclose(road.impute(image, removed)[0, ..., 0][removed[0]], solved, atol=road.TOLERANCE)


def test_only_removed_pixels_have_noise():
    images = np.full((3, 20, 20, 1), 100, np.uint8)
    removed = np.random.default_rng(1).random((3, 20, 20)) < 0.5
    found = road.remove(images, removed, np.random.default_rng(2), noise=4.0)
    assert found.dtype == np.uint8
    assert (found[~removed] == 100).all()
    assert found[removed].mean() == pytest.approx(100, abs=0.7)
    assert found[removed].std() == pytest.approx(4, abs=0.5)


def test_ranks_begin_with_the_most_important_and_break_ties_at_random():
    maps = np.float32([[[3, 1], [2, 9]], [[0, 0], [0, 5]]])
    found = [road.ranks(maps, np.random.default_rng(seed)) for seed in range(30)]
    for each in found:
        np.testing.assert_array_equal(each[0], [[1, 3], [2, 0]])
        assert each[1, 1, 1] == 0
        assert sorted(each[1].ravel()) == [0, 1, 2, 3]
    assert {each[1, 0, 0] for each in found} == {1, 2, 3}


class Dots:
    """Says 1 where an image has a bright pixel, else 0."""

    def logits(self, images):
        bright = images.max((1, 2, 3)) > 128
        return np.stack([~bright, bright], 1).astype(np.float32)


def test_a_perfect_order_has_the_best_scores_and_the_reverse_the_worst():
    draw = np.random.default_rng(0)
    images, maps = np.zeros((40, 10, 10, 1), np.uint8), np.zeros((40, 10, 10), np.float32)
    for image, each in zip(images, maps, strict=True):
        top, left = draw.integers(0, 9, 2)
        image[top : top + 2, left : left + 2] = each[top : top + 2, left : left + 2] = 250
    labels, view = np.ones(40, np.int64), View(Dots())
    morf, lerf = road.road(view, images, labels, maps)
    assert morf.shape == lerf.shape == (40, 9)
    assert (morf == 0).all()
    assert (lerf == 1).all()
    reverse = road.road(view, images, labels, -maps)
    assert (reverse[0] == 1).all()
    assert (reverse[1] == 0).all()
    random = road.road(view, images, labels, draw.random(maps.shape, np.float32))
    assert random[0].mean() == pytest.approx(random[1].mean(), abs=0.1)
    assert 0.2 < random[0].mean() < 0.98
