"""The run directory: everything needed to inspect a training run, to use it, and to repeat it.

config.json             the job: recipe, network, preprocess, data, back end, everything resolved
environment.json        versions, hardware, command line, date
history.jsonl           a line for each epoch
checkpoint/             what a resume needs
weights.safetensors     the classifier: weights, network, preprocess and class names in one file
start.safetensors       the classifier from whose weights the run started, if it did
evaluation.safetensors  confusion matrix and worst mistakes of the newest evaluation, at the end with their maps
class_maps.safetensors  the class maps of a few test images
forecast.json           the time and memory that the run was expected to take
result.json             how it ended
failed.json             why training failed, if it did
split.csv               for a folder of images: the split of each file
skipped.csv             for a folder of images: what could not be used, and why
conflicts.csv           for a folder of images: copies of a picture in different classes
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
from mlpconv.backends.processes import place
from mlpconv.backends.registry import framework_packages, package_name
from mlpconv.backends.weights import check_weight_shapes, check_weights
from mlpconv.errors import MlpconvError, RecipeError, RunError
from mlpconv.files import sync_directory, unwritable, write_atomic
from mlpconv.runs.classifier_file import StoredClassifier, check_classifier, write_classifier
from mlpconv.runs.files import MAX_JSON_BYTES, decode_json, open_tensors, read_small
from mlpconv.runs.history import parse_line
from mlpconv.runs.job import CONFIG, FORMAT, Job
from mlpconv.runs.records import Environment, Expected, Failure, Result, Versioned
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
MAX_CONFIG_BYTES, MAX_ENVIRONMENT_BYTES = 16 << 20, 1 << 20
"""Largest config.json and largest environment.json that is read."""


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
            raise RunError(unwritable(path, error, otherwise="choose another --out")) from None
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
        path, lines = self.path / HISTORY, []
        try:
            for epoch, line in enumerate(read_small(path).splitlines(), 1):
                lines.append(parse_line(line, epoch))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from None
        except ValueError as error:
            raise RunError(
                f"{path}: damaged: line {len(lines) + 1}: {error}; "
                f"mlpconv train --out {self.path} --resume writes it again"
            ) from None
        return lines

    def write_history(self, history: list[dict[str, Any]]) -> None:
        write_atomic(self.path / HISTORY, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in history))

    @property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, command and date, as ``environment`` returns them; empty if they are not recorded."""
        path = self.path / ENVIRONMENT
        try:
            content = read_small(path, MAX_ENVIRONMENT_BYTES)
            return msgspec.to_builtins(decode_json(content, Environment)) | decode_json(content)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RunError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from None
        except ValueError as error:
            raise RunError(f"{path}: damaged: {error}; remove it to continue without it") from None

    def arithmetic_changes(self) -> list[str]:
        """What affects rounding and differs between this machine and the one where the run started, as "name: before,
        now" each; empty if nothing differs, or if the run's environment is not recorded."""
        old, new = self.environment, environment()
        pairs = [(name, old.get(name), new[name]) for name in ("processor", "bfloat16", "cpus", "threads", "processes")]
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
        expected = _read(path, Expected, "damaged")
        return Forecast(*(getattr(expected, name) for name in Forecast._fields))

    def write_forecast(self, forecast: Forecast) -> None:
        write_atomic(self.path / FORECAST, msgspec.json.encode(Expected(**forecast._asdict())) + b"\n")

    @property
    def result(self) -> Result | None:
        """How the run ended; None if it has not ended."""
        path = self.path / RESULT
        remedy = f"; remove it, and mlpconv train --out {self.path} --resume writes it again"
        if not path.exists():
            return None
        result: Result = _read(path, Result, "damaged", remedy)
        names = self.config.data.class_names
        if tuple(result.class_accuracy) != names or {len(names)} != {
            len(result.confusion),
            *map(len, result.confusion),
        }:
            raise RunError(f"{path}: its classes are not the {len(names)} of {CONFIG}{remedy}")
        return result

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
        network = self.config.make_network()
        with open_tensors(path) as file:
            check_weight_shapes(network, file.tensors, str(path))  # before memory is taken for them
            weights = file.read()
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
        classifier = StoredClassifier(
            self.path, config.make_network(), config.preprocess, data.class_names, {}, data.name, data.background
        )
        check_classifier(classifier)
        return classifier._replace(weights=self.weights())


def _read(path: Path, kind: type, missing: str, remedy: str = "") -> Any:
    try:
        content = read_small(path, MAX_CONFIG_BYTES if path.name == CONFIG else MAX_JSON_BYTES)
    except FileNotFoundError:
        raise RunError(f"{path.parent}: {missing}: it has no {path.name}; `mlpconv runs` lists the runs here") from None
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror or error}; check its permissions") from None
    try:
        if (format_ := decode_json(content, Versioned).format) > FORMAT:
            raise RunError(f"{path}: written by a newer mlpconv (format {format_}); update mlpconv")
        return decode_json(content, kind)
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
        "processes": place().size,
        "versions": versions,
    }
