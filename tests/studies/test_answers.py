"""What a study may say: p values, intervals and corrections against scipy, and no sentence beyond them."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpconv.studies import answers


def test_the_p_value_of_students_t_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    for freedom in (1, 2, 3, 4, 5, 10, 29, 100):
        for t in (0.0, 0.3, -1.0, 2.5, 12.0):
            assert answers.student_p(t, freedom) == pytest.approx(2 * stats.t.sf(abs(t), freedom), abs=1e-9)
    assert answers.student_p(inf, 3) == 0


def test_the_paired_test_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    ours, theirs = draw.normal(0.9, 0.01, 6), draw.normal(0.89, 0.01, 6)
    seeds, difference, low, high, p = answers.paired(dict(enumerate(ours)), dict(enumerate(theirs)))
    expected = stats.ttest_rel(ours, theirs)
    assert seeds == 6
    assert difference == pytest.approx((ours - theirs).mean())
    assert p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high), abs=1e-5)


def test_only_shared_seeds_are_compared():
    assert answers.paired({0: 1.0, 1: 2.0}, {1: 1.0, 2: 5.0}) is None
    assert answers.paired({0: 1.0, 1: 2.0, 5: 9.0}, {0: 0.0, 1: 1.0, 2: 7.0})[:2] == (2, 1.0)


def test_constant_differences_have_p_0_and_no_differences_have_p_1():
    assert answers.paired({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.5})[-1] == 0
    assert answers.paired({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})[-1] == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_the_holm_correction(values):
    found = answers.holm(values)
    assert all(p <= adjusted <= 1 for p, adjusted in zip(values, found, strict=True))
    smallest = min(range(len(values)), key=lambda index: values[index])
    assert found[smallest] == min(1, len(values) * values[smallest])
    order = sorted(range(len(values)), key=lambda index: values[index])
    assert [found[index] for index in order] == sorted(found)


def test_the_example_of_holms_paper():
    assert answers.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def result(complete=True, **values):
    """A result with an arm for each keyword: its test accuracies, None for a seed that failed."""
    arms = []
    for index, (name, accuracies) in enumerate(values.items()):
        rows = [
            {"seed": seed, "test_accuracy": value, "failed": None if value is not None else "diverged"}
            for seed, value in enumerate(accuracies)
        ]
        arms.append({"name": name, "seeds": rows, "parameters": 100 * (index + 1), "flops": 50, "seconds": 1.0})
    return {"arms": arms, "complete": complete}


def say(found, pairs):
    return answers.sentences(found, answers.compare(found, pairs, "test_accuracy"), "test accuracy")


def test_a_clear_difference_is_stated_with_its_cost():
    found = result(base=[0.80, 0.81, 0.79, 0.80], more=[0.90, 0.91, 0.89, 0.905])
    (said,) = say(found, [("more", "base")])
    assert said.startswith("more has a higher test accuracy than base (+0.1012, 95 % interval +0.0")
    assert said.endswith("4 seeds), at 2 × the parameters.")
    (back,) = say(found, [("base", "more")])
    assert "base has a lower test accuracy than more" in back


def test_a_difference_within_chance_is_not_stated():
    (said,) = say(result(base=[0.80, 0.90, 0.85], more=[0.83, 0.84, 0.92]), [("more", "base")])
    assert said.startswith("more and base cannot be distinguished by test accuracy (+0.01")


def test_many_comparisons_need_stronger_evidence():
    values = {"base": [0.80, 0.81, 0.79]} | {f"arm{k}": [0.83, 0.83, 0.83] for k in range(5)}
    alone = answers.compare(result(**values), [("arm0", "base")], "test_accuracy")
    several = answers.compare(result(**values), [(f"arm{k}", "base") for k in range(5)], "test_accuracy")
    assert answers.verdict(alone[0]) == "higher"
    assert alone[0].p == several[0].p
    assert answers.verdict(several[0]) == "not distinguished"


def test_one_seed_gives_no_answer():
    found = result(base=[0.5], more=[0.9])
    assert say(found, [("more", "base")]) == [
        "With fewer than two seeds an arm, nothing can be said about differences."
    ]


def test_failures_and_missing_runs_are_stated():
    said = say(result(complete=False, base=[0.8, 0.8, None], more=[0.9, 0.91, 0.92]), [("more", "base")])
    assert "2 seeds" in said[0]
    assert said[1:] == [
        "base: training failed with 1 of 3 seeds.",
        "The study is not complete; run the same command to continue.",
    ]


def test_runs_that_did_not_learn_are_left_out_in_a_sentence_after_the_others():
    found = result(base=[0.80, 0.81, 0.79, 0.80, 0.81], more=[0.70, 0.72, 0.69, 0.705, 0.10])
    for arm in found["arms"]:
        for row in arm["seeds"]:
            row["outcome"] = "learns" if row["test_accuracy"] > 0.5 else "stalls"
    pairs = [("more", "base")]
    comparisons = answers.compare(found, pairs, "test_accuracy")
    assert answers.verdict(comparisons[0]) == "not distinguished"
    (said,) = answers.among_learners(found, comparisons, "test_accuracy", "test accuracy")
    assert said.startswith("Where both learn: more has a lower test accuracy than base (-0.0963, 95 % interval -0.1")
    assert said.endswith(", 4 seeds).")
    # Nothing is said where all learn, or where fewer than three seeds are left.
    for kinds in (["learns"] * 5, ["learns", "learns", "stalls", "stalls", "stalls"]):
        for row, kind in zip(found["arms"][1]["seeds"], kinds, strict=True):
            row["outcome"] = kind
        assert answers.among_learners(found, comparisons, "test_accuracy", "test accuracy") == []


def test_a_map_of_results_is_described():
    kinds = {"a": ["learns", "learns"], "b": ["learns", "diverges"], "c": ["stalls", "stalls"]}
    found = {"arms": [{"name": name, "seeds": [{"outcome": kind} for kind in ended]} for name, ended in kinds.items()]}
    assert answers.outcomes(found) == ["learns: a, b (1 of 2).", "stalls: c.", "diverges: b (1 of 2)."]
    assert answers.outcomes({"arms": found["arms"][:1]}) == []


def test_a_very_small_probability_is_not_printed_as_zero():
    assert [answers.chance(p) for p in (0.5, 0.000123, 0.00001, 0.0)] == [
        "p = 0.5",
        "p = 0.00012",
        "p < 0.0001",
        "p < 0.0001",
    ]


def test_the_best_arm_is_named_with_those_it_does_not_differ_from():
    found = result(a=[0.90, 0.91, 0.92], b=[0.89, 0.92, 0.91], c=[0.1, 0.11, 0.12])
    for arm in found["arms"]:
        values = [row["test_accuracy"] for row in arm["seeds"]]
        arm["summary"] = {"test_accuracy": {"mean": float(np.mean(values))}}
    (said,) = answers.best(found, "test_accuracy", "test accuracy")
    assert said == "The highest mean test accuracy is that of a, 0.9100; it cannot be distinguished from b."
