# pyright: reportMissingImports=false
"""Connections of uvicorn that are closed if a client sends its header, or reads the answer, too slowly."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEADER_BYTES = 1 << 16


class _Transport:
    """A transport that ignores what is written after the connection was closed, as asyncio's does and uvloop's does
    not: uvicorn continues with the other requests that a client sent in advance."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def timed_protocol(limit: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol, with a limit in seconds."""

    class TimedProtocol(HttpToolsProtocol):
        _timer: asyncio.TimerHandle | None = None
        _header_bytes: int | None = None  # None while no header is being received

        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Transport(transport))  # pyright: ignore[reportArgumentType]
            self._start(self._close_slow_sender)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._header_bytes is None:
                return
            self._header_bytes += len(data)
            if self._header_bytes > _MAX_HEADER_BYTES:
                self._refuse(
                    "431 Request Header Fields Too Large", f"the header is longer than {_MAX_HEADER_BYTES} bytes"
                )

        def on_message_begin(self) -> None:
            self._header_bytes = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._stop()
            self._header_bytes = None
            super().on_headers_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.cycle.response_complete and not self.transport.is_closing():
                self._start(self._close_slow_sender)

        def pause_writing(self) -> None:
            super().pause_writing()
            self._start(self.transport.abort)

        def resume_writing(self) -> None:
            self._stop()
            super().resume_writing()

        def _start(self, action: Any) -> None:
            self._stop()
            self._timer = self.loop.call_later(limit, action)

        def _stop(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _close_slow_sender(self) -> None:
            if self._header_bytes is not None:
                self._refuse("408 Request Timeout", f"the header did not arrive within {limit:g} s")
            else:
                self.transport.close()

        def _refuse(self, status: str, reason: str) -> None:
            body = f'{{"error": "{reason}"}}'
            self.transport.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
                f"Connection: close\r\n\r\n{body}".encode()
            )
            self.transport.close()

    return TimedProtocol
