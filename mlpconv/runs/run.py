"""The run directory: everything needed to inspect a training run, to use it, and to repeat it.

config.json             the job: recipe, network, preprocess, data, back end, everything resolved
environment.json        versions, hardware, command line, date
history.jsonl           a line for each epoch
checkpoint/             what a resume needs
weights.safetensors     the classifier: weights, network, preprocess and class names in one file
start.safetensors       the classifier from whose weights the run started, if it did
evaluation.safetensors  confusion matrix and worst mistakes of the newest evaluation
class_maps.safetensors  the class maps of a few test images
forecast.json           the time and memory that the run was expected to take
result.json             how it ended
failed.json             why training failed, if it did
split.csv               for a folder of images: the split of each file
skipped.csv             for a folder of images: what could not be used, and why
curves.png              loss and accuracy, drawn as the chapter draws them
report.html             all of it, for people
"""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Self

import msgspec

from mlpconv import hardware
from mlpconv.backends import allocator
from mlpconv.backends.base import Floats
from mlpconv.backends.registry import framework_packages, package_name
from mlpconv.backends.weights import check_weights
from mlpconv.errors import MlpconvError, RecipeError, RunError
from mlpconv.files import sync_directory, write_atomic
from mlpconv.runs.classifier_file import StoredClassifier, write_classifier
from mlpconv.runs.files import decode_json, read_small, read_tensors
from mlpconv.runs.job import CONFIG, FORMAT, Job
from mlpconv.training.forecast import Forecast
from mlpconv.version import __version__

ENVIRONMENT, HISTORY, WEIGHTS, START, RESULT, FORECAST, REPORT, FAILED = (
    "environment.json",
    "history.jsonl",
    "weights.safetensors",
    "start.safetensors",
    "result.json",
    "forecast.json",
    "report.html",
    "failed.json",
)


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a run ended. With validation images, the test results are those of ``best_epoch``, whose weights are kept;
    without them, those of the last epoch."""

    loss: float
    """Mean training loss of the last epoch."""
    train_accuracy: float
    """Training accuracy of the last epoch."""
    test_accuracy: float
    """Test accuracy."""
    test_loss: float
    """Mean test loss."""
    examples_per_second: float
    """Speed of training alone, over all epochs."""
    seconds: float
    """Time of everything, evaluation included."""
    epochs: int
    """The number of epochs trained."""
    class_accuracy: dict[str, float | None]
    """Test accuracy by class; None for a class without test images."""
    confusion: list[list[int]]
    """Confusion matrix on the test images: rows are true classes, columns predicted ones."""
    peak_resident_bytes: int | None = None
    """Peak of the process's memory, framework and data set included; None if it is unknown."""
    peak_tensor_bytes: int | None = None
    """Peak of the tensors on the device, data set included; None if the device's allocator does not tell (all but
    CUDA)."""
    best_epoch: int | None = None
    """The epoch, from 1, with the best validation accuracy; None without validation images."""
    validation_accuracy: float | None = None
    """The validation accuracy of ``best_epoch``."""
    dead_classes: list[str] | None = None
    """Names of the dead classes; None if no class of the network can die."""
    repairs: int = 0
    """How often the guard intervened."""


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why training failed."""

    message: str
    """What happened, what was tried, and what to do."""
    repairs: list[dict[str, Any]] = []
    """The guard's events since the last epoch of the history."""
    format: int = FORMAT


class _Expected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Forecast as it is stored."""

    seconds: float
    images_per_second: float
    tensor_bytes: int | None = None
    available_bytes: int | None = None
    largest_batch: int | None = None
    format: int = FORMAT


class Run:
    """An existing run directory; the path "latest" is the newest in ./runs. Raises RunError if there is none.

    Example:
        >>> import mlpconv
        >>> run = mlpconv.train("fast", data=mlpconv.load_dataset("digits"), epochs=1, image_size=16)
        >>> run = mlpconv.Run("latest")
        >>> run.config.recipe.batch_size, run.result.epochs, len(run.history)
        (128, 1, 1)
        >>> run.weights()["block1.conv.weight"].shape  # (output channels, input channels, height, width)
        (8, 1, 3, 3)
    """

    path: Path
    config: Job
    """The job that the run executes."""

    def __init__(self, path: str | Path) -> None:
        self.path = _latest() if str(path) == "latest" else Path(path)
        if not self.path.is_dir():
            raise RunError(f"{self.path}: there is no such directory; `mlpconv runs` lists the runs here")
        self.config = _read(self.path / CONFIG, Job, "not a run directory")

    @classmethod
    def create(
        cls, path: Path, job: Job, device_name: str | None = None, start: StoredClassifier | None = None
    ) -> Self:
        """Create a run directory with its job and environment.

        Args:
            path: The directory.
            job: The job.
            device_name: A description of the device: "cpu (AMD EPYC …)".
            start: The classifier from whose weights the run starts, if there is one.

        Raises:
            RunError: The directory cannot be written.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            (path / "checkpoint").mkdir(exist_ok=True)
            sync_directory(path.parent)
            write_atomic(path / ENVIRONMENT, json.dumps(environment(device_name), indent=1) + "\n")
            if start is not None:
                write_classifier(
                    path / START,
                    start.weights,
                    start.network,
                    start.preprocess,
                    start.class_names,
                    data=start.data,
                    background=start.background,
                )
            # The last file: a directory with a config.json is a run.
            write_atomic(path / CONFIG, job.to_json())
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
        return cls(path)

    def change(self, job: Job) -> None:
        """Replace the job, and remove the result of the previous one. Raises OSError."""
        (self.path / RESULT).unlink(missing_ok=True)
        write_atomic(self.path / CONFIG, job.to_json())
        self.config = job

    @property
    def name(self) -> str:
        """The name of the directory."""
        return self.path.resolve().name

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def history(self) -> list[dict[str, Any]]:
        """A line for each epoch."""
        try:
            return [decode_json(line, dict[str, Any]) for line in read_small(self.path / HISTORY).splitlines()]
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise RunError(f"{self.path / HISTORY}: damaged: {error}; --resume writes it again") from None

    def write_history(self, history: list[dict[str, Any]]) -> None:
        write_atomic(self.path / HISTORY, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in history))

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, command and date, as ``environment`` returns them; empty if they are not recorded."""
        try:
            stored = decode_json(read_small(self.path / ENVIRONMENT))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise RunError(f"{self.path / ENVIRONMENT}: damaged: {error}; remove it to continue without it") from None
        return stored if isinstance(stored, dict) else {}

    def arithmetic_changes(self) -> list[str]:
        """What affects rounding and differs between this machine and the one where the run started, as "name: before,
        now" each; empty if nothing differs, or if the run's environment is not recorded."""
        old, new = self.environment, environment()
        pairs = [(name, old.get(name), new[name]) for name in ("processor", "bfloat16", "cpus", "threads")]
        versions = old.get("versions", {})
        packages = dict.fromkeys(map(package_name, ("numpy", *framework_packages())))
        pairs += [(name, versions.get(name), new["versions"].get(name)) for name in packages]
        return [f"{name}: {before}, now {now}" for name, before, now in pairs if old and before != now]

    @property
    def forecast(self) -> Forecast | None:
        """The forecast of the whole run; None if none was made."""
        path = self.path / FORECAST
        if not path.exists():
            return None
        expected = _read(path, _Expected, "damaged")
        return Forecast(*(getattr(expected, name) for name in Forecast._fields))

    def write_forecast(self, forecast: Forecast) -> None:
        write_atomic(self.path / FORECAST, msgspec.json.encode(_Expected(**forecast._asdict())) + b"\n")

    @property
    def result(self) -> Result | None:
        """How the run ended; None if it has not ended."""
        path = self.path / RESULT
        remedy = f"; remove it, and mlpconv train --out {self.path} --resume writes it again"
        return _read(path, Result, "damaged", remedy) if path.exists() else None

    def write_result(self, result: Result) -> None:
        write_atomic(self.path / RESULT, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")

    @property
    def failure(self) -> Failure | None:
        """Why training failed; None if it did not, or was resumed since."""
        path = self.path / FAILED
        return _read(path, Failure, "damaged", "; remove it") if path.exists() else None

    def write_failure(self, failure: Failure) -> None:
        write_atomic(self.path / FAILED, msgspec.json.encode(failure) + b"\n")

    def weights(self) -> dict[str, Floats]:
        """The trained canonical weights.

        Raises:
            RunError: There are none yet.
            WeightsError: They do not fit the network.
        """
        path = self.path / WEIGHTS
        if not path.exists():
            raise RunError(
                f"{self.path}: no {WEIGHTS} yet: the run was stopped before the end of its first epoch; "
                f"to continue it: mlpconv train --out {self.path} --resume"
            )
        weights, _ = read_tensors(path)
        network = self.config.make_network()
        check_weights(network, weights, str(path))
        return weights

    def write_weights(self, weights: dict[str, Floats]) -> None:
        """Store the classifier: one file holds weights, network, preprocess and class names."""
        config = self.config
        data = config.data
        write_classifier(
            self.path / WEIGHTS,
            weights,
            config.make_network(),
            config.preprocess,
            data.class_names,
            data=data.name,
            background=data.background,
        )

    def stored(self) -> StoredClassifier:
        """The trained classifier. Raises the errors of ``weights``."""
        config = self.config
        data = config.data
        return StoredClassifier(
            self.path,
            config.make_network(),
            config.preprocess,
            data.class_names,
            self.weights(),
            data.name,
            data.background,
        )


def _read(path: Path, kind: type, missing: str, remedy: str = "") -> Any:
    try:
        content = read_small(path)
    except OSError:
        raise RunError(f"{path.parent}: {missing}: it has no {path.name}; `mlpconv runs` lists the runs here") from None
    try:
        data = decode_json(content)
        if isinstance(data, dict) and isinstance(data.get("format"), int) and data["format"] > FORMAT:
            raise RunError(f"{path}: written by a newer mlpconv (format {data['format']}); update mlpconv")
        return msgspec.convert(data, kind)
    except (ValueError, RecipeError) as error:
        raise RunError(f"{path}: not what mlpconv writes: {error}{remedy}") from None


def list_runs(directory: Path = Path("runs")) -> list[Run]:
    """The runs in a directory, oldest first; anything else is skipped."""
    folders = [path.parent for path in directory.glob(f"*/{CONFIG}")] if directory.is_dir() else []
    runs = []
    for folder in sorted(
        folders, key=lambda folder: (folder / ENVIRONMENT).stat().st_mtime_ns if (folder / ENVIRONMENT).exists() else 0
    ):
        try:
            runs.append(Run(folder))
        except MlpconvError:  # another program's config.json
            continue
    return runs


def _latest() -> Path:
    runs = list_runs()
    if not runs:
        raise RunError("latest: there is no run in ./runs; `mlpconv train` makes one")
    return runs[-1].path


def new_path(recipe_name: str, model: str, directory: Path = Path("runs")) -> Path:
    """A path that is not in use: runs/quick-nin-1, runs/quick-nin-2 …"""
    stem = "-".join(Path(part.rpartition(":")[2]).stem for part in (recipe_name, model))
    taken = [
        int(path.name[len(stem) + 1 :]) for path in directory.glob(f"{stem}-*") if path.name[len(stem) + 1 :].isdigit()
    ]
    return directory / f"{stem}-{max(taken, default=0) + 1}"


def environment(device_name: str | None = None) -> dict[str, Any]:
    """The environment of this process: versions, hardware, command, date.

    Args:
        device_name: A description of the device.
    """
    versions: dict[str, str] = {"mlpconv": __version__, "python": platform.python_version()}
    for package in ("numpy", *framework_packages()):
        try:
            versions[package_name(package)] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "format": FORMAT,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "platform": platform.platform(),
        "device": device_name,
        "processor": hardware.processor(),
        "cpus": hardware.cpu_count(),
        "bfloat16": hardware.has_bfloat16(),
        "memory_bytes": hardware.memory_limit(),
        "allocator_keeps_memory": allocator.is_kept(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "versions": versions,
    }
