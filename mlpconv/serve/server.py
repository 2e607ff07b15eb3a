# pyright: reportMissingImports=false
"""Start the server, on uvicorn."""

import asyncio
import errno
import gc
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import uvicorn

from mlpconv.errors import MlpconvError
from mlpconv.serve.app import make_app
from mlpconv.serve.connections import timed_protocol
from mlpconv.serve.limits import Limits
from mlpconv.serve.model import ServedModel


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. Raises MlpconvError if that is not possible."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # With the protocol: asyncio sets TCP_NODELAY only where it is given, and answers would take 40 ms longer.
        with ExitStack() as stack:
            listener = stack.enter_context(socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
            stack.pop_all()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise MlpconvError(f"--port {port}: used by another program; choose another one, or 0 for any") from None
        raise MlpconvError(f"--host {host} --port {port}: cannot listen there: {error.strerror or error}") from None
    return listener


def url(listener: socket.socket) -> str:
    """The address of a socket, for people and browsers."""
    host, port, *_ = listener.getsockname()
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve(
    models: Sequence[ServedModel], listener: socket.socket, limits: Limits, started: Callable[[], None] = lambda: None
) -> None:
    """Serve models until SIGINT or SIGTERM; then answer the requests that have been received, and return.

    Args:
        models: The models, with different names.
        listener: The socket.
        limits: What clients may send.
        started: Called when requests are answered.
    """
    config = uvicorn.Config(
        make_app({model.name: model for model in models}, limits),
        http=timed_protocol(limits.seconds),
        ws="none",
        proxy_headers=False,  # nothing depends on the client's address
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=int(limits.seconds),
        limit_concurrency=limits.connections,
    )
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # its warnings are about what clients send
    server = uvicorn.Server(config)

    async def run() -> None:
        serving = asyncio.create_task(server.serve([listener]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.01)
        started()
        await serving

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # uvicorn raises the signal again when it has stopped
    # No search for garbage among what was loaded, nor as soon as a few requests wait: with a small network, these
    # searches take a tenth of the time, and the answers leave hardly any.
    gc.freeze()
    gc.set_threshold(20_000)
    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:  # that of uvloop, if it is installed
        runner.run(run())
