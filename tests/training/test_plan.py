"""The step plan is a pure function: the same everywhere, each image once an epoch, everything within its bounds."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.errors import RecipeError
from mlpconv.training.plan import plan_step, steps_per_epoch
from mlpconv.training.recipe import Augmentation, Recipe, change

EVERYTHING = Recipe(
    batch_size=4,
    epochs=3,
    seed=7,
    schedule="one-cycle",
    augmentation=Augmentation(flip=True, shift=2, erase=5, mixup=0.4),
    label_smoothing=0.1,
    image_sizes=((1, 20),),
)


def fields(plan):
    return {name: getattr(plan, name) for name in plan.__dataclass_fields__}


def same(one, other):
    for name, value in fields(one).items():
        np.testing.assert_array_equal(value, getattr(other, name), err_msg=name)


def test_the_values_of_one_plan_never_change():
    # They are part of every run that was written down: a resume and a repetition need the same.
    found = fields(plan_step(EVERYTHING, 10, (8, 9), 16, 1, 1))
    expected = {
        "indices": [9, 8, 6, 1],
        "image_size": 20,
        "dropout_seed": 3738774008637536450,
        "flip": [False, False, False, True],
        "shift": [[2, 2], [-2, -1], [1, -1], [-1, 0]],
        "erase": [[2, -1, 5, 5], [-2, 5, 5, 5], [-2, -1, 5, 5], [4, 2, 5, 5]],
        "partner": [0, 3, 1, 2],
        "label_smoothing": 0.1,
        "crop": None,
        "color": None,
        "cut": None,
    }
    # The cosine and the powers behind these two may differ in the last bit between machines.
    assert found.pop("learning_rate") == pytest.approx(0.075, rel=1e-14)
    assert found.pop("mix") == pytest.approx(0.0535062944160176, rel=1e-12)
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_another_process_makes_the_same_plans():
    program = """
import pickle, sys
from mlpconv.errors import RecipeError
from mlpconv.training.plan import plan_step
recipe = pickle.loads(sys.stdin.buffer.read())
sys.stdout.buffer.write(pickle.dumps([plan_step(recipe, 10, (8, 9), 16, e, s) for e in range(3) for s in range(3)]))
"""
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "1", "PATH": os.environ.get("PATH", "")}
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(EVERYTHING), capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    theirs = pickle.loads(done.stdout)
    # In another order, too: a plan needs nothing of those before it.
    for index in reversed(range(9)):
        same(plan_step(EVERYTHING, 10, (8, 9), 16, index // 3, index % 3), theirs[index])


@given(st.integers(1, 300), st.integers(1, 80), st.integers(0, 2**63 - 1), st.integers(0, 50))
def test_an_epoch_sees_every_image_once(count, batch, seed, epoch):
    recipe = Recipe(batch_size=batch, seed=seed, epochs=51)
    steps = steps_per_epoch(recipe, count)
    batches = [plan_step(recipe, count, (8, 8), 28, epoch, step).indices for step in range(steps)]
    assert sorted(np.concatenate(batches)) == list(range(count))
    assert all(len(indices) == batch for indices in batches[:-1])
    assert 1 <= len(batches[-1]) <= batch
    assert batches[0].dtype == np.int64


def test_epochs_and_seeds_have_different_orders():
    def order(recipe, epoch):
        return tuple(plan_step(recipe, 100, (8, 8), 28, epoch, 0).indices)

    recipe = Recipe(batch_size=100)
    orders = {order(recipe, epoch) for epoch in range(5)} | {order(change(recipe, {"seed": 1}), 0)}
    assert len(orders) == 6
    assert tuple(range(100)) not in orders


def test_steps_have_different_random_numbers():
    plans = [plan_step(EVERYTHING, 1000, (8, 8), 28, epoch, step) for epoch in range(2) for step in range(50)]
    assert len({plan.dropout_seed for plan in plans}) == 100
    assert len({plan.mix for plan in plans}) == 100
    other = change(EVERYTHING, {"seed": 8})
    assert plan_step(other, 1000, (8, 8), 28, 0, 0).dropout_seed != plans[0].dropout_seed


@given(
    st.integers(0, 5),
    st.integers(0, 9),
    st.integers(1, 12),
    st.integers(1, 12),
    st.integers(1, 30),
    st.floats(0.05, 5),
    st.integers(0, 2**63 - 1),
)
def test_every_value_is_within_its_bounds(shift, erase, height, width, count, mixup, seed):
    recipe = Recipe(seed=seed, augmentation=Augmentation(True, shift, erase, mixup), label_smoothing=0.2)
    plan = plan_step(recipe, count, (height, width), 28, 0, 0)
    assert plan.flip.dtype == bool
    assert plan.flip.shape == (count,)
    if shift:
        assert plan.shift.dtype == np.int64
        assert plan.shift.shape == (count, 2)
        assert np.abs(plan.shift).max() <= shift
    if erase:
        assert plan.erase.dtype == np.int64
        assert (plan.erase[:, 2:] == erase).all()
        centres = plan.erase[:, :2] + erase // 2
        assert (centres >= 0).all()
        assert (centres < (height, width)).all()
    assert sorted(plan.partner) == list(range(count))
    assert 0 <= plan.mix <= 1
    assert 0 <= plan.dropout_seed < 2**63
    assert plan.label_smoothing == 0.2


def test_unused_fields_are_none():
    plan = plan_step(Recipe(), 10, (8, 8), 28, 0, 0)
    assert plan.flip is plan.shift is plan.erase is plan.partner is None
    assert (plan.mix, plan.label_smoothing, plan.learning_rate, plan.image_size) == (1.0, 0.0, 0.1, 28)


def test_shifts_reach_both_ends_and_half_the_images_are_flipped():
    recipe = Recipe(batch_size=4000, augmentation=Augmentation(flip=True, shift=2))
    plan = plan_step(recipe, 4000, (8, 8), 28, 0, 0)
    assert set(np.unique(plan.shift)) == {-2, -1, 0, 1, 2}
    assert plan.flip.mean() == pytest.approx(0.5, abs=0.04)


def test_alternating_flips_show_both_sides_of_every_image_in_two_epochs():
    recipe = Recipe(batch_size=300, augmentation=Augmentation(flip="alternate"))
    flipped = np.zeros((4, 1000), bool)
    for epoch in range(4):
        for step in range(4):
            plan = plan_step(recipe, 1000, (8, 8), 28, epoch, step)
            flipped[epoch, plan.indices] = plan.flip
    assert flipped[0].mean() == pytest.approx(0.5, abs=0.06)
    assert (flipped[0] != flipped[1]).all()
    assert (flipped[::2] == flipped[0]).all()
    assert (flipped[1::2] == flipped[1]).all()


def test_size_and_rate_follow_their_schedules():
    plans = [plan_step(EVERYTHING, 10, (8, 8), 16, step // 3, step % 3) for step in range(9)]
    assert [plan.image_size for plan in plans] == [16] * 3 + [20] * 6
    rates = [plan.learning_rate for plan in plans]
    assert rates.index(max(rates)) == 2
    assert plan_step(EVERYTHING, 10, (8, 8), 16, 0, 0).at_size(99).image_size == 99


def test_a_plan_can_be_written_by_hand():
    one = plan_step(Recipe(), 10, (8, 8), 28, 0, 0)
    expected = one.indices.copy()
    one.indices[:] = 0
    np.testing.assert_array_equal(plan_step(Recipe(), 10, (8, 8), 28, 0, 0).indices, expected)


def test_new_fields_leave_the_others_as_they_are():
    more = change(EVERYTHING, {"augmentation": {"crop": 0.3, "color": 0.4}})
    one, other = (plan_step(recipe, 10, (8, 9), 16, 1, 1) for recipe in (EVERYTHING, more))
    for name, value in fields(one).items():
        if name not in ("crop", "color"):
            np.testing.assert_array_equal(getattr(other, name), value, err_msg=name)
    np.testing.assert_array_equal(other.crop[:2], [[0, 1, 6, 7], [2, 3, 6, 6]])
    np.testing.assert_array_equal(other.color[0], [337, 336, 208])


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 1), st.floats(0, 1), st.integers(0, 2**63 - 1))
def test_crops_and_colors_are_within_their_bounds(height, width, least, color, seed):
    recipe = Recipe(seed=seed, augmentation=Augmentation(crop=least, color=color))
    plan = plan_step(recipe, 30, (height, width), 28, 0, 0)
    top, left, tall, wide = plan.crop.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (tall >= 1).all()
    assert (wide >= 1).all()
    assert (top + tall <= height).all()
    assert (left + wide <= width).all()
    share = tall * wide / (height * width)
    assert (share >= least * 3 / 4 - (1 / height + 1 / width)).all()  # one that is as wide as the image is cut off
    if color:
        assert (np.abs(plan.color - 256) <= 256 * color + 0.5).all()


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.05, 5), st.integers(0, 2**63 - 1))
def test_a_cut_is_in_the_image_and_its_share_weighs_the_labels(height, width, alpha, seed):
    recipe = Recipe(seed=seed, augmentation=Augmentation(cutmix=alpha))
    plan = plan_step(recipe, 30, (height, width), 28, 0, 0)
    top, left, tall, wide = plan.cut
    assert 0 <= top <= top + tall <= height
    assert 0 <= left <= left + wide <= width
    assert plan.mix == pytest.approx(1 - tall * wide / (height * width))
    assert sorted(plan.partner) == list(range(len(plan.indices)))


def test_mixup_and_cutmix_exclude_each_other():
    with pytest.raises(RecipeError, match="give one of them"):
        Augmentation(mixup=0.2, cutmix=1.0)
