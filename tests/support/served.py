"""A real server process of `mlpconv serve`."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import requests

_EXTRA = (
    "onnx", "onnxruntime", "uvicorn", "httptools", "starlette", "python_multipart", "prometheus_client",
)  # fmt: skip


def need_serve() -> None:
    """Skip the test where a package of the extra serve is missing."""
    for package in _EXTRA:
        pytest.importorskip(package, reason=f"the extra serve is not installed: {package}")


class Server:
    """A server at a free port, with the models of ``arguments``; ready when this returns."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        command = [sys.executable, "-m", "mlpconv", "serve", "--json", "--port", "0", *map(str, arguments)]
        root = str(Path(__file__).parents[2])
        search_path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": search_path, "OMP_NUM_THREADS": "1"}
        self.log = folder / "server.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, env=environment
            )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        self.said = json.loads(line)
        self.url: str = self.said["url"]
        self.address = self.url.removeprefix("http://")

    def get(self, path: str, **options) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, data=None, **options) -> requests.Response:
        return requests.post(self.url + path, data, timeout=60, **options)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal; the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


POST_HEADER = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"


def received(connection):
    """What the server sends until it closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)
