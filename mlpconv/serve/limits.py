# pyright: reportMissingImports=false
"""Receive requests within limits of size, answer errors, and count all of them."""

import asyncio
import time
import zlib
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.routing import Router
from starlette.types import Message, Receive, Scope, Send

from mlpconv.errors import DataError, MlpconvError, NetworkError, RunError
from mlpconv.formatting import format_bytes
from mlpconv.serve.metrics import count_request

_BODIES = 16
"""The memory for all bodies that are received at the same time, in bodies of the largest size."""


class Limits(NamedTuple):
    """What clients may send."""

    body_bytes: int = 32 << 20
    """The most bytes of a body, also once decompressed."""
    seconds: float = 30
    """The most seconds that a header, a body, or the reading of an answer takes."""
    waiting: int = 256
    """The most requests that wait while others are computed."""
    connections: int = 1024
    """The most connections at the same time."""


class LimitedRequests:
    """Receives the whole body of a request, and decompresses it, before a router is called; answers its errors."""

    def __init__(self, router: Router, limits: Limits) -> None:
        self.router, self._limits, self._held = router, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.router(scope, receive, send)
            return
        scope["app"] = self  # then the router raises an error if it has no route
        status, start, received = 0, time.perf_counter(), bytearray()
        waiting: list[Message] = []

        async def receive_whole() -> Message:
            return waiting.pop() if waiting else await receive()

        async def count_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            body = await self._body(dict(scope["headers"]), receive, received)
            waiting.append({"type": "http.request", "body": body, "more_body": False})
            await self.router(scope, receive_whole, count_status)
        except ClientDisconnect:
            return
        except Exception as error:
            if status:  # the answer has begun: uvicorn closes the connection
                raise
            await _error_response(error)(scope, receive, count_status)
            if not isinstance(error, HTTPException | MlpconvError):
                raise  # uvicorn writes it to the log
        finally:
            self._held -= len(received)
            route = getattr(scope.get("route"), "path", "none")
            count_request(route, status, time.perf_counter() - start)

    async def _body(self, headers: dict[bytes, bytes], receive: Receive, received: bytearray) -> bytes:
        """The body, decompressed; ``received`` is what arrived. What is too large is read, so that the client listens
        to the answer, and thrown away, unless the client asks before it sends it."""
        limit, full = self._limits.body_bytes, 0
        encoding = headers.get(b"content-encoding", b"identity").decode("latin-1").lower()
        announced = headers.get(b"content-length", b"").decode("latin-1")
        if b"expect" in headers and announced.isdecimal() and int(announced) > limit:
            raise _too_large(limit)
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            part, more = message.get("body", b""), message.get("more_body", False)
            full = full or (413 if len(received) + len(part) > limit else 0)
            full = full or (503 if self._held + len(part) > _BODIES * limit else 0)
            if not full:
                received += part
                self._held += len(part)
        if full == 413:
            raise _too_large(limit)
        if full:
            reason = "too many large requests arrive at once; try again later"
            raise HTTPException(503, reason, {"Retry-After": "1", "Connection": "close"})
        if encoding == "identity":
            return bytes(received)
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise HTTPException(415, f"Content-Encoding: {encoding[:50]!r}; expected gzip or deflate")
        body = await asyncio.to_thread(_decompressed, bytes(received), limit)
        if len(body) > limit:
            raise _too_large(limit)
        return body


def _error_response(error: Exception) -> JSONResponse:
    if isinstance(error, HTTPException):
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)
    if isinstance(error, MlpconvError):
        status = 400 if isinstance(error, DataError) else 404 if isinstance(error, RunError | NetworkError) else 500
        return JSONResponse({"error": str(error)}, status)
    return JSONResponse({"error": "internal error; the server's log has more"}, 500)


def _too_large(limit: int) -> HTTPException:
    reason = f"the body is larger than {format_bytes(limit)}, the limit of this server"
    return HTTPException(413, reason, {"Connection": "close"})


def _decompressed(body: bytes, limit: int) -> bytes:
    """A body in gzip or zlib format, decompressed; of one with more than ``limit`` bytes the first ``limit`` + 1."""
    decompressor = zlib.decompressobj(wbits=47)
    try:
        content = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise HTTPException(400, f"the body cannot be decompressed: {error}") from None
    if len(content) <= limit and (not decompressor.eof or decompressor.unused_data):
        raise HTTPException(400, "the body cannot be decompressed: it is cut off, or followed by other data")
    return content
