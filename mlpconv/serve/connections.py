# pyright: reportMissingImports=false
"""Connections of uvicorn that are closed if a client sends its request, or reads the answer, too slowly."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MAX_HEADER_BYTES = 1 << 16


class _Transport:
    """A transport that sends the header of an answer together with its body: uvicorn writes one after the other, and
    each would be a packet. It ignores what is written after the connection was closed, as asyncio's transports do and
    uvloop's do not: uvicorn continues with the other requests that a client sent in advance."""

    def __init__(self, transport: Any) -> None:
        self._transport, self._header = transport, b""

    def write(self, data: bytes) -> None:
        is_header = data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n")
        if is_header and not self._header and not data.startswith(b"HTTP/1.1 100 "):
            self._header = data
        else:
            self._send(data)

    def send_header(self) -> None:
        """Send a header that no body has followed."""
        if self._header:
            self._send(b"")

    def close(self) -> None:
        self.send_header()
        self._transport.close()

    def _send(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._header + data)
        self._header = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def timed_protocol(limit: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol, with a limit in seconds for each header, each body, and the reading of each answer."""

    class TimedProtocol(HttpToolsProtocol):
        _receiving: asyncio.TimerHandle | None = None
        _sending: asyncio.TimerHandle | None = None
        _header_bytes: int | None = None  # None while no header is being received
        _in_body = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(_Transport(transport))  # pyright: ignore[reportArgumentType]
            self._receiving = self.loop.call_later(limit, self._close_slow_sender)

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_receiving()
            self._stop_sending()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._header_bytes is not None:
                self._header_bytes += len(data)
                if self._header_bytes > _MAX_HEADER_BYTES:
                    self._refuse(
                        "431 Request Header Fields Too Large", f"the header is longer than {_MAX_HEADER_BYTES} bytes"
                    )
            self._time_receiving()

        def on_message_begin(self) -> None:
            self._header_bytes = 0
            super().on_message_begin()

        def on_headers_complete(self) -> None:
            self._stop_receiving()
            self._header_bytes, self._in_body = None, True
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self._stop_receiving()
            self._in_body = False
            super().on_message_complete()

        def on_response_complete(self) -> None:
            self.transport.send_header()  # pyright: ignore[reportAttributeAccessIssue]
            super().on_response_complete()
            self._time_receiving()

        def pause_writing(self) -> None:
            super().pause_writing()
            self._stop_sending()
            self._sending = self.loop.call_later(limit, self.transport.abort)

        def resume_writing(self) -> None:
            self._stop_sending()
            super().resume_writing()

        def _time_receiving(self) -> None:
            """Limit the time for the rest of a request that has begun to arrive; if the client sent it in advance, once
            the one before it has been answered."""
            in_header = self._header_bytes is not None and (self.cycle is None or self.cycle.response_complete)
            if (in_header or self._in_body) and self._receiving is None and not self.transport.is_closing():
                self._receiving = self.loop.call_later(limit, self._close_slow_sender)

        def _stop_receiving(self) -> None:
            if self._receiving is not None:
                self._receiving.cancel()
                self._receiving = None

        def _stop_sending(self) -> None:
            if self._sending is not None:
                self._sending.cancel()
                self._sending = None

        def _close_slow_sender(self) -> None:
            self._receiving = None
            if self.flow.read_paused:  # the client waits for the server
                self._time_receiving()
            elif self._header_bytes is not None:
                self._refuse("408 Request Timeout", f"the header did not arrive within {limit:g} s")
            elif self._in_body and not self.cycle.response_started:
                self._refuse("408 Request Timeout", f"the body did not arrive within {limit:g} s")
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
