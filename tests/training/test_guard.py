"""What the guard sees in numbers, and what it decides: no model, no training."""

import json
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.backends.base import Metrics
from mlpconv.backends.weights import INITIALIZERS
from mlpconv.training.guard import (
    MAX_REPAIRS,
    MIN_STEPS_TO_DIE,
    STEPS_TO_LEARN,
    Guard,
    dead_classes,
    restart_seed,
    sample_size,
)
from mlpconv.training.problems import (
    PRECEDENCE,
    Action,
    Decision,
    Event,
    GuardState,
    Problem,
    Tally,
    is_hopeless,
    is_minor,
    is_repair,
    reason_to_continue,
)
from mlpconv.training.recipe import Recipe
from support.documentation import DOCS

LABELS = np.arange(1000) % 10


def guard(policy="repair", *, maps=False, labels=LABELS, start="xavier", **tally):
    recipe = Recipe(on_trouble=policy, initializer=INITIALIZERS[start])
    found = Guard(recipe, labels, 10, maps=maps, sample=20)
    found.state.tally = Tally(**{"image_size": 8, "steps": 1000, **tally})
    return found


def check(watcher, loss, *, examples=128, skipped=0, step=10, ended=True, maps=None, last=False, image_size=8):
    metrics = Metrics(loss * examples, 0, examples, skipped)
    return watcher.check(metrics, image_size, step, ended=ended, class_maps=lambda: maps, last=last)


def event(action, trouble="not-finite", classes=()):
    return Event(
        epoch=1,
        step=1,
        place=0.1,
        trouble=trouble,
        what="x",
        classes=classes,
        action=action,
        done="y",
        back_to=0.0,
        rate=1.0,
    )


def example(problem_type):
    """What a guard finds in an interval that shows a problem of this type."""
    match problem_type:
        case "not-finite":
            return check(guard(best=0.5, learned=True), 0.5, skipped=3)
        case "loss-spike":
            return check(guard(best=0.5, learned=True), 2.0)
        case "dead-class":
            return check(guard(best=0.5, learned=True, maps=True), 0.5, maps=maps([3]))
        case "nothing-learned":
            return check(guard(steps=STEPS_TO_LEARN), 2.31)
        case "update-left-out":
            return check(guard(best=0.5, learned=True), 0.5, skipped=1)
        case _:
            pytest.fail(f"the test needs an example of {problem_type}")


@pytest.mark.parametrize("problem_type", PRECEDENCE)
def test_each_problem_is_found_and_each_policy_decides_about_it(problem_type):
    found = example(problem_type)
    assert found.problem.type == problem_type
    assert not found.sound
    minor = is_minor(problem_type)
    assert guard("ignore").decide(found.problem, 0.5) == Decision("ignored")
    assert guard("stop").decide(found.problem, 0.5) == (Decision("went on") if minor else None)
    for learned in (False, True):
        assert is_repair(guard("repair", learned=learned).decide(found.problem, 0.5).action) == (not minor)
    assert not is_hopeless(problem_type, Metrics(examples=1000))
    assert reason_to_continue(problem_type)


def test_docs_and_schema_list_every_problem_and_action():
    schema = json.loads((DOCS / "json" / "train.schema.json").read_text(encoding="utf-8"))
    event = schema["properties"]["repairs"]["items"]["properties"]
    assert sorted(event["trouble"]["enum"]) == sorted(PRECEDENCE)
    assert sorted(event["action"]["enum"]) == sorted(get_args(Action))
    section = (DOCS / "why-nin-collapses.md").read_text(encoding="utf-8").partition("\n## What the guard does\n")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    described = [line.strip("| ").split(" | ")[0] for line in lines[2:]]
    assert sorted(described) == sorted(problem_type.replace("-", " ") for problem_type in PRECEDENCE)


def test_sums_begin_at_zero_in_every_epoch():
    watcher = guard(maps=True)
    watcher.check(Metrics(0.5 * 128, 100, 128, 5), 8, 10, ended=True, class_maps=lambda: maps())
    held = [name for name in (*Metrics._fields, "step") if hasattr(watcher.state.tally, name)]
    assert all(getattr(watcher.state.tally, name) for name in held)
    watcher.begin_epoch()
    assert {name: getattr(watcher.state.tally, name) for name in held} == dict.fromkeys(held, 0)


@pytest.mark.parametrize(
    ("tally", "loss", "kind"),
    [
        ({"best": 0.4}, 0.9, None),
        ({"best": 0.4}, 1.6, "loss-spike"),
        ({"best": 1.5}, 2.3, "loss-spike"),
        ({"best": 2.2}, 2.31, "nothing-learned"),
        ({"best": 2.2, "learned": True}, 2.31, None),
        ({"best": 2.2, "steps": 0}, 2.31, None),
        ({}, 40.0, "nothing-learned"),
        ({"steps": 0}, 40.0, None),
        ({"best": 40.0, "steps": 0}, 41.0, "loss-spike"),
    ],
)
def test_losses(tally, loss, kind):
    found = check(guard(**tally), loss)
    assert (found.problem.type if found.problem else None) == kind
    assert found.loss == pytest.approx(loss)
    assert found.sound == (kind is None)


def test_losses_are_those_since_the_last_check():
    watcher = guard(best=0.5, learned=True)
    check(watcher, 0.5)
    metrics = Metrics(0.5 * 128 + 3.0 * 128, 0, 256, 0)
    found = watcher.check(metrics, 8, 20, ended=True, class_maps=lambda: None)
    assert found.loss == pytest.approx(3.0)
    assert found.problem.type == "loss-spike"


def test_another_image_size_may_start_with_a_higher_loss():
    assert check(guard(best=0.2), 1.9, image_size=16).problem is None


def test_chance_is_the_entropy_of_the_labels():
    uneven = np.repeat([0, 1], [900, 100])
    assert guard(labels=uneven).chance == pytest.approx(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)))
    assert check(guard(labels=uneven), 0.33).problem.type == "nothing-learned"
    assert check(guard(labels=np.zeros(50, int)), 0.0).problem is None


@pytest.mark.parametrize(
    ("skipped", "examples", "kind"),
    [
        (0, 128, None),
        (1, 128, "update-left-out"),
        (2, 128, "update-left-out"),
        (3, 128, "not-finite"),
        (1, 0, "not-finite"),
    ],
)
def test_skipped_updates(skipped, examples, kind):
    found = check(guard(best=0.5, learned=True), 0.4, skipped=skipped, examples=examples)
    assert (found.problem.type if found.problem else None) == kind


def test_few_images_are_checked_only_at_the_end_of_an_epoch():
    watcher = guard(best=0.1)
    assert check(watcher, 9.0, examples=8, ended=False) == (None, None, False)
    assert watcher.state.tally.examples == 0


def maps(shut=(), share=0.0, classes=10):
    values = np.ones((20, classes, 5, 10), np.float32)
    values[:, list(shut)] = 0
    if share:
        flat = values.transpose(1, 0, 2, 3).reshape(classes, -1).copy()
        flat[list(shut), : round(share * flat.shape[1])] = 1
        values = flat.reshape(classes, 20, 5, 10).transpose(1, 0, 2, 3)
    return values


def test_a_class_is_dead_if_its_map_is_zero_at_999_of_1000_positions():
    assert dead_classes(maps([2, 7])) == [2, 7]
    assert dead_classes(maps([2], share=0.001)) == [2]
    assert dead_classes(maps([2], share=0.002)) == []
    assert dead_classes(-maps()) == list(range(10))


@given(st.sets(st.integers(0, 9)))
def test_dead_classes_are_reported_by_number(shut):
    found = check(guard(maps=True, best=0.5, learned=True), 0.5, maps=maps(shut))
    assert (found.problem.classes if found.problem else ()) == tuple(sorted(shut))
    assert found.sound == (not shut)


def test_a_class_without_images_may_be_dead():
    labels = LABELS[LABELS != 3]
    assert check(guard(maps=True, best=0.5, labels=labels), 0.5, maps=maps([3])).problem is None


def test_classes_are_checked_when_it_is_cheap():
    watcher = guard(maps=True, best=0.5)
    found = check(watcher, 0.5, ended=False, maps=maps([1]))
    assert (found.problem, found.sound) == (None, False)  # 128 images since: too soon for a sample of 20
    found = check(watcher, 0.5, examples=60 * 20, ended=False, maps=maps([1]))
    assert found.problem.type == "dead-class"


def test_no_class_is_reported_dead_in_the_first_steps_unless_they_are_the_last():
    assert check(guard(maps=True, steps=0), 2.0, maps=maps([1]), step=MIN_STEPS_TO_DIE - 1).problem is None
    assert check(guard(maps=True, steps=0), 2.0, maps=maps([1]), step=MIN_STEPS_TO_DIE).problem.type == "dead-class"
    assert check(guard(maps=True, steps=0), 2.0, maps=maps([1]), step=3, last=True).problem.type == "dead-class"


# Decisions

DEAD, NAN = Problem("dead-class", "x", (2,)), Problem("not-finite", "x")


def test_stop_and_ignore():
    assert guard("stop").decide(NAN, 0.5) is None
    assert guard("ignore").decide(NAN, 0.5).action == "ignored"
    for policy in ("stop", "repair"):
        assert guard(policy).decide(Problem("update-left-out", "x"), 0.5) == ("went on", 1.0)


def test_repairs():
    assert guard(learned=True).decide(NAN, 0.5) == ("rolled back", 0.5)
    assert guard().decide(NAN, 0.5) == ("started again", 0.5)
    assert guard(learned=True).decide(DEAD, 0.5) == ("reopened", 1.0)
    assert guard(learned=True).decide(DEAD, 0.01) == ("rolled back", 0.5)
    everything = Problem("dead-class", "x", tuple(range(10)))
    assert guard(learned=True).decide(everything, 0.5) == ("rolled back", 0.5)
    assert guard().decide(everything, 0.5) == ("started again", 0.5)
    assert guard(steps=STEPS_TO_LEARN).decide(Problem("nothing-learned", "x"), 0.5) == ("started again", 0.5)


def test_a_repair_that_did_not_help_becomes_stronger():
    watcher = guard()
    watcher.state.restarts = 1
    assert watcher.decide(NAN, 0.5) == ("started again", 0.1)
    watcher = guard(learned=True)
    watcher.state.events = [event("reopened", "dead-class", (2,))]
    assert watcher.decide(DEAD, 0.5) == ("reopened", 0.5)
    assert watcher.decide(Problem("dead-class", "x", (3,)), 0.5) == ("reopened", 1.0)
    watcher.state.events = [event("rolled back", "dead-class", (2,))]
    assert watcher.decide(DEAD, 0.0) == ("started again", 0.5)


def test_a_restart_resets_the_repairs_of_a_class():
    watcher = guard(learned=True)
    watcher.state.events = [event("reopened", "dead-class", (2,)), event("started again")]
    assert watcher.decide(DEAD, 0.5) == ("reopened", 1.0)


@pytest.mark.parametrize(
    ("maps", "start", "rates"),
    [(True, "xavier", [1, 0.5, 0.1, 0.1]), (True, "open", [0.5, 0.1, 0.1]), (False, "xavier", [0.5, 0.1, 0.1])],
)
def test_if_nothing_was_learned_the_start_is_replaced_before_the_rate(maps, start, rates):
    watcher = guard(maps=maps, start=start)
    for restarts, rate in enumerate(rates):
        watcher.state.restarts = restarts
        assert watcher.decide(Problem("nothing-learned", "x"), 0.5) == ("started again", rate)


def test_classes_that_are_dead_before_learning_cause_one_restart():
    watcher = guard(maps=True)
    assert watcher.decide(DEAD, 0.5) == ("started again", 1.0)
    watcher.state.restarts = 1
    assert watcher.decide(DEAD, 0.5) == ("reopened", 1.0)
    assert guard(maps=True, learned=True).decide(DEAD, 0.5) == ("reopened", 1.0)
    assert guard(maps=True, start="open").decide(DEAD, 0.5) == ("reopened", 1.0)


def test_repairs_are_bounded():
    watcher = guard(learned=True)
    watcher.state.events = [event("went on")] * 50 + [event("rolled back")] * (MAX_REPAIRS - 1)
    assert watcher.decide(NAN, 0.5) is not None
    watcher.state.events.append(event("rolled back"))
    assert watcher.decide(NAN, 0.5) is None


def test_a_run_of_a_few_steps_is_not_repaired_at_its_end():
    assert guard(steps=MIN_STEPS_TO_DIE - 1).decide(DEAD, 0.0) == ("went on", 1.0)


def test_the_state_of_the_guard_is_restored_from_its_file():
    import msgspec

    state = GuardState(rate=0.5, restarts=2, good=(1, 5), events=[event("rolled back")])
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(state)), GuardState) == state


def test_the_sample_is_a_small_part_of_the_images():
    assert sample_size(60_000, 10) == 256
    assert sample_size(1_437, 10) == 40
    assert sample_size(100_000, 100) == 1000
    assert sample_size(7, 3) == 7


def test_seeds_of_new_starts_differ():
    assert restart_seed(5, 0) == 5
    assert len({restart_seed(seed, count) for seed in range(20) for count in range(9)}) == 180
    assert restart_seed(2**63 - 1, 8) < 2**63
