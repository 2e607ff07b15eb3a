"""Arms × seeds: every run a directory, what is over is not trained again, an interruption loses nothing."""

import statistics

import numpy as np
import pytest

from mlpconv.arch.layers import Conv2d, Flatten, GlobalAvgPool2d
from mlpconv.arch.network import Block, Network
from mlpconv.data import ImageDataset, Splits
from mlpconv.errors import RecipeError, RunError
from mlpconv.jobs.prepared import PreparedJob
from mlpconv.runs.run import Failure, Run
from mlpconv.studies.runner import Arm, StudyOptions, carry_out, measure, ready, study
from mlpconv.studies.summary import summarize
from mlpconv.training.recipe import Recipe

pytest.importorskip("torch")
LABELS = np.arange(24) % 2
IMAGES = np.random.default_rng(0).integers(0, 60, (24, 4, 4, 1), dtype=np.uint8)
IMAGES[LABELS == 1, :2] += 180
DATA = Splits(
    ImageDataset(IMAGES, LABELS, ("low", "high"), "halves/train"),
    ImageDataset(IMAGES[:8], LABELS[:8], ("low", "high"), "halves/test"),
)
ARMS = [Arm("slow"), Arm("fast", {"learning_rate": 0.5}, "a larger rate")]


def halves(num_classes=2, input_channels=1):
    return Network(
        Block(conv=Conv2d(num_classes, 2)), GlobalAvgPool2d(), Flatten(), input_channels=input_channels, input_size=4
    )


BASE = Recipe(model=f"{__name__}:halves", epochs=2, batch_size=6, learning_rate=0.01, precision="float32")


def made(arms=ARMS):
    return ready(BASE, arms, lambda arm: DATA, StudyOptions(device="cpu"))


def go(path, arms=ARMS, seeds=2, measure=lambda run, data: measure(run), **options):
    return study("rates", made(arms), seeds, path, StudyOptions(device="cpu", **options), measure=measure)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("study")
    return path, go(path)


def test_each_arm_runs_every_seed(whole):
    path, result = whole
    assert result["complete"]
    assert [arm["name"] for arm in result["arms"]] == ["slow", "fast"]
    for arm in result["arms"]:
        assert [row["seed"] for row in arm["seeds"]] == [0, 1]
        runs = [Run(path / arm["name"] / f"seed-{seed}") for seed in (0, 1)]
        assert [row["test_accuracy"] for row in arm["seeds"]] == [run.result.test_accuracy for run in runs]
        assert {run.config.recipe.learning_rate for run in runs} == {arm["changes"].get("learning_rate", 0.01)}
        assert arm["summary"]["loss"]["mean"] == pytest.approx(statistics.fmean(row["loss"] for row in arm["seeds"]))
    slow, fast = (arm["summary"]["loss"]["mean"] for arm in result["arms"])
    assert fast < slow


def test_finished_runs_are_not_trained_again(whole, monkeypatch):
    path, result = whole
    monkeypatch.setattr(PreparedJob, "make_model", lambda self: pytest.fail("a finished run was trained"))
    lines = []
    assert go(path, progress=lines.append) == result
    assert [line.partition(":")[0] for line in lines] == [
        "slow, seed 0",
        "fast, seed 0",
        "slow, seed 1",
        "fast, seed 1",
    ]


def test_a_resumed_study_has_the_same_results(whole, tmp_path):
    steps = []
    first = go(tmp_path, should_stop=lambda: len(steps) > 11 or steps.append(1))
    assert not first["complete"]
    assert [len(arm["seeds"]) for arm in first["arms"]] == [1, 0]
    second = go(tmp_path)
    assert second["complete"]
    for ours, theirs in zip(second["arms"], whole[1]["arms"], strict=True):
        for key in ("test_accuracy", "loss"):
            assert [row[key] for row in ours["seeds"]] == [row[key] for row in theirs["seeds"]]


def test_a_study_continues_from_the_result_of_an_earlier_call(whole, tmp_path):
    """On another machine the run directories are missing, but not the numbers."""
    lines = []
    again = go(tmp_path, seeds=3, previous=whole[1], progress=lines.append)
    assert again["complete"]
    for ours, theirs in zip(again["arms"], whole[1]["arms"], strict=True):
        assert ours["seeds"][:2] == theirs["seeds"]
        assert [row["seed"] for row in ours["seeds"]] == [0, 1, 2]
        assert sorted(path.name for path in (tmp_path / ours["name"]).iterdir()) == ["seed-2"]
    assert lines[0].startswith("2 runs to train: about ")
    assert [line.partition(":")[0] for line in lines[1:]] == [f"{arm.name}, seed {k}" for k in range(3) for arm in ARMS]
    assert lines[-2].endswith(" left")
    assert not lines[-1].endswith(" left")
    same_machine = [each for each in again["earlier"] if each["hardware"] == again["hardware"]]
    assert again["earlier"] == same_machine == []


def test_where_the_earlier_runs_were_measured_is_kept(whole, tmp_path):
    elsewhere = {"hardware": {"processor": "another"}, "precision": "float32", "versions": {}, "date": "2020-01-01"}
    second = go(tmp_path, seeds=3, previous={**whole[1], **elsewhere})
    assert second["earlier"] == [elsewhere]
    assert second["date"] > "2026"
    third = go(tmp_path / "empty", seeds=3, previous=second)
    assert {key: third[key] for key in second} == second
    assert not (tmp_path / "empty").exists()


def test_only_the_new_arm_of_an_extended_study_is_trained(whole, tmp_path):
    result = go(tmp_path, [*ARMS, Arm("faster", {"learning_rate": 1.0})], previous=whole[1])
    assert [arm["name"] for arm in result["arms"]] == ["slow", "fast", "faster"]
    assert [path.name for path in tmp_path.iterdir()] == ["faster"]


def test_an_arm_with_other_settings_is_trained_again(whole, tmp_path):
    result = go(tmp_path, [ARMS[0], Arm("fast", {"learning_rate": 0.4})], previous=whole[1])
    assert [path.name for path in tmp_path.iterdir()] == ["fast"]
    assert result["arms"][1]["settings"] != whole[1]["arms"][1]["settings"]
    assert result["arms"][0]["settings"] == whole[1]["arms"][0]["settings"]


def test_an_arm_may_have_fewer_images(tmp_path):
    few = Splits(ImageDataset(IMAGES[:12], LABELS[:12], ("low", "high"), "halves-12/train"), DATA.test)
    arms = ready(BASE, [Arm("few", images=12)], lambda arm: few if arm.images == 12 else DATA)
    result = study("rates", arms, 1, tmp_path, measure=lambda run, data: {"images": len(data.train), **measure(run)})
    assert Run(tmp_path / "few" / "seed-0").config.data.train == 12
    assert (result["arms"][0]["images"], result["arms"][0]["seeds"][0]["images"]) == (12, 12)


def test_a_failed_run_is_a_result_and_the_study_continues(tmp_path):
    changes = {"learning_rate": 1e38, "epochs": 3, "batch_size": 1, "on_trouble": "ignore"}
    result = go(tmp_path, [Arm("wild", changes), *ARMS], seeds=1)
    wild, slow, _ = result["arms"]
    assert "not finite" in wild["seeds"][0]["failed"]
    assert slow["seeds"][0]["failed"] is None
    assert result["complete"]
    assert go(tmp_path, [Arm("wild", wild["changes"]), *ARMS], seeds=1)["arms"][0]["seeds"] == wild["seeds"]


def test_a_failure_names_files_from_the_studys_directory(tmp_path):
    go(tmp_path, ARMS[:1], seeds=1)
    run = Run(tmp_path / "slow" / "seed-0")
    run.write_failure(Failure(f"not finite; the best weights are kept in {run.path / 'weights.safetensors'}"))
    assert measure(run)["failed"] == "not finite; the best weights are kept in slow/seed-0/weights.safetensors"


def test_an_arm_can_take_several_times_as_many_seeds(tmp_path):
    slow, fast = ARMS
    result = go(tmp_path, [slow, fast._replace(seed_factor=3)], seeds=1)
    assert result["complete"]
    assert [[row["seed"] for row in arm["seeds"]] for arm in result["arms"]] == [[0], [0, 1, 2]]


def test_values_that_some_seeds_lack_are_not_summarized(tmp_path):
    # A run that failed has no result, so a study's own measures are missing there.
    def measured(run, data):
        seed = run.config.recipe.seed
        return measure(run) | ({} if seed == 1 else {"rank": seed}) | {"odd": seed if seed else None}

    result = go(tmp_path, ARMS[:1], seeds=3, measure=measured)
    assert [row.get("rank") for row in result["arms"][0]["seeds"]] == [0, None, 2]
    assert result["arms"][0]["summary"].keys().isdisjoint({"rank", "odd", "seed"})
    assert result["arms"][0]["summary"]["loss"]["runs"] == 3


def test_another_base_recipe_in_the_same_directory_is_refused(whole):
    with pytest.raises(RunError, match="cannot be resumed with other settings"):
        carry_out(made([Arm("slow", {"epochs": 3})])[0], 0, whole[0], StudyOptions(device="cpu"))


def test_the_error_of_an_invalid_change_names_its_arm(tmp_path):
    with pytest.raises(RecipeError, match="arm odd: recipe: unknown key"):
        go(tmp_path, [Arm("odd", {"rate": 1})])
    assert not list(tmp_path.iterdir())


def test_the_intervals_follow_students_t_distribution():
    stats = pytest.importorskip("scipy.stats")
    for count in (2, 3, 5, 20, 31, 32, 60, 200):
        values = np.random.default_rng(count).normal(0.9, 0.02, count).tolist()
        found = summarize(values)
        low, high = stats.t.interval(0.95, count - 1, np.mean(values), stats.sem(values))
        assert (found.low, found.high) == (pytest.approx(low, abs=2e-4), pytest.approx(high, abs=2e-4))
        assert (found.median, found.least, found.most) == (np.median(values), min(values), max(values))
    assert summarize([0.5]) == (1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
