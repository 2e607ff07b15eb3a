"""The browser engine of mlpconv/web, run in Node."""

import base64
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

NODE = shutil.which("node")
_DRIVER = Path(__file__).with_suffix(".mjs")


def encoded(array: np.ndarray) -> str:
    """An array of bytes as the engine's driver takes it."""
    return base64.b64encode(np.ascontiguousarray(array)).decode()


def decoded(text: str, dtype: Any = np.uint8) -> np.ndarray:
    """An array that the engine's driver returned."""
    return np.frombuffer(base64.b64decode(text), dtype)


class Engine:
    """A Node process that answers requests, one at a time."""

    def __init__(self) -> None:
        assert NODE is not None
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([NODE, str(_DRIVER)], stdin=pipe, stdout=pipe, text=True, bufsize=1)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        """Send a request. Raises ValueError with the engine's message if it throws an error."""
        self._requests.write(json.dumps({"command": command, **request}) + "\n")
        answer = json.loads(self._answers.readline())
        if "error" in answer:
            raise ValueError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._requests.close()
        self._process.wait(30)
        self._answers.close()
