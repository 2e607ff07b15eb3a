"""A job with everything in memory that executing it takes: images, start weights, and from them a model and a guard."""

from collections.abc import Callable
from functools import cached_property, lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from mlpconv.arch.network import Network
from mlpconv.arch.preprocess import Preprocess
from mlpconv.backends.base import Backend, Model, Precision, StepPlan, Weights
from mlpconv.backends.processes import place
from mlpconv.backends.registry import get_backend
from mlpconv.backends.weights import Initializer, initialize
from mlpconv.data import ImageDataset, Splits, hold_out
from mlpconv.errors import MlpconvError
from mlpconv.formatting import format_bytes
from mlpconv.jobs import start_weights
from mlpconv.jobs.request import CHECKPOINT_SECONDS
from mlpconv.jobs.run_data import RunData
from mlpconv.runs import checkpoint as checkpoints
from mlpconv.runs.classifier_file import StoredClassifier
from mlpconv.runs.files import write_tensors
from mlpconv.runs.job import Job
from mlpconv.training.forecast import CPU_ALLOWANCE, DEVICE_ALLOWANCE, Fit, Forecast, Saving, fit, forecast, smaller
from mlpconv.training.guard import sample_size
from mlpconv.training.guard_runner import ClassMapSample, GuardMemory, GuardRunner
from mlpconv.training.plan import plan_step
from mlpconv.training.recipe import Recipe
from mlpconv.training.training_data import BEGINNING, LabelledImages, Position, TrainingData

REPORT_SECONDS = 0.5
"""Time for the pictures and the report at the end, as measured (`mlpconv bench forecast`)."""


class PreparedJob:
    """A job that can start; ``prepare`` and ``load_job`` make one."""

    def __init__(self, job: Job, run_data: RunData, start: StoredClassifier | None, seconds: float = 0.0) -> None:
        """
        Args:
            job: The job.
            run_data: Its images, the validation images held out.
            start: The classifier whose weights it starts from: all of them if ``job.start`` names it, else all but the
                last block's. None if the job initializes its own weights.
            seconds: The time that preparing took. It counts as part of the run.
        """
        self.job, self.run_data, self.start, self.seconds = job, run_data, start, seconds
        self.backend: Backend = get_backend(job.backend)
        self.expected: Forecast | None = None

    @property
    def recipe(self) -> Recipe:
        """The recipe of the job."""
        return self.job.recipe

    @property
    def data(self) -> Splits:
        """The training images, without the validation images, and the test images."""
        return self.run_data.splits

    @property
    def validation(self) -> ImageDataset | None:
        """The images held out of the training set; None if there are none."""
        return self.run_data.validation

    @cached_property
    def network(self) -> Network:
        """The network of the job."""
        return self.job.make_network()

    @property
    def training_data(self) -> TrainingData:
        """The images as the training loop takes them."""
        held_out = self.validation
        return TrainingData(
            LabelledImages(self.data.train.images, self.data.train.labels),
            LabelledImages(self.data.test.images, self.data.test.labels),
            self.job.preprocess.size,
            LabelledImages(held_out.images, held_out.labels) if held_out is not None else None,
        )

    def make_model(self) -> Model:
        """A new model with the weights from which training starts."""
        job = self.job
        model = self.backend.build(
            self.network,
            job.preprocess,
            optimizer=job.recipe.optimizer,
            precision=job.precision,
            device=job.device,
        )
        model.load_weights(self.first_weights(self.recipe.seed))
        return model

    def first_weights(self, seed: int, initializer: Initializer | None = None) -> Weights:
        """The weights from which training starts.

        Args:
            seed: The seed of the initializer.
            initializer: By default the recipe's; the guard may choose another one when it starts a run again.
        """
        if self.start is not None and self.job.start is not None:
            return self.start.weights
        biases = self.backend.framework_biases
        first = initialize(self.network, initializer or self.recipe.initializer, seed, framework_biases=biases)
        return first if self.start is None else start_weights.start_from(self.start, self.network, first)

    def make_guard(self, model: Model, memory: GuardMemory | None = None) -> GuardRunner:
        """The guard of this job.

        Args:
            model: The model that it checks.
            memory: What a checkpoint holds of the guard; None for a new run.
        """
        train = self.data.train
        images = self.validation or train
        count = min(sample_size(len(train), train.num_classes), len(images))
        sample = hold_out(images, count, seed=0)[1] if count < len(images) else images
        return GuardRunner(
            model,
            self.recipe,
            train.labels,
            class_names=train.class_names,
            class_maps=ClassMapSample(self.network, sample.images),
            first_weights=None if self.job.start is not None else self.first_weights,
            memory=memory,
        )

    @cached_property
    def _tensor_bytes(self) -> Callable[[int], int]:
        """From a batch size to the peak of tensor bytes, of a step at the largest image size and of an evaluation.

        Of several processes that share a batch, it is the peak of each.
        """
        recipe, job, (train, test) = self.recipe, self.job, self.data
        size = max([job.preprocess.size, *(size for _, size in recipe.image_sizes)])
        step_recipe = Recipe(
            image_size=size,
            optimizer=recipe.optimizer,
            augmentation=recipe.augmentation,
            label_smoothing=recipe.label_smoothing,
        )
        side = train.image_shape[:2]
        step, evaluation = _peaks(
            self.backend, self.network, job.preprocess, side, step_recipe, job.precision, job.device
        )
        return lambda batch: max(step(-(-min(batch, len(train)) // place().size)), evaluation(len(test)))

    def fit(self) -> Fit:
        """Whether the run fits the memory that the device has now, and the largest batch that does. Nothing runs."""
        train = self.data.train.images
        available = self.backend.available_memory(self.job.device)
        batch, most = self.recipe.batch_size, len(train)
        if self.job.device == "cpu":  # the images stay where they are
            if available is not None:  # the processes on this machine share its memory
                available //= place().here
            return fit(self._tensor_bytes, batch, most, available, allowance=CPU_ALLOWANCE)
        return fit(self._tensor_bytes, batch, most, available, allowance=DEVICE_ALLOWANCE, apart=train.nbytes)

    def check_memory(self) -> Fit:
        """The same as ``fit``.

        Raises:
            MlpconvError: The memory is not enough; the message names the largest batch that fits.
        """
        memory = self.fit()
        if memory.available_bytes is not None and not memory.fits:
            raise MlpconvError(
                f"batch size {self.recipe.batch_size}: {self.network.name} needs about "
                f"{format_bytes(memory.needed_bytes)} of memory in training, and {self.job.device} has "
                f"{format_bytes(memory.available_bytes)} left; {smaller(memory.largest_batch)}; --force "
                "(TrainOptions(force=True)) starts anyway"
            )
        return memory

    def forecast(self, start: Position = BEGINNING, folder: Path | None = None) -> Forecast:
        """Forecast time and memory, from a few real steps and a real save.

        Args:
            start: What is done already; the rest of the run is forecast.
            folder: The directory in which to save; by default that of temporary files.
        """

        def save(model: Model) -> None:
            with TemporaryDirectory(prefix=".forecast-", dir=folder) as directory:
                empty = checkpoints.Checkpoint(0, 0, [], [], 0.0, model.training_state())
                checkpoints.save(Path(directory), empty)
                write_tensors(Path(directory) / "weights", model.weights(), {})

        memory = self.fit()
        saving = Saving(save, CHECKPOINT_SECONDS)
        timed = forecast(self.make_model, self.recipe, self.training_data, start=start, saving=saving)
        elapsed = self.seconds if start == BEGINNING else 0.0  # a run's time includes importing the framework
        self.expected = timed._replace(
            seconds=elapsed + timed.seconds + REPORT_SECONDS,
            tensor_bytes=memory.tensor_bytes,
            available_bytes=memory.available_bytes,
            largest_batch=memory.largest_batch,
        )
        return self.expected


@lru_cache(maxsize=32)
def _peaks(
    backend: Backend,
    network: Network,
    preprocess: Preprocess,
    side: tuple[int, int],
    recipe: Recipe,
    precision: Precision,
    device: str,
) -> tuple[Callable[[int], int], Callable[[int], int]]:
    """From a number of images to the peak of tensor bytes, of a training step and of an evaluation.

    It takes a second, and the jobs of a study share it, so a process keeps it.

    Args:
        backend: The back end of the job.
        network: The network of the job.
        preprocess: The preprocessing of the job.
        side: (height, width) of the images in pixels.
        recipe: What a step depends on: image size, optimizer, augmentation and label smoothing.
        precision: The precision of the job.
        device: The device of the job.
    """
    size = recipe.image_size
    assert size is not None

    def plan(batch: int) -> StepPlan:
        return plan_step(msgspec.structs.replace(recipe, batch_size=batch), batch, side, size, 0, 0)

    how: dict[str, Any] = {"optimizer": recipe.optimizer, "precision": precision, "device": device}
    return (
        backend.training_bytes(network, preprocess, side, plan, **how),
        backend.prediction_bytes(network, preprocess, side, **how),
    )
