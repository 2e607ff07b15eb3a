"""A training run from recipe to run directory: prepared first, so that every mistake is found before any work."""

import logging
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from mlpconv.arch.network import Network
from mlpconv.arch.shapes import output_shape
from mlpconv.backends.base import Backend, Model, Precision, StepPlan, get_backend
from mlpconv.backends.weights import initialize, weight_shapes
from mlpconv.data import Splits, load_dataset
from mlpconv.data.image import background, fitting_preprocess
from mlpconv.errors import MlpconvError, NetworkError, RecipeError
from mlpconv.models import create_model
from mlpconv.runs import checkpoint as checkpoints
from mlpconv.runs.files import write_tensors
from mlpconv.runs.recorder import CHECKPOINT_SECONDS, Recorder
from mlpconv.runs.run import Config, DataInfo
from mlpconv.training.forecast import CPU_ALLOWANCE, DEVICE_ALLOWANCE, Fit, Forecast, fit, forecast, smaller
from mlpconv.training.plan import plan_step
from mlpconv.training.recipe import Recipe
from mlpconv.words import size as in_words

REPORT_SECONDS = 1.5
"""For the pictures and the report at the end, as measured on one core."""

_log = logging.getLogger(__name__)


class Session:
    """One training run, ready to start.

    recipe: what to do. recipe_name: what it is called. data: the data set, where it is not to be loaded by the recipe's
    name. precision: what to take where the recipe leaves it open, else the device's fastest. Raises MlpconvErrors for
    everything that cannot be carried out, before anything is written.
    """

    config: Config
    network: Network
    data: Splits
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
        progress: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self.backend: Backend = get_backend(backend)
        device, precision = self.backend.choose(device, recipe.precision or precision)
        # A wrong name is found before a download begins.
        create_model(recipe.model)
        # Images of one's own are not what the recipe names.
        data_name = data.train.name.removesuffix("/train") if data else recipe.data
        self.data = data or load_dataset(recipe.data, directory=data_directory, progress=progress)
        train, test = self.data
        network = create_model(recipe.model, train.num_classes, train.image_shape[2])
        size = recipe.image_size or max(network.input_size)
        self.network = network.replace(input_size=(size, size))
        _check_size(self.network, size, train.num_classes, max(network.input_size))
        if not weight_shapes(self.network):
            raise RecipeError(f"model {recipe.model}: the network has no weights, so there is nothing to train")
        for _, each in recipe.image_sizes:
            _check_size(self.network, each, train.num_classes, size)
        options: dict[str, Any] = {"fit": recipe.fit, "antialias": recipe.antialias}
        if recipe.normalize == "data":
            std = tuple(float(value) or 1.0 for value in train.std)
            options |= {"mean": tuple(map(float, train.mean)), "std": std}
        self.config = Config(
            recipe_name=recipe_name,
            recipe=recipe,
            network=self.network.to_dict(),
            preprocess=fitting_preprocess(train, size, **options),
            data=DataInfo(
                data_name, train.class_names, len(train), len(test), train.fingerprint(), background(train.images)
            ),
            backend=backend,
            device=device,
            precision=precision,
            deterministic=deterministic,
        )

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
        biases = self.backend.framework_biases
        model.load_weights(initialize(self.network, self.recipe.initializer, self.recipe.seed, framework_biases=biases))
        return model

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
        about: dict[str, Any] = {
            "optimizer": recipe.optimizer, "precision": config.precision, "device": config.device
        }  # fmt: skip
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

        def save(model: Model) -> None:
            with TemporaryDirectory(prefix=".forecast-", dir=folder) as place:
                empty = checkpoints.Checkpoint(0, 0, [], [], 0.0, model.training_state())
                checkpoints.save(Path(place), empty)
                write_tensors(Path(place) / "weights", model.weights(), {})

        found = forecast(
            self.make_model, self.recipe, train.images, train.labels, len(test), size, epoch=epoch, step=step,
            save=save, save_every=CHECKPOINT_SECONDS,
        )  # fmt: skip
        self.expected = found._replace(
            seconds=found.seconds + REPORT_SECONDS, tensor_bytes=room.tensor_bytes,
            available_bytes=room.available_bytes, largest_batch=room.largest_batch,
        )  # fmt: skip
        return self.expected

    def run(
        self,
        out: str | Path | None = None,
        *,
        resume: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        checkpoint_every: float = CHECKPOINT_SECONDS,
        report_every: float = 0.5,
        force: bool = False,
    ) -> Recorder:
        """Open the run directory (a new one under ./runs where ``out`` is None); iterate over what it returns to train.

        force: begin even where the memory left will not do. Raises MlpconvError where it will not, and RunError where
        the directory is not empty, in use, not writable, or of a run with other settings.
        """
        room = self.fit() if force else self.check_memory()
        return Recorder(self, out, resume, should_stop, checkpoint_every, report_every, room)


def _check_size(network: Network, size: int, classes: int, made_for: int) -> None:
    """Raise RecipeError where the network, with its weights, cannot tell the classes apart on images of ``size``."""
    shape = (network.input_channels, size, size)
    try:
        same = output_shape(network, shape) == (classes,) and weight_shapes(network, shape) == weight_shapes(network)
    except NetworkError as error:
        raise RecipeError(f"image_size {size}: {error}") from None
    if not same:
        raise RecipeError(f"image_size {size}: the network's last layers fix the images at {made_for} pixels")
