"""HTTP on a connection: uvicorn's, with bounds on how many there are, and on how long and how large headers may be."""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vizrec_spark.serve.guard import error_body

MAX_HEADER_BYTES: Final = 32_768


def bounded_protocol(max_connections: int, timeout_s: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol where one connection more than `max_connections` gets 503, a request whose headers take longer
    than `timeout_s` 408, and one whose headers have more than `MAX_HEADER_BYTES` 431."""

    class BoundedProtocol(HttpToolsProtocol):
        _headers_due: asyncio.TimerHandle | None = None
        _header_bytes = 0  # of the request whose headers come now, as far as the parser has told
        _unparsed = 0  # bytes that have come since headers began
        _in_headers = True

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > max_connections:
                self._refuse(
                    503, "Service Unavailable", "overloaded", "too many connections", b"retry-after: 1\r\n"
                )
            else:
                self._expect_headers()

        def connection_lost(self, exc: Exception | None) -> None:
            self._headers_came()
            super().connection_lost(exc)

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            self._unparsed = self._unparsed + len(data) if self._in_headers else 0
            super().data_received(data)
            # One header that does not end is in none of the parser's calls.
            if self._in_headers and self._unparsed > MAX_HEADER_BYTES:
                self._headers_too_large()

        def send_400_response(self, msg: str) -> None:
            if not self.transport.is_closing():
                self._refuse(400, "Bad Request", "bad_request", "this is no HTTP request")

        def on_message_begin(self) -> None:
            self._in_headers, self._header_bytes, self._unparsed = True, 0, 0
            if self._headers_due is None:
                self._expect_headers()
            super().on_message_begin()

        def on_url(self, url: bytes) -> None:
            self._header_bytes += len(url)
            super().on_url(url)

        def on_header(self, name: bytes, value: bytes) -> None:
            self._header_bytes += len(name) + len(value)
            super().on_header(name, value)

        def on_headers_complete(self) -> None:
            self._in_headers = False
            self._headers_came()
            if self._header_bytes > MAX_HEADER_BYTES:
                self._headers_too_large()
                raise ValueError("the headers are too large")  # ends the parser
            super().on_headers_complete()

        def _headers_too_large(self) -> None:
            if not self.transport.is_closing():
                self._refuse(
                    431, "Request Header Fields Too Large", "headers_too_large", "the headers are too large"
                )

        def _expect_headers(self) -> None:
            self._headers_due = self.loop.call_later(timeout_s, self._late)

        def _headers_came(self) -> None:
            if self._headers_due is not None:
                self._headers_due.cancel()
                self._headers_due = None

        def _late(self) -> None:
            self._headers_due = None
            if not self.transport.is_closing():
                self._refuse(408, "Request Timeout", "too_slow", "the request came too slowly")

        def _refuse(self, status: int, phrase: str, code: str, message: str, more: bytes = b"") -> None:
            body = error_body(code, message)
            head = (
                f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n"
            )
            self.transport.write(head.encode("ascii") + more + b"\r\n" + body)
            self.transport.close()

    return BoundedProtocol
