# pyright: reportMissingImports=false
"""Middleware that receives requests within limits of size and time, and counts them."""

import asyncio
import time
import zlib
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """Receives the whole body of a request, and decompresses it, before the application is called."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits, self._held = app, limits, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
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
            await self._app(scope, receive_whole, count_status)
        except HTTPException as error:
            headers = {**(error.headers or {}), "Connection": "close"}
            await JSONResponse({"error": error.detail}, error.status_code, headers)(scope, receive, count_status)
        except ClientDisconnect:
            return
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
        try:
            async with asyncio.timeout(self._limits.seconds):
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
        except TimeoutError:
            if not full:
                raise HTTPException(408, f"the body did not arrive within {self._limits.seconds:g} s") from None
        if full == 413:
            raise _too_large(limit)
        if full:
            raise HTTPException(503, "too many large requests arrive at once; try again later", {"Retry-After": "1"})
        if encoding == "identity":
            return bytes(received)
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise HTTPException(415, f"Content-Encoding: {encoding[:50]!r}; expected gzip or deflate")
        body = await asyncio.to_thread(_decompressed, bytes(received), limit)
        if len(body) > limit:
            raise _too_large(limit)
        return body


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"the body is larger than {format_bytes(limit)}, the limit of this server")


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
