"""Where a benchmark was measured."""

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from mlpconv.runs.run import environment


def surroundings(versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Hardware, versions, date and command, as every result has them. versions: of packages that took part besides."""
    found = environment()
    ours = {name: found["versions"][name] for name in ("mlpconv", "python", "numpy", "torch")}
    return {
        "hardware": {key: found[key] for key in ("processor", "cpus", "bfloat16", "memory_bytes", "platform")},
        "versions": ours | dict(versions or {}),
        "date": found["date"],
        "command": shlex.join(["mlpconv", *sys.argv[1:]]),
    }
