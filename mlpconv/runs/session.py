"""A training run from recipe to run directory: prepared first, so that every mistake is found before any work."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mlpconv.arch.network import Network
from mlpconv.arch.shapes import output_shape
from mlpconv.backends import hardware
from mlpconv.backends.base import Backend, Model, Precision, get_backend
from mlpconv.backends.weights import initialize, weight_shapes
from mlpconv.data import Splits, load_dataset
from mlpconv.data.image import background, fitting_preprocess
from mlpconv.errors import MlpconvError, NetworkError, RecipeError, RunError
from mlpconv.models import create_model
from mlpconv.runs import checkpoint as checkpoints
from mlpconv.runs import mistakes
from mlpconv.runs.run import Config, DataInfo, Result, Run, new_path
from mlpconv.training import trainer
from mlpconv.training.forecast import CPU_ALLOWANCE, DEVICE_ALLOWANCE, Fit, Forecast, fit, forecast
from mlpconv.training.metrics import Evaluation, evaluate
from mlpconv.training.recipe import Recipe, differences
from mlpconv.words import size as in_words

CHECKPOINT_SECONDS = 300.0

_log = logging.getLogger(__name__)


class Resumed(NamedTuple):
    """The run goes on behind ``step`` steps of ``epoch`` (both from 0)."""

    epoch: int
    step: int


Event = trainer.Event | Resumed


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

    def fit(self) -> Fit:
        """Whether the run has room on the device now, and the largest batch that has; nothing is carried out."""
        train = self.data.train.images
        available = self.backend.available_memory(self.config.device)
        batch, most = self.recipe.batch_size, len(train)
        if self.config.device == "cpu":  # where the images stay where they are already
            return fit(self._tensor_bytes, batch, most, available, allowance=CPU_ALLOWANCE)
        return fit(self._tensor_bytes, batch, most, available, allowance=DEVICE_ALLOWANCE, apart=train.nbytes)

    def _tensor_bytes(self, batch: int) -> int:
        """The most of a step at the largest image size, and of an evaluation."""
        recipe, config, (train, test) = self.recipe, self.config, self.data
        about: dict[str, Any] = {"optimizer": recipe.optimizer.kind, "precision": config.precision}
        size = max([config.preprocess.size, *(size for _, size in recipe.image_sizes)])
        given = (self.network, config.preprocess, train.image_shape[:2])
        step = self.backend.training_memory(*given, batch=min(batch, len(train)), size=size, **about)
        evaluation = self.backend.prediction_memory(*given, batch=len(test), **about)
        return max(step.total, evaluation.total)

    def check_memory(self) -> None:
        """Raise MlpconvError, with the batch that would fit, where the run has no room on the device."""
        room = self.fit()
        if room.fits:
            return
        assert room.available_bytes is not None
        remedy = (
            f"the largest batch that fits is {room.largest_batch}: --batch-size {room.largest_batch}"
            if room.largest_batch
            else "not even one image a step fits: take a smaller network or --image-size"
        )
        raise MlpconvError(
            f"batch size {self.recipe.batch_size}: {self.network.name} needs about {in_words(room.needed_bytes)} of "
            f"memory in training, and {self.config.device} has {in_words(room.available_bytes)} left; {remedy}; "
            "--force begins all the same"
        )

    def forecast(self) -> Forecast:
        """Time for the whole run, from a few steps carried out, and its memory."""
        train, test = self.data
        size, room = self.config.preprocess.size, self.fit()
        found = forecast(self.make_model, self.recipe, train.images, train.labels, len(test), size)
        self.expected = found._replace(
            tensor_bytes=room.tensor_bytes, available_bytes=room.available_bytes, largest_batch=room.largest_batch
        )
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
    ) -> "Recorder":
        """Open the run directory (a new one under ./runs where ``out`` is None); iterate over what it returns to train.

        force: begin even where the memory left will not do. Raises MlpconvError where it will not, and RunError where
        the directory is not empty, in use, not writable, or of a run with other settings.
        """
        if not force:
            self.check_memory()
        return Recorder(self, out, resume, should_stop, checkpoint_every, report_every)


class Recorder:
    """Carries a session out and writes it down; iterating yields its events. ``run`` is the run directory."""

    run: Run

    def __init__(
        self,
        session: Session,
        out: str | Path | None,
        resume: bool,
        should_stop: Callable[[], bool],
        checkpoint_every: float,
        report_every: float,
    ) -> None:
        self.session, self.should_stop = session, should_stop
        self.checkpoint_every, self.report_every = checkpoint_every, report_every
        path = Path(out) if out is not None else _claim(session.config.recipe_name, session.recipe.model)
        self.history: list[dict[str, Any]] = []
        self.curve: list[list[float]] = []
        self.seconds = 0.0
        self._peak_bytes: Callable[[], int | None] = lambda: None
        if resume:
            self.run = Run(path)
            _refuse_other(self.run, session.config)
        else:
            _refuse_taken(path)
            self.run = Run.create(path, session.config, session.backend.describe_device(session.config.device))
        self._result = self.run.result

    def __iter__(self) -> Iterator[Event]:
        with ExitStack() as stack:
            stack.enter_context(_locked(self.run.path))
            yield from self._train()

    def _train(self) -> Iterator[Event]:
        if self._result is not None:
            return
        session = self.session
        train, test = session.data
        if session.expected is not None:
            with self._writing():
                self.run.write_forecast(session.expected)
        self._peak_bytes = session.backend.watch_memory(session.config.device)
        model = session.make_model()
        model.attach(train.images, train.labels)
        epoch, step = self._restore(model)
        if epoch or step:
            yield Resumed(epoch, step)
        began = saved = time.perf_counter()
        spent = self.seconds
        for event in trainer.train(
            model,
            session.recipe,
            train.images,
            train.labels,
            test.images,
            test.labels,
            image_size=session.config.preprocess.size,
            epoch=epoch,
            step=step,
            should_stop=self.should_stop,
            report_every=self.report_every,
        ):
            now = time.perf_counter()
            self.seconds = spent + now - began
            match event:
                case trainer.Progress(mark=mark):
                    if mark:
                        place = event.epoch + event.step / event.steps
                        self.curve.append([place, event.loss, event.accuracy])
                    # Behind the last step, the end of the epoch saves.
                    if now - saved >= self.checkpoint_every and event.step < event.steps:
                        self._save(model, event.epoch, event.step)
                        saved = time.perf_counter()
                case trainer.EpochEnded():
                    self._end_epoch(model, event)
                    saved = time.perf_counter()
                case trainer.Stopped():
                    self._save(model, event.epoch, event.step)
            yield event

    def _restore(self, model: Model) -> tuple[int, int]:
        found = checkpoints.load_newest(self.run.path / "checkpoint")
        if found is None:
            return 0, 0
        model.load_training_state(found.state)
        self.history, self.curve, self.seconds = found.history, found.curve, found.seconds
        with self._writing():
            self.run.write_history(self.history)
            if found.step == 0 and self.history:
                self._write_epoch(model, None)
        return found.epoch, found.step

    def _save(self, model: Model, epoch: int, step: int) -> None:
        state = model.training_state()
        place = checkpoints.Checkpoint(epoch, step, self.history, self.curve, self.seconds, state)
        with self._writing():
            checkpoints.save(self.run.path / "checkpoint", place)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.run.path}: cannot be written: {error.strerror or error}; what was written before is whole: "
                f"make room, then mlpconv train --out {self.run.path} --resume"
            ) from None

    def _end_epoch(self, model: Model, event: trainer.EpochEnded) -> None:
        self.history.append(
            {
                "epoch": event.epoch + 1,
                "loss": event.loss,
                "train_accuracy": event.accuracy,
                "test_loss": event.test.loss,
                "test_accuracy": event.test.accuracy,
                "class_accuracy": _by_class(self.session.config.data.class_names, event.test.class_accuracy),
                "learning_rate": event.learning_rate,
                "image_size": event.image_size,
                "skipped": event.skipped,
                "curve": self.curve,
                "seconds": event.seconds,
                "evaluation_seconds": event.evaluation_seconds,
                "examples_per_second": event.images_per_second,
            }
        )
        self.curve = []
        # First of all the checkpoint: from it, a resume writes the rest if this process ends here.
        self._save(model, event.epoch + 1, 0)
        with self._writing():
            self._write_epoch(model, event.test)

    def _write_epoch(self, model: Model, test: Evaluation | None) -> None:
        """Everything that is there after an epoch, and after the last one the result. test: None where another process
        measured it; what the result needs is measured anew."""
        self.run.write_history(self.history)
        self.run.write_weights(model.weights())
        ended = len(self.history) == self.session.recipe.epochs
        data = self.session.data.test
        if test is None and ended:
            test = evaluate(model.logits(data.images), data.labels)
        if test is not None:
            mistakes.save(self.run.path, len(self.history), test, data)
            if ended:
                self._finish(test)

    def _finish(self, test: Evaluation) -> None:
        last = self.history[-1]
        # Of an epoch that was interrupted, only the part behind the interruption was timed.
        timed = sum(line["seconds"] for line in self.history)
        images = sum(line["seconds"] * line["examples_per_second"] for line in self.history)
        self.run.write_result(
            Result(
                loss=last["loss"],
                train_accuracy=last["train_accuracy"],
                test_accuracy=last["test_accuracy"],
                test_loss=last["test_loss"],
                examples_per_second=images / timed,
                seconds=self.seconds,
                epochs=len(self.history),
                class_accuracy=last["class_accuracy"],
                confusion=test.confusion.tolist(),
                peak_resident_bytes=hardware.peak_resident_bytes(),
                peak_tensor_bytes=self._peak_bytes(),
            )
        )
        self._draw()

    def _draw(self) -> None:
        """What people look at. The run is complete without it, so a full disk is no failure here."""
        from mlpconv.runs.plots import save_curves
        from mlpconv.runs.report import write_report

        try:
            save_curves(self.history, self.run.path / "curves.png", self.run.name)
            write_report(self.run)
        except OSError as error:
            _log.warning(
                "%s: the pictures and the report could not be written: %s; make room, then: mlpconv report %s",
                self.run.path, error.strerror or error, self.run.path,
            )  # fmt: skip


def _by_class(names: tuple[str, ...], accuracies: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, accuracies, strict=True)}


def _check_size(network: Network, size: int, classes: int, made_for: int) -> None:
    """Raise RecipeError where the network, with its weights, cannot tell the classes apart on images of ``size``."""
    shape = (network.input_channels, size, size)
    try:
        same = output_shape(network, shape) == (classes,) and weight_shapes(network, shape) == weight_shapes(network)
    except NetworkError as error:
        raise RecipeError(f"image_size {size}: {error}") from None
    if not same:
        raise RecipeError(f"image_size {size}: the network's last layers fix the images at {made_for} pixels")


def _claim(recipe_name: str, model: str) -> Path:
    """A new directory under ./runs: two processes that begin at once get two."""
    while True:
        path = new_path(recipe_name, model)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
        return path


def _refuse_taken(path: Path) -> None:
    if path.is_dir() and any(path.iterdir()):
        what = "holds a run; --resume goes on with it" if (path / "config.json").exists() else "is not empty"
        raise RunError(f"{path}: {what}; choose another --out")
    if path.exists() and not path.is_dir():
        raise RunError(f"{path}: is a file; choose another --out")


def _refuse_other(run: Run, config: Config) -> None:
    old = run.config
    changes = differences(old.recipe, config.recipe)
    for field in ("network", "preprocess", "data", "backend", "device", "precision", "deterministic"):
        before, now = getattr(old, field), getattr(config, field)
        # What the recipe already explains is not said again.
        told = field == "precision" and old.recipe.precision != config.recipe.precision
        if before != now and not told and not (field in ("network", "preprocess") and changes):
            changes.append(f"{field}: {before}, now {now}" if isinstance(before, str | bool) else f"{field} differs")
    if changes:
        raise RunError(f"{run.path}: cannot go on with other settings:\n  " + "\n  ".join(changes) + "\nleave them out")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    import filelock

    lock = filelock.FileLock(path / ".lock")
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise RunError(f"{path}: another process is training in it; wait for it, or choose another --out") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
    try:
        yield
    finally:
        # While it is held: another process may hold the file of that name as soon as it is released.
        (path / ".lock").unlink(missing_ok=True)
        lock.release()
