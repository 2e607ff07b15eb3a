"""The clients of `mlpconv bench serve`: they send the same request again as soon as it is answered.

All of them are in one process and one thread, and do as little as possible with an answer, as they take their time from
the server's processors.
"""

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import msgspec
import numpy as np

from mlpconv.serve.protocol import HEADER_LENGTH

_RECEIVE_BYTES = 1 << 16


class Job(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to measure."""

    host: str
    port: int
    model: str
    shape: tuple[int, int, int, int]
    """Images, height, width and channels of a request."""
    clients: int
    seconds: float
    """How long to count answers at least, after every client has had one."""
    threads: int = 1


def measure(job: Job) -> dict[str, Any]:
    """Count the answers of a server.

    Raises:
        RuntimeError: An answer is an error, or the server closed a connection.
    """
    message = _request(job)
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(job.clients):
            client = stack.enter_context(socket.create_connection((job.host, job.port)))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ, bytearray())
            client.sendall(message)
        answered = _answered(selector)
        for _ in range(job.clients):
            next(answered).sendall(message)
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < job.seconds or not count:
            next(answered).sendall(message)
            count += 1
        seconds = time.perf_counter() - started
        for _ in range(job.clients):  # nothing is left for the server to do while others are measured
            selector.unregister(next(answered))  # the server may close it while others are answered
        return {"images_per_second": count * job.shape[0] / seconds, "answers": count}


def _request(job: Job) -> bytes:
    """A request for the logits of random images, with binary data."""
    images = np.random.default_rng(0).integers(0, 256, job.shape, np.uint8)
    size = {"binary_data_size": images.nbytes}
    text = msgspec.json.encode(
        {
            "inputs": [{"name": "images", "datatype": "UINT8", "shape": job.shape, "parameters": size}],
            "outputs": [{"name": "logits", "parameters": {"binary_data": True}}],
        }
    )
    head = (
        f"POST /v2/models/{job.model}/infer HTTP/1.1\r\nHost: {job.host}:{job.port}\r\n"
        f"Content-Type: application/octet-stream\r\n{HEADER_LENGTH}: {len(text)}\r\n"
        f"Content-Length: {len(text) + images.nbytes}\r\n\r\n"
    )
    return head.encode() + text + images.tobytes()


def _answered(selector: selectors.BaseSelector) -> Iterator[socket.socket]:
    """Yield a client as soon as it has its answer."""
    while True:
        for key, _ in selector.select():
            client, received = key.fileobj, key.data
            assert isinstance(client, socket.socket)
            part = client.recv(_RECEIVE_BYTES)
            received += part
            if not part:
                raise RuntimeError("the server closed a connection")
            if _is_whole(received):
                received.clear()
                yield client


def _is_whole(answer: bytearray) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"the server answered {bytes(answer[:500])!r}")
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)
