"""Where and how a study or benchmark was measured: hardware, versions, date and command, as data and as text."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mlpconv.runs.run import environment

HARDWARE = ("processor", "cpus", "bfloat16", "memory_bytes", "platform")
"""What a result states of the machine."""
HARDWARE_OF_DEVICE = ("device", "processor", "cpus", "bfloat16", "platform")
"""The same for a result that depends on a device."""
PACKAGES = ("mlpconv", "python", "numpy", "torch")


def hardware(of: Mapping[str, Any], keys: Sequence[str] = HARDWARE) -> dict[str, Any]:
    """The hardware of an environment, such as that of a run; None for what it does not record."""
    return {key: of.get(key) for key in keys}


def provenance(versions: Mapping[str, str] | None = None, packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """The last keys of a result: hardware, versions, date and command.

    Args:
        versions: Versions of other packages that took part.
        packages: The packages of this environment to name.
    """
    here = environment()
    return {
        "hardware": hardware(here),
        "versions": {name: here["versions"][name] for name in packages} | dict(versions or {}),
        "date": here["date"],
        "command": shlex.join(["mlpconv", *sys.argv[1:]]),
    }


def provenance_line(result: Mapping[str, Any]) -> str:
    """The provenance of a result in one line of Markdown."""
    machine = result["hardware"]
    parts = [f"{machine['processor']}, {machine['cpus']} CPUs", result.get("precision"), machine["platform"]]
    where = "; ".join(part for part in parts if part)
    return f"Command: `{result['command']}`; {result['date']}; {where}; {_versions(result)}."


def provenance_list(result: Mapping[str, Any]) -> list[str]:
    """The provenance of a result as a Markdown list."""
    machine = result["hardware"]
    bfloat16 = "with" if machine["bfloat16"] else "without"
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if machine.get("memory_bytes") else ""
    precision = f", {result['precision']}" if "precision" in result else ""
    return [
        f"- command: `{result['command']}`",
        f"- hardware: {machine['processor']}, {machine['cpus']} processors {bfloat16} bfloat16{memory}{precision}; "
        f"{machine['platform']}",
        f"- versions: {_versions(result)}",
        f"- date: {result['date']}",
    ]


def _versions(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in result["versions"].items())
