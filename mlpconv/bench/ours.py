"""The contender "ours": the loop of `mlpconv train --recipe d2l`, without the run directory."""

import time
from typing import Any, cast

from mlpconv.backends import allocator
from mlpconv.backends.base import Model, StepPlan
from mlpconv.bench.contest import Job
from mlpconv.bench.images import splits
from mlpconv.data import ImageDataset
from mlpconv.jobs.prepare import prepare
from mlpconv.jobs.request import Request
from mlpconv.training import trainer
from mlpconv.training.recipe import change
from mlpconv.training.recipes import get_recipe


def measure(job: Job, **changes: Any) -> dict[str, Any]:
    """Measure images a second at the back end's default precision, and the share of the time that waits for data.

    Args:
        job: What to measure.
        **changes: Changes of the recipe.
    """
    # The command line does this first too.
    allocator.keep_memory()
    data = splits(job.data)
    # The recipe is in float32, as the chapter.
    changes = {"precision": None, **changes, "batch_size": job.batch_size, "image_size": job.image_size}
    recipe = change(get_recipe("d2l"), changes)
    prepared = prepare(Request(recipe=recipe, backend=job.backend, device=job.device), data)
    watch = _Watch(prepared.make_model(), data.train, job)
    watch.attach(data.train.images, data.train.labels)
    model = cast(Model, watch)
    events = trainer.Loop(model, prepared.recipe, prepared.training_data, should_stop=watch.before_step)
    assert isinstance(list(events)[-1], trainer.Stopped)
    return {
        "images_per_second": job.steps * job.batch_size / watch.seconds,
        "wait_share": watch.waiting / watch.seconds,
        "precision": prepared.job.precision,
        "device": prepared.job.device,
    }


class _Watch:
    """A Model that wraps the true one, with a clock. The trainer calls ``before_step``, plans, calls ``train_step``."""

    def __init__(self, model: Model, train: ImageDataset, job: Job) -> None:
        self._model, self._job = model, job
        self._images, self._labels = train.images, train.labels
        self._step = 0
        self._started = self._asked = 0.0
        self.seconds = self.waiting = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def before_step(self) -> bool:
        """Whether all steps are done."""
        if self._step == self._job.warmup:
            self._model.read_metrics()
            self._started, self.waiting = time.perf_counter(), 0.0
        if self._step == self._job.warmup + self._job.steps:
            self._model.read_metrics()
            self.seconds = time.perf_counter() - self._started
            return True
        self._asked = time.perf_counter()
        return False

    def train_step(self, plan: StepPlan) -> None:
        # The true step gathers its batch inside; here it is gathered once more, only for the clock.
        batch = self._images[plan.indices], self._labels[plan.indices]
        self.waiting += time.perf_counter() - self._asked
        assert len(batch[0]) == self._job.batch_size
        self._model.train_step(plan)
        self._step += 1
