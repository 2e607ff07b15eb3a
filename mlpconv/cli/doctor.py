"""``mlpconv doctor``: what this machine has, what is missing, and what training would use."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import typer

from mlpconv.cli.output import Json, next_steps, paragraph, print_json, say
from mlpconv.errors import MlpconvError
from mlpconv.formatting import format_bytes
from mlpconv.version import __version__

EXTRAS = {
    "torch": "torch",
    "keras": "tensorflow",
    "tensorflow": "tensorflow",
    "jax": "jax",
    "mxnet": "mxnet",
    "ipykernel": "notebook",
    "scikit-learn": "digits",
    "optuna": "tune",
}
"""Optional packages, each with the extra that brings it."""


def doctor(json: Json = False) -> None:
    """Say what this machine has, what is missing and how to get it, and what training would use.

    It ends with 2, as `mlpconv train` then would, where something is missing without which no network can be trained.

    Example: mlpconv doctor
    """
    found = _examine()
    if json:
        print_json(found)
    else:
        _print(found)
    if not found["ok"]:
        raise typer.Exit(2)


def _examine() -> dict[str, Any]:
    from mlpconv.backends import allocator, hardware
    from mlpconv.data.cache_directory import cache_directory

    problems = []
    training, gpus = None, []
    try:
        training, gpus = _training()
    except MlpconvError as error:
        problems.append(str(error))
    except (ImportError, OSError) as error:
        reason = str(error).partition("\n")[0]
        remedy = 'pip install --force-reinstall "mlpconv[torch]"'
        problems.append(f"PyTorch is installed but cannot be loaded: {reason}; {remedy}")
    here = _directory(Path.cwd())
    if not here["writable"]:
        problems.append(f"{here['path']}: cannot be written, so no run can be kept here; mlpconv train --out DIR")
    warnings = []
    try:
        cache = _directory(cache_directory())
        if not cache["writable"]:
            warnings.append(f"{cache['path']}: the cache cannot be written; MLPCONV_CACHE names another directory")
    except MlpconvError as error:
        cache = None
        warnings.append(str(error))
    return {
        "format": 1,
        "ok": not problems,
        "mlpconv": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": hardware.processor(),
        "cores": hardware.cpu_count(),
        "bfloat16": hardware.has_bfloat16(),
        "memory_bytes": hardware.memory_limit(),
        "allocator": allocator.is_available(),
        "gpus": gpus,
        "working_directory": here,
        "cache": cache,
        "packages": {name: _version(name) for name in EXTRAS},
        "data": _data(),
        "training": training,
        "problems": problems,
        "warnings": warnings,
    }


def _training() -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What ``train`` would use without options, and the GPUs. Raises MissingDependency where it could not."""
    from mlpconv.backends.base import get_backend

    backend: Any = get_backend("torch")
    device, precision = backend.choose(None, None)
    gpus = [{"device": name, "name": title, "memory_bytes": memory} for name, title, memory in backend.list_gpus()]
    described = backend.describe_device(device)
    return {"backend": "torch", "device": device, "description": described, "precision": precision}, gpus


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _directory(path: Path) -> dict[str, Any]:
    """A directory that may not be there yet: whether it can be written, and the room on its disk."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    return {"path": str(path), "free_bytes": shutil.disk_usage(there).free, "writable": writable}


def _data() -> list[dict[str, Any]]:
    from mlpconv.cli.data import remedy
    from mlpconv.data import find_dataset, list_datasets

    rows = []
    for name in list_datasets():
        place = find_dataset(name)
        rows.append(
            {
                "name": name,
                "path": place and str(place.path),
                "origin": place and place.origin,
                "remedy": None if place else remedy(name),
            }
        )
    return rows


def _print(found: dict[str, Any]) -> None:
    def line(title: str, text: str) -> None:
        paragraph(text, first=f"  {title:14}", indent=16)

    def room(directory: dict[str, Any] | None) -> str:
        if directory is None:
            return "none"
        writable = "" if directory["writable"] else ", cannot be written"
        return f"{directory['path']}, {format_bytes(directory['free_bytes'])} free{writable}"

    say("This machine")
    line("mlpconv", f"{found['mlpconv']}, Python {found['python']}, {found['platform']}")
    bfloat16 = "multiplies in bfloat16" if found["bfloat16"] else "has no bfloat16 arithmetic: float32 is faster"
    line("processor", f"{found['processor']}, {found['cores']} core{'s' * (found['cores'] > 1)}; {bfloat16}")
    memory = found["memory_bytes"]
    line("memory", "not known" if memory is None else f"{format_bytes(memory)} for this process")
    kept = "glibc's; training keeps memory from step to step, which is faster"
    line("allocator", kept if found["allocator"] else "stays as it is (not glibc, or MLPCONV_ALLOCATOR=system)")
    for gpu in found["gpus"]:
        memory = f", {format_bytes(gpu['memory_bytes'])}" if gpu["memory_bytes"] else ""
        line("GPU", f"{gpu['device']}: {gpu['name']}{memory}")
    if not found["gpus"]:
        line("GPU", "none that PyTorch sees" if found["training"] else "not known without PyTorch")
    line("here", room(found["working_directory"]))
    line("cache", room(found["cache"]))
    say("\nOptional packages")
    for name, installed in found["packages"].items():
        where = ", in an environment of its own" if name == "mxnet" else ""
        line(name, installed or f'missing: pip install "mlpconv[{EXTRAS[name]}]"{where}')
    say("\nData sets")
    for row in found["data"]:
        line(row["name"], f"{row['path']} ({row['origin']})" if row["path"] else f"not here: {row['remedy']}")
    say("\nTraining")
    if found["training"]:
        training = found["training"]
        line("would use", f"{training['backend']} on {training['description']} in {training['precision']}")
    for kind in ("warnings", "problems"):
        for text in found[kind]:
            line(kind[:-1], text)
    if found["ok"]:
        next_steps(("mlpconv train", "train the chapter's network on Fashion-MNIST"))
