"""A request and a job are data: they can be compared and stored, and a stored job can be executed."""

import msgspec
import pytest

from mlpconv.data import Splits
from mlpconv.errors import RecipeError, RunError
from mlpconv.jobs.execute import execute
from mlpconv.jobs.prepare import choose_recipe, finished_run, load_job, prepare
from mlpconv.jobs.request import ExecuteOptions, Request
from mlpconv.runs.job import Job
from mlpconv.runs.run import Run
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe
from support import tiny_training
from support.run_contents import contents_without_times

pytest.importorskip("torch")

REQUESTS = [
    Request(),
    Request(recipe="quick", changes={"epochs": 2, "optimizer": {"momentum": 0.9}}, settings={"model": "nin_28"}),
    Request(
        recipe=tiny_training.recipe(), device="cpu", precision="float32", deterministic=True, start_from="runs/one"
    ),
    Request(resume_from="runs/one", resume_override={"epochs": 5, "device": "cuda"}, strict=True),
]


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_can_be_stored_and_compared(request_):
    stored = msgspec.json.encode(request_)
    assert msgspec.json.decode(stored, type=Request) == request_
    assert "Request(recipe=" in repr(request_)
    with pytest.raises(AttributeError, match="immutable"):
        request_.device = "cpu"


@pytest.mark.parametrize("changes", [{}, {"optimizer": "sgd", "image_sizes": [[0, 6], [1.5, 12]], "validation": 0.1}])
def test_a_job_can_be_stored_and_compared(changes):
    job = tiny_training.prepared(**changes).job
    assert msgspec.json.decode(job.to_json(), type=Job) == job
    assert job == tiny_training.prepared(**changes).job
    assert job != tiny_training.prepared(**changes, seed=1).job
    assert job.data.fingerprint == tiny_training.DATA.train.fingerprint()
    with pytest.raises(AttributeError, match="immutable"):
        job.device = "cuda"


def test_a_job_that_was_stored_gives_the_same_run(whole, tmp_path):
    path, _ = whole
    job = Run(path).config
    assert job == tiny_training.prepared().job
    list(execute(load_job(job, tiny_training.DATA), tmp_path / "run"))
    assert contents_without_times(tmp_path / "run") == contents_without_times(path)


def test_a_job_loads_its_images_by_name(tmp_path):
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    changes = {"model": "nin_28", "data": "digits", "image_size": 8, "epochs": 1, "batch_size": 480, "validation": 0.2}
    request = Request(recipe="quick", changes=changes, settings={"precision": "float32"}, device="cpu")
    job = prepare(request).job
    assert job.data.validation == 287
    (*_, ended) = execute(job, tmp_path / "run")
    assert ended.epoch == 0
    again = execute(job, tmp_path / "run", ExecuteOptions(resume=True))
    assert list(again) == []
    assert again.run.result.epochs == 1


def test_a_job_refuses_other_images():
    job = tiny_training.prepared().job
    with pytest.raises(RunError, match=r"stripes: the images are not those of the job:\n  data\.fingerprint: "):
        load_job(job, tiny_training.splits(seed=1))
    fewer = Splits(tiny_training.DATA.train.subset(range(69), name="stripes/train"), tiny_training.DATA.test)
    with pytest.raises(RunError, match=r"data\.train: 70, now 69"):
        load_job(job, fewer)


def test_a_request_that_repeats_a_run_takes_its_recipe(whole):
    path = str(whole[0])
    assert choose_recipe(Request(repeat=path)).recipe == Run(path).config.recipe
    assert choose_recipe(Request(repeat=path, changes={"seed": 3})).recipe.seed == 3
    with pytest.raises(RecipeError, match="--from and --recipe: both say which recipe to take"):
        choose_recipe(Request(repeat=path, recipe="quick"))


def test_a_request_that_changes_nothing_of_a_finished_run_needs_no_work(whole):
    path = str(whole[0])
    assert finished_run(Request(resume_from=path)).path == whole[0]
    assert finished_run(Request(resume_from=path, resume_override={"epochs": 9})) is None
    assert finished_run(Request(repeat=path)) is None


def test_settings_come_after_changes_and_a_new_model_drops_the_image_size():
    chosen = choose_recipe(Request(recipe="quick", changes={"epochs": 2, "image_size": 20}, settings={"epochs": 4}))
    assert (chosen.recipe.epochs, chosen.recipe.image_size, chosen.name) == (4, 20, "quick")
    chosen = choose_recipe(Request(recipe="quick", settings={"model": "nin_28"}))
    assert chosen.recipe == change(get_recipe("quick"), {"model": "nin_28"})
    assert chosen.recipe.image_size is None


def test_a_target_holds_out_validation_images_unless_a_share_is_given():
    assert choose_recipe(Request(changes={"patience": 2})).recipe.validation == 0.1
    assert choose_recipe(Request(changes={"patience": 2, "validation": 0.3})).recipe.validation == 0.3
    with pytest.raises(RecipeError, match="patience needs validation images"):
        choose_recipe(Request(settings={"patience": 2}))


def test_a_run_that_is_resumed_decides_what_the_request_leaves_open(whole):
    path, _ = whole
    resumed = prepare(Request(resume_from=str(path)), tiny_training.DATA).job
    assert resumed == Run(path).config
