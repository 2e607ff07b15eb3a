"""``mlpconv doctor``: the hardware and packages of this machine, and what training would use."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import typer

from mlpconv.backends.registry import BACKENDS
from mlpconv.cli.output import Json, next_steps, paragraph, print_json, say
from mlpconv.errors import MlpconvError
from mlpconv.formatting import format_bytes
from mlpconv.version import __version__

REQUIREMENT = re.compile(r"(?P<package>[\w.-]+)[^;]*(;.*\bextra\s*==\s*[\"'](?P<extra>[\w.-]+)[\"'])?")
"""A requirement in the package's metadata: ``keras<4,>=3.10; extra == "tensorflow"``."""


def doctor(json: Json = False) -> None:
    """Report hardware, installed packages and data sets, what is missing and how to install it, and what training uses.

    The exit code is 2, as of `mlpconv train`, if something is missing that every training needs.

    Example: mlpconv doctor
    """
    report = _examine()
    if json:
        print_json(report)
    else:
        _print(report)
    if not report["ok"]:
        raise typer.Exit(2)


def _examine() -> dict[str, Any]:
    import platform

    from mlpconv import hardware
    from mlpconv.backends import allocator
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
        problems.append(f"{here['path']}: cannot be written, so no run can be saved here; mlpconv train --out DIR")
    warnings = []
    try:
        cache = _directory(cache_directory())
        if not cache["writable"]:
            warnings.append(f"{cache['path']}: the cache cannot be written; set MLPCONV_CACHE to another directory")
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
        "packages": {name: _version(name) for name in optional_packages()},
        "data": _data(),
        "training": training,
        "problems": problems,
        "warnings": warnings,
    }


def _training() -> tuple[dict[str, str], list[dict[str, Any]]]:
    """What ``train`` would use without options, and the GPUs.

    Raises:
        MissingDependency: No back end is installed.
    """
    from mlpconv.backends.registry import DEFAULT_BACKEND, available_backend, get_backend

    name = available_backend()
    backend: Any = get_backend(name)
    device, precision = backend.choose(None, None)
    listed = backend.list_gpus() if name == DEFAULT_BACKEND else []
    gpus = [{"device": gpu, "name": title, "memory_bytes": memory} for gpu, title, memory in listed]
    described = backend.describe_device(device)
    return {"backend": name, "device": device, "description": described, "precision": precision}, gpus


def optional_packages() -> dict[str, str]:
    """The packages that only extras of mlpconv install, each with the first extra that does.

    Without an installed mlpconv there is no list of them.
    """
    # Imported here, as it would delay the start of every command by 10 ms.
    from importlib.metadata import PackageNotFoundError, requires

    try:
        required = [match for text in requires("mlpconv") or () if (match := REQUIREMENT.match(text))]
    except PackageNotFoundError:
        return {}
    always = {match["package"] for match in required if match["extra"] is None}
    extras: dict[str, str] = {}
    for match in required:
        if match["package"] not in always:
            extras.setdefault(match["package"], match["extra"])
    return extras


def _version(package: str) -> str | None:
    """The installed version of a package, also of one that provides its module under another name: tensorflow-cpu."""
    from importlib.metadata import PackageNotFoundError, packages_distributions, version
    from importlib.util import find_spec

    try:
        return version(package)
    except PackageNotFoundError:
        pass
    found = find_spec(package)
    if found is None or found.origin is None:  # without an origin, it is any directory of that name
        return None
    providers = packages_distributions().get(package)
    return version(providers[0]) if providers else "installed"


def _directory(path: Path) -> dict[str, Any]:
    """A directory, which need not exist yet: whether it can be written, and the free space on its disk."""
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    return {"path": str(path), "free_bytes": shutil.disk_usage(existing).free, "writable": writable}


def _data() -> list[dict[str, Any]]:
    from mlpconv.cli.data import install_command
    from mlpconv.data import find_dataset, list_datasets

    rows = []
    for name in list_datasets():
        location = find_dataset(name)
        rows.append(
            {
                "name": name,
                "path": location and str(location.path),
                "origin": location and location.origin,
                "remedy": None if location else install_command(name),
            }
        )
    return rows


def _print(report: dict[str, Any]) -> None:
    def line(title: str, text: str) -> None:
        paragraph(text, first=f"  {title:16} ", indent=19)

    def describe(directory: dict[str, Any] | None) -> str:
        if directory is None:
            return "none"
        writable = "" if directory["writable"] else ", cannot be written"
        return f"{directory['path']}, {format_bytes(directory['free_bytes'])} free{writable}"

    say("This machine")
    line("mlpconv", f"{report['mlpconv']}, Python {report['python']}, {report['platform']}")
    bfloat16 = "computes in bfloat16" if report["bfloat16"] else "no bfloat16 arithmetic, so float32 is faster"
    line("processor", f"{report['processor']}, {report['cores']} core{'s' * (report['cores'] > 1)}; {bfloat16}")
    memory = report["memory_bytes"]
    line("memory", "unknown" if memory is None else f"{format_bytes(memory)} for this process")
    tuned = "glibc; training keeps freed memory between steps, which is faster"
    line("allocator", tuned if report["allocator"] else "unchanged (not glibc, or MLPCONV_ALLOCATOR=system)")
    for gpu in report["gpus"]:
        memory = f", {format_bytes(gpu['memory_bytes'])}" if gpu["memory_bytes"] else ""
        line("GPU", f"{gpu['device']}: {gpu['name']}{memory}")
    if not report["gpus"]:
        line("GPU", "none visible to PyTorch" if report["training"] else "unknown without PyTorch")
    line("here", describe(report["working_directory"]))
    line("cache", describe(report["cache"]))
    say("\nOptional packages")
    extras = optional_packages()
    for name, installed in report["packages"].items():
        backend = BACKENDS.get(extras[name])
        where = ", in a separate environment" if backend and backend.environment else ""
        line(name, installed or f'missing: pip install "mlpconv[{extras[name]}]"{where}')
    say("\nData sets")
    for row in report["data"]:
        line(row["name"], f"{row['path']} ({row['origin']})" if row["path"] else f"not here: {row['remedy']}")
    say("\nTraining")
    if report["training"]:
        training = report["training"]
        line("would use", f"{training['backend']} on {training['description']} in {training['precision']}")
    for kind in ("warnings", "problems"):
        for text in report[kind]:
            line(kind[:-1], text)
    if report["ok"]:
        next_steps(("mlpconv train", "train the chapter's network on Fashion-MNIST"))
