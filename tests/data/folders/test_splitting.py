"""Images that are held out of a folder, and earlier runs whose split is kept."""

import numpy as np
import pytest
from hypothesis import assume, given, reject
from hypothesis import strategies as st

from mlpconv.data.folders.splitting import EarlierSplit, ToSplit, draw_splits, earlier_notes
from mlpconv.errors import DataError

images = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), min_size=20, max_size=80)


def to_split(rows, first=0):
    """Images of class and group, whose digests count from ``first``."""
    labels, groups = np.array(rows, np.int64).reshape(-1, 2).T
    digests = np.zeros((len(rows), 32), np.uint8)
    digests[:, :4] = np.arange(first, first + len(rows), dtype="<u4")[:, None].view(np.uint8)
    return ToSplit(labels, groups, digests)


def draw(given, test=0.15, validation=0.1, earlier=()):
    splits = np.zeros(len(given.labels), np.int8)
    draw_splits("d", splits, given, test=test, validation=validation, seed=0, earlier=earlier)
    return splits


def draw_or_reject(given, **options):
    """The split, where there are enough different images for one."""
    try:
        return draw(given, **options)
    except DataError:
        reject()


def recorded(given, splits, *, validation=0.1, learned=True):
    keys = [row.tobytes() for row in given.digests]
    return EarlierSplit(
        "runs/a", dict(zip(keys, splits.tolist(), strict=True)), dict.fromkeys(keys, "x"), validation, learned
    )


@given(images, st.sets(st.integers(0, 79)), images)
def test_recorded_images_stay_and_copies_follow_them(rows, lost, added):
    before = to_split(rows)
    splits = draw_or_reject(before)
    kept = [row for row in range(len(rows)) if row not in lost]
    assume(len(kept) >= 20 and {1, 2} <= set(splits[kept].tolist()))
    now = ToSplit(*(np.concatenate([old[kept], new]) for old, new in zip(before, to_split(added, 1000), strict=True)))
    earlier = [recorded(before, splits)]
    again = draw(now, earlier=earlier)
    assert (again[: len(kept)] == splits[kept]).all()
    for group in np.unique(now.groups):
        assert len(set(again[now.groups == group].tolist())) == 1
    assert any("split as in runs/a" in note for note in earlier_notes(again, now.digests, earlier))


@given(images)
def test_nothing_changes_where_no_image_is_new(rows):
    before = to_split(rows)
    splits = draw_or_reject(before)
    order = np.random.default_rng(0).permutation(len(rows))
    again = draw(ToSplit(*(part[order] for part in before)), earlier=[recorded(before, splits)])
    assert (again == splits[order]).all()


@given(images, st.floats(0.05, 0.4))
def test_another_share_of_validation_images_leaves_the_test_images(rows, validation):
    before = to_split(rows)
    splits = draw_or_reject(before)
    again = draw_or_reject(before, validation=validation, earlier=[recorded(before, splits)])
    assert ((again == 2) == (splits == 2)).all()
    (note,) = earlier_notes(again, before.digests, [recorded(before, splits)])
    assert ("split again" in note) == bool((again != splits).any())


def test_new_images_fill_the_share_of_each_class():
    before = to_split([(row % 2, row) for row in range(200)])
    splits = draw(before)
    assert [np.bincount(splits[before.labels == label]).tolist() for label in (0, 1)] == [[76, 9, 15], [77, 8, 15]]
    new = to_split([(2, 1000 + row) for row in range(100)], 1000)
    again = draw(
        ToSplit(*(np.concatenate(pair) for pair in zip(before, new, strict=True))), earlier=[recorded(before, splits)]
    )
    assert (again[:200] == splits).all()
    assert np.bincount(again[200:]).tolist() == [77, 8, 15]


def test_lost_test_images_are_never_replaced_by_training_images():
    before = to_split([(row % 2, row) for row in range(100)])
    splits = draw(before)
    rest = ToSplit(*(part[splits != 2] for part in before))
    with pytest.raises(DataError, match="d: no image for testing of runs/a is left, and no new images can take"):
        draw(rest, earlier=[recorded(before, splits)])


@pytest.mark.parametrize("learned", [True, False])
def test_a_split_of_folders_that_contradicts_the_weights_is_named(learned):
    before = to_split([(row % 2, row) for row in range(100)])
    splits = draw(before)
    notes = earlier_notes(2 - splits, before.digests, [recorded(before, splits, learned=learned)])
    assert notes[0] == "15 test images of runs/a are in another split here, as the folder says"
    assert ("used to train or choose the weights of runs/a" in " ".join(notes)) == learned
    notes = earlier_notes(splits[10:], before.digests[10:], [recorded(before, splits, learned=learned)])
    assert notes == ["90 images are split as in runs/a", "10 images are missing or changed since runs/a; first: x"]
