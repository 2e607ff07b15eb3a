"""What the recorder and the tests of this folder share.

Only the command line and the names in ``mlpconv.__all__`` are used, and nothing of the other tests, so that everything
else may be moved and renamed.
"""

import contextlib
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).parent
NETWORKS, OUTPUTS, TRAINING = (HERE / f"{name}.json" for name in ("networks", "outputs", "training"))
RUNS = HERE / "runs"


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def command(directory: Path, *arguments: object) -> str:
    """What ``mlpconv ARGUMENTS`` prints, called in this process and in ``directory``."""
    from mlpconv.__main__ import main

    words = ["mlpconv", *map(str, arguments)]
    hidden = ("MLPCONV_DATA", "MLPCONV_CACHE", "MLPCONV_LOG", "COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE")
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    # The cache is the directory's own; the allocator's switch is of the whole process, in which other tests run.
    kept |= {"XDG_CACHE_HOME": str(directory / "cache"), "MLPCONV_ALLOCATOR": "system"}
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, kept, clear=True), mock.patch.object(sys, "argv", words), contextlib.chdir(directory),
        contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
    ):  # fmt: skip
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    assert code == 0, f"{' '.join(words)} ended with {code}: {err.getvalue()}"
    return out.getvalue()


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def network(name: str) -> dict[str, Any]:
    """The identity of a registered network, and what it costs."""
    import mlpconv

    found = mlpconv.create_model(name)
    costs = mlpconv.count(found)
    return {
        "sha256": digest(found.to_json().encode()), "digest": found.digest, "parameters": costs.parameters,
        "macs": costs.macs, "input_shape": list(costs.input_shape),
    }  # fmt: skip
