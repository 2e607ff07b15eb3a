"""The run directory: everything needed to know a training run, to use it, and to repeat it.

config.json             recipe, network, preprocess, data, back end: what was asked for, resolved
environment.json        versions, hardware, command line, date
history.jsonl           a line an epoch
checkpoint/             what a resume needs
weights.safetensors     the classifier: weights, network, preprocess and class names in one file
start.safetensors       the classifier that it began with, where it began with another's weights
evaluation.safetensors  confusion matrix and worst mistakes of the newest evaluation
class_maps.safetensors  the class maps of a few test images
forecast.json           what the run was expected to take
result.json             how it ended
failed.json             that training could not be brought to an end, and why
split.csv               of a folder of images: which file was used for what
skipped.csv             of a folder of images: what could not be used, and why
curves.png              loss and accuracy, drawn as the chapter draws them
report.html             all of it, for people
"""

import importlib
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
from mlpconv.arch.network import Network, Preprocess
from mlpconv.backends import allocator
from mlpconv.backends.base import Floats, Precision
from mlpconv.backends.registry import framework_packages
from mlpconv.backends.weights import check_weights
from mlpconv.errors import MlpconvError, RecipeError, RunError
from mlpconv.files import sync_directory, write_atomic
from mlpconv.runs.classifier_file import StoredClassifier, write_classifier
from mlpconv.runs.files import decode_json, read_small, read_tensors
from mlpconv.training.forecast import Forecast
from mlpconv.training.recipe import Recipe
from mlpconv.version import __version__

FORMAT = 1
CONFIG, ENVIRONMENT, HISTORY, WEIGHTS, START, RESULT, FORECAST, REPORT, FAILED = (
    "config.json",
    "environment.json",
    "history.jsonl",
    "weights.safetensors",
    "start.safetensors",
    "result.json",
    "forecast.json",
    "report.html",
    "failed.json",
)


class DataInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was trained on. train, test, validation: how many images of each. fingerprint: SHA-256 of the training
    set, validation images included. background: the mean of the images' outermost pixels, 0 to 1, by which `predict`
    notices a photo that is the other way round."""

    name: str
    class_names: tuple[str, ...]
    train: int
    test: int
    fingerprint: str
    background: float
    validation: int = 0


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a run was told, resolved: nothing in it depends on a default that may change. resumed_with: what was changed
    on the way, a line each with the place; the other fields say how it went on. start: the run or classifier whose
    weights it began with; None for weights of its own."""

    recipe_name: str
    recipe: Recipe
    network: dict[str, Any]
    preprocess: Preprocess
    data: DataInfo
    backend: str
    device: str
    precision: Precision
    deterministic: bool = False
    resumed_with: tuple[str, ...] = ()
    start: str | None = None
    format: int = FORMAT

    def make_network(self) -> Network:
        return Network.from_dict(self.network, CONFIG)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, defaults too."""
        return _whole(self)


def _config_text(config: Config) -> bytes:
    return msgspec.json.format(msgspec.json.encode(config.to_dict()), indent=1) + b"\n"


def _whole(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    return msgspec.to_builtins(value)


class Result(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a run ended. loss and train_accuracy are the last epoch's means, test_accuracy is after it. Where there are
    validation images, the run's weights, and what is said of the test set, are of best_epoch (from 1), their best.
    examples_per_second is of training, over all epochs; seconds are all, evaluation included. peak_resident_bytes: the
    most memory that the process ever had, the framework and the data set counted; peak_tensor_bytes: of tensors
    on the device, the data set counted, where its allocator says so (CUDA); None where they are not known.
    dead_classes: names; None where no class can die. repairs: how often the guard intervened."""

    loss: float
    train_accuracy: float
    test_accuracy: float
    test_loss: float
    examples_per_second: float
    seconds: float
    epochs: int
    class_accuracy: dict[str, float | None]
    confusion: list[list[int]]
    peak_resident_bytes: int | None = None
    peak_tensor_bytes: int | None = None
    best_epoch: int | None = None
    validation_accuracy: float | None = None
    dead_classes: list[str] | None = None
    repairs: int = 0


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """That training could not be brought to an end. message: what happened, what was tried, what to do. repairs: what
    the guard met in the epochs that the history does not have."""

    message: str
    repairs: list[dict[str, Any]] = []
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
    """An existing run directory. Raises RunError where ``path`` holds none; "latest" is the newest in ./runs."""

    path: Path
    config: Config

    def __init__(self, path: str | Path) -> None:
        self.path = _latest() if str(path) == "latest" else Path(path)
        if not self.path.is_dir():
            raise RunError(f"{self.path}: there is no such directory; `mlpconv runs` lists the runs here")
        self.config = _read(self.path / CONFIG, Config, "not a run directory")

    @classmethod
    def create(
        cls, path: Path, config: Config, device_name: str | None = None, start: StoredClassifier | None = None
    ) -> Self:
        """A new run directory with its config and environment. device_name: as one reads it, "cpu (AMD EPYC …)". start:
        the classifier with which it begins.

        Raises RunError where it cannot be written.
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
            # The last: what has a config is a run.
            write_atomic(path / CONFIG, _config_text(config))
        except OSError as error:
            raise RunError(f"{path}: cannot be written: {error.strerror or error}; choose another --out") from None
        return cls(path)

    def change(self, config: Config) -> None:
        """Go on with another config; a result of before is no longer one. Raises OSError."""
        (self.path / RESULT).unlink(missing_ok=True)
        write_atomic(self.path / CONFIG, _config_text(config))
        self.config = config

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def _repr_html_(self) -> str:
        # By name: `runs` depends on nothing above it.
        return importlib.import_module("mlpconv.notebook.runs").run_html(self)

    @property
    def history(self) -> list[dict[str, Any]]:
        """What was written down for each epoch."""
        try:
            return [decode_json(line, dict[str, Any]) for line in read_small(self.path / HISTORY).splitlines()]
        except FileNotFoundError:
            return []
        except ValueError as error:
            raise RunError(f"{self.path / HISTORY}: damaged: {error}; --resume writes it anew") from None

    def write_history(self, history: list[dict[str, Any]]) -> None:
        write_atomic(self.path / HISTORY, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in history))

    @property
    def environment(self) -> dict[str, Any]:
        """Where the run happened, as ``environment`` says it; empty where that is not written down."""
        try:
            found = decode_json(read_small(self.path / ENVIRONMENT))
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise RunError(f"{self.path / ENVIRONMENT}: damaged: {error}; remove it to do without") from None
        return found if isinstance(found, dict) else {}

    def arithmetic_changes(self) -> list[str]:
        """What rounding depends on and is different here from where the run started, one "name: before, now" each.

        Empty where nothing differs, or where the run's environment is not known.
        """
        old, new = self.environment, environment()
        pairs = [(name, old.get(name), new[name]) for name in ("processor", "bfloat16", "cpus", "threads")]
        versions = old.get("versions", {})
        packages = dict.fromkeys(map(_package_name, ("numpy", *framework_packages())))
        pairs += [(name, versions.get(name), new["versions"].get(name)) for name in packages]
        return [f"{name}: {before}, now {now}" for name, before, now in pairs if old and before != now]

    @property
    def forecast(self) -> Forecast | None:
        """What the whole run was expected to take; None where no forecast was made."""
        path = self.path / FORECAST
        if not path.exists():
            return None
        expected = _read(path, _Expected, "damaged")
        return Forecast(*(getattr(expected, name) for name in Forecast._fields))

    def write_forecast(self, forecast: Forecast) -> None:
        write_atomic(self.path / FORECAST, msgspec.json.encode(_Expected(**forecast._asdict())) + b"\n")

    @property
    def result(self) -> Result | None:
        """How the run ended; None while it has not."""
        path = self.path / RESULT
        remedy = f"; remove it, and mlpconv train --out {self.path} --resume writes it anew"
        return _read(path, Result, "damaged", remedy) if path.exists() else None

    def write_result(self, result: Result) -> None:
        write_atomic(self.path / RESULT, msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")

    @property
    def failure(self) -> Failure | None:
        """Why training failed; None where it did not, or has been begun again since."""
        path = self.path / FAILED
        return _read(path, Failure, "damaged", "; remove it") if path.exists() else None

    def write_failure(self, failure: Failure) -> None:
        write_atomic(self.path / FAILED, msgspec.json.encode(failure) + b"\n")

    def weights(self) -> dict[str, Floats]:
        """The trained canonical weights. Raises RunError where there are none yet, WeightsError where they are
        wrong."""
        path = self.path / WEIGHTS
        if not path.exists():
            raise RunError(
                f"{self.path}: no {WEIGHTS} yet: the run was stopped before its first epoch was over; "
                f"mlpconv train --out {self.path} --resume goes on with it"
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
        """The trained classifier as its config says; errors are those of ``weights``."""
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
    """The runs in a directory, oldest first; what is no run is passed over."""
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
    """A directory name that is free: runs/quick-nin-1, runs/quick-nin-2 …"""
    stem = "-".join(Path(part.rpartition(":")[2]).stem for part in (recipe_name, model))
    taken = [
        int(path.name[len(stem) + 1 :]) for path in directory.glob(f"{stem}-*") if path.name[len(stem) + 1 :].isdigit()
    ]
    return directory / f"{stem}-{max(taken, default=0) + 1}"


def _package_name(package: str) -> str:
    """The name in environment.json: TensorFlow is published under two names."""
    return package.removesuffix("-cpu")


def environment(device_name: str | None = None) -> dict[str, Any]:
    """Where a run happens: versions, hardware, the command, the date."""
    versions: dict[str, str] = {"mlpconv": __version__, "python": platform.python_version()}
    for package in ("numpy", *framework_packages()):
        try:
            versions[_package_name(package)] = version(package)
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
