"""A training run from recipe to run directory: prepared first, so that every mistake is found before any work."""

import time
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from mlpconv.arch.network import Network
from mlpconv.arch.shapes import output_shape
from mlpconv.backends.base import Backend, Model, Precision, State, StepPlan, Weights
from mlpconv.backends.registry import get_backend
from mlpconv.backends.weights import Initializer, check_weights, initialize, weight_shapes
from mlpconv.data import ImageDataset, Splits, hold_out
from mlpconv.data.image import background, fitting_preprocess
from mlpconv.errors import MlpconvError, NetworkError, PrecisionError, RecipeError
from mlpconv.formatting import format_bytes as in_words
from mlpconv.jobs import run_data, start_weights
from mlpconv.jobs.recorder import CHECKPOINT_SECONDS, Recorder
from mlpconv.models import create_model
from mlpconv.runs import checkpoint as checkpoints
from mlpconv.runs.classifier_file import StoredClassifier
from mlpconv.runs.files import write_tensors
from mlpconv.runs.run import Config, DataInfo
from mlpconv.training.forecast import CPU_ALLOWANCE, DEVICE_ALLOWANCE, Fit, Forecast, fit, forecast, smaller
from mlpconv.training.guard import GuardState, sample_size
from mlpconv.training.guard_runner import GuardRunner
from mlpconv.training.plan import epochs_of, plan_step
from mlpconv.training.recipe import Recipe

REPORT_SECONDS = 0.5
"""For the pictures and the report at the end, as measured (`mlpconv bench forecast`)."""


class Session:
    """One training run, ready to start.

    recipe: what to do. recipe_name: what it is called. data: the data set, where it is not to be loaded by the recipe's
    name. precision: what to take where the recipe leaves it open, else the device's fastest. deterministic: only
    deterministic algorithms, in this whole process. start: a run or classifier, of any back end, with whose weights to
    begin instead of the recipe's initialiser. Raises MlpconvErrors for everything that cannot be carried out, before
    anything is written. goes_on: the directory of a run that is to go on; what it began with is read there, so that
    where it came from may be gone, or be trained further. seconds: what preparing took, reading the data included; the
    run's time begins with it.
    """

    config: Config
    network: Network
    data: Splits
    validation: ImageDataset | None = None
    expected: Forecast | None = None

    def __init__(
        self,
        recipe: Recipe,
        *,
        recipe_name: str = "custom",
        data: Splits | None = None,
        data_directory: str | Path | None = None,
        backend: str = "torch",
        device: str | None = None,
        precision: Precision | None = None,
        deterministic: bool = False,
        start: str | Path | None = None,
        goes_on: Path | None = None,
        options: run_data.Options = run_data.DEFAULT_OPTIONS,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        began = time.perf_counter()
        self.backend: Backend = get_backend(backend)
        try:
            device, precision = self.backend.choose(device, recipe.precision or precision)
        except PrecisionError as error:
            if goes_on is None:
                raise
            raise PrecisionError(
                f"{goes_on}: the run computes in bfloat16, which this processor cannot, so a resume here would not be "
                f"exact; to continue it in float32: --resume-with precision=float32 ({error})"
            ) from None
        if deterministic:
            self.backend.set_deterministic(device)
        if start is not None and recipe.pretrained:
            raise RecipeError(
                f"--weights {start} and --pretrained {recipe.pretrained}: both say with what to begin; give one"
            )
        recipe, self.pretrained = start_weights.resolve_start(recipe, goes_on)
        self.material = run_data.load_run_data(recipe, data, data_directory, options, progress)
        self.data, self.validation, recipe = self.material.splits, self.material.validation, self.material.recipe
        whole = self.data.train
        epochs = epochs_of(recipe, len(whole))
        patience = -(-recipe.patience * epochs // recipe.epochs)
        recipe = msgspec.structs.replace(recipe, epochs=epochs, patience=patience, min_steps=0)
        if recipe.validation and self.validation is None:
            # The same images for every seed: runs are compared on them.
            rest, self.validation = hold_out(whole, max(round(recipe.validation * len(whole)), 1), seed=0)
            self.data = Splits(rest, self.data.test)
        train, test = self.data
        network = create_model(recipe.model, train.num_classes, train.image_shape[2])
        size = recipe.image_size or max(network.input_size)
        self.network = network.replace(input_size=(size, size))
        _check_size(self.network, size, train.num_classes, max(network.input_size))
        if not weight_shapes(self.network):
            raise RecipeError(f"model {recipe.model}: the network has no weights, so there is nothing to train")
        for _, each in recipe.image_sizes:
            _check_size(self.network, each, train.num_classes, size)
        values: dict[str, Any] = {"fit": recipe.fit, "antialias": recipe.antialias}
        if recipe.normalize == "data":
            std = tuple(float(value) or 1.0 for value in train.std)
            values |= {"mean": tuple(map(float, train.mean)), "std": std}
        if self.pretrained is not None:  # what its layers learnt from
            values |= {"mean": self.pretrained.preprocess.mean, "std": self.pretrained.preprocess.std}
        self.config = Config(
            recipe_name=recipe_name,
            recipe=recipe,
            network=self.network.to_dict(),
            preprocess=fitting_preprocess(train, size, **values),
            data=DataInfo(
                self.material.name,
                train.class_names,
                len(train),
                len(test),
                whole.fingerprint(),
                background(train.images),
                len(self.validation) if self.validation else 0,
            ),
            backend=backend,
            device=device,
            precision=precision,
            deterministic=deterministic,
            start=str(start) if start is not None else None,
        )
        self._start = _start(start, goes_on, self.network) if start is not None else None
        if self.pretrained is not None:
            self.first_weights(recipe.seed)  # what does not fit is said before anything is written
        self.seconds = time.perf_counter() - began

    @property
    def recipe(self) -> Recipe:
        return self.config.recipe

    def make_model(self) -> Model:
        """The model with its first weights."""
        config = self.config
        model = self.backend.build(
            self.network,
            config.preprocess,
            optimizer=config.recipe.optimizer,
            precision=config.precision,
            device=config.device,
        )
        model.load_weights(self.first_weights(self.recipe.seed))
        return model

    def first_weights(self, seed: int, initializer: Initializer | None = None) -> Weights:
        """The weights with which training begins; a new start may take another initialiser than the recipe's."""
        if self._start is not None:
            return self._start.weights
        biases = self.backend.framework_biases
        first = initialize(self.network, initializer or self.recipe.initializer, seed, framework_biases=biases)
        return first if self.pretrained is None else start_weights.start_from(self.pretrained, self.network, first)

    @property
    def began_with(self) -> StoredClassifier | None:
        """The run or classifier that gave weights to begin with."""
        return self._start or self.pretrained

    def watch(self, model: Model, state: GuardState | None = None, good: State | None = None) -> GuardRunner:
        """The guard at work on a model of this session. state, good: of a checkpoint."""
        train = self.data.train
        seen = self.validation or train
        count = min(sample_size(len(train), train.num_classes), len(seen))
        sample = hold_out(seen, count, seed=0)[1] if count < len(seen) else seen
        return GuardRunner(
            model,
            self.recipe,
            train.labels,
            network=self.network,
            sample=sample.images,
            first_weights=None if self._start else self.first_weights,
            class_names=train.class_names,
            state=state,
            good=good,
        )

    @cached_property
    def _tensor_bytes(self) -> Callable[[int], int]:
        """From a batch size to the most bytes of a step at the largest image size, and of an evaluation."""
        recipe, config, (train, test) = self.recipe, self.config, self.data
        size = max([config.preprocess.size, *(size for _, size in recipe.image_sizes)])
        side = train.image_shape[:2]

        def plan(batch: int) -> StepPlan:
            smaller = msgspec.structs.replace(recipe, batch_size=batch)
            return plan_step(smaller, batch, side, size, 0, 0).at_size(size)

        given = (self.network, config.preprocess, side)
        about: dict[str, Any] = {"optimizer": recipe.optimizer, "precision": config.precision, "device": config.device}
        step = self.backend.training_bytes(*given, plan, **about)
        evaluation = self.backend.prediction_bytes(*given, **about)(len(test))
        return lambda batch: max(step(min(batch, len(train))), evaluation)

    def fit(self) -> Fit:
        """Whether the run has room on the device now, and the largest batch that has; nothing is carried out."""
        train = self.data.train.images
        available = self.backend.available_memory(self.config.device)
        batch, most = self.recipe.batch_size, len(train)
        if self.config.device == "cpu":  # where the images stay where they are already
            return fit(self._tensor_bytes, batch, most, available, allowance=CPU_ALLOWANCE)
        return fit(self._tensor_bytes, batch, most, available, allowance=DEVICE_ALLOWANCE, apart=train.nbytes)

    def check_memory(self) -> Fit:
        """Raise MlpconvError, with the batch that would fit, where the run has no room on the device."""
        room = self.fit()
        if room.available_bytes is not None and not room.fits:
            raise MlpconvError(
                f"batch size {self.recipe.batch_size}: {self.network.name} needs about {in_words(room.needed_bytes)} "
                f"of memory in training, and {self.config.device} has {in_words(room.available_bytes)} left; "
                f"{smaller(room.largest_batch)}; --force (force=True) begins all the same"
            )
        return room

    def forecast(self, epoch: int = 0, step: int = 0, folder: Path | None = None) -> Forecast:
        """Time from behind ``step`` steps of ``epoch`` on, from a few steps carried out and a save in ``folder``, and
        memory."""
        train, test = self.data
        size, room = self.config.preprocess.size, self.fit()
        evaluated = len(test) + self.config.data.validation

        def save(model: Model) -> None:
            with TemporaryDirectory(prefix=".forecast-", dir=folder) as place:
                empty = checkpoints.Checkpoint(0, 0, [], [], 0.0, model.training_state())
                checkpoints.save(Path(place), empty)
                write_tensors(Path(place) / "weights", model.weights(), {})

        found = forecast(
            self.make_model,
            self.recipe,
            train.images,
            train.labels,
            evaluated,
            size,
            epoch=epoch,
            step=step,
            save=save,
            save_every=CHECKPOINT_SECONDS,
        )
        self.expected = found._replace(
            seconds=found.seconds + REPORT_SECONDS,
            tensor_bytes=room.tensor_bytes,
            available_bytes=room.available_bytes,
            largest_batch=room.largest_batch,
        )
        return self.expected

    def run(
        self,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        checkpoint_every: float = CHECKPOINT_SECONDS,
        checkpoint_steps: int | None = None,
        resume_with: Collection[str] = (),
        report_every: float = 0.5,
        force: bool = False,
    ) -> Recorder:
        """Open the run directory (a new one under ./runs where ``out`` is None); iterate over what it returns to train.

        checkpoint_every: seconds between two checkpoints within an epoch. checkpoint_steps: one comes after each so
        many steps of an epoch too. resume_with: what of the recipe, or "device", is meant to differ from what the run
        was told. force: begin even where the memory left will not do. Raises MlpconvError where it will not, RunError
        where the directory is not empty, in use, not writable, or of a run with other settings.
        """
        room = self.fit() if force else self.check_memory()
        return Recorder(
            self, out, resume, should_stop, checkpoint_every, checkpoint_steps, resume_with, report_every, room
        )


def _start(start: str | Path, goes_on: Path | None, network: Network) -> StoredClassifier:
    """What to begin with, which must be of the same network; images may have another size."""
    stored, _ = start_weights.read_start(str(start), goes_on)
    check_weights(network, stored.weights, f"--weights {start}")
    return stored


def _check_size(network: Network, size: int, classes: int, made_for: int) -> None:
    """Raise RecipeError where the network, with its weights, cannot tell the classes apart on images of ``size``."""
    shape = (network.input_channels, size, size)
    try:
        same = output_shape(network, shape) == (classes,) and weight_shapes(network, shape) == weight_shapes(network)
    except NetworkError as error:
        raise RecipeError(f"image_size {size}: {error}") from None
    if not same:
        raise RecipeError(f"image_size {size}: the network's last layers fix the images at {made_for} pixels")
