"""HTTP on a connection: uvicorn's, with bounds on how many there are, how long and how large headers may be, and how
long an answer may lie unread."""

from __future__ import annotations

import asyncio
import re
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from vizrec_spark.serve.guard import LATE, Guard, error_body, overloaded

MAX_HEADER_BYTES: Final = 32_768
LINGER_S: Final = 2.0
"""Seconds in which what a refused client is still sending is read and dropped: a connection that is closed with unread
bytes is reset, and the reset overtakes the refusal."""

LINGER_BYTES: Final = 1 << 20
"""How much of that is read at most."""

_END: Final = b"\r\n\r\n"
_SESSION: Final = b"POST /v1/recommendations"
_FRAMING: Final = (b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"expect")
_LENGTH: Final = re.compile(rb"\r\ncontent-length: ?(\d{1,7})(?=\r\n|$)")
_LATE_BODY: Final = error_body("overloaded", str(overloaded(LATE).detail))
_LATE: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    b"content-length: %d\r\n\r\n%s" % (len(_LATE_BODY), _LATE_BODY)
)


def bounded_protocol(guard: Guard, max_connections: int, timeout_s: float) -> type[HttpToolsProtocol]:
    """uvicorn's protocol where one connection more than `max_connections` gets 503, a request whose headers take longer
    than `timeout_s` 408, and one whose headers have more than `MAX_HEADER_BYTES` 431. Who does not read what it is sent
    for `timeout_s` loses the connection: closing alone would wait for such a client for ever. A connection that is
    refused so counts no longer, and is heard out for `LINGER_S`; of these there are at most `max_connections`.

    A look-up, or a session's list, that comes under overload is refused as `guard` does, but unparsed: to refuse has to
    cost far less than to answer, or a flood of what is refused does as much harm as one that is not.
    """
    lingering: set[BoundedProtocol] = set()

    class BoundedProtocol(HttpToolsProtocol):
        _headers_due: asyncio.TimerHandle | None = None
        _reading_due: asyncio.TimerHandle | None = None
        _lingering_due: asyncio.TimerHandle | None = None
        _header_bytes = 0  # of the request whose headers come now, as far as the parser has told
        _unparsed = 0  # bytes that have come since headers began
        _dropped = 0  # bytes that have come since it was refused
        _in_headers = True
        _between = True  # the last request has come as a whole

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
            self._was_read()
            self._linger_no_more()
            super().connection_lost(exc)
            self._unset_keepalive_if_required()  # uvicorn leaves it where the other end has reset the connection

        def eof_received(self) -> None:
            super().eof_received()
            self._expect_reading()  # it is closed now, behind what is still to be read

        def pause_writing(self) -> None:
            super().pause_writing()
            self._expect_reading()

        def resume_writing(self) -> None:
            super().resume_writing()
            if not self._ending:  # what is left must be read too
                self._was_read()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if self.transport.is_closing():
                self._expect_reading()
            elif (
                not self._between and self._headers_due is None
            ):  # the rest of a body, which nobody waits for
                self._unset_keepalive_if_required()
                self._expect_headers()

        def timeout_keep_alive_handler(self) -> None:
            super().timeout_keep_alive_handler()
            self._expect_reading()

        def shutdown(self) -> None:
            super().shutdown()
            if self.transport.is_closing():
                self._expect_reading()

        def data_received(self, data: bytes) -> None:
            if self._ending:
                self._drop(data)
                return
            # All that has come in this turn of the event loop stands in `tasks` before any of it is answered.
            if guard.overloaded(len(self.tasks)) and self._is_look_up(data):
                self._refuse_unread()
                return
            self._unparsed = self._unparsed + len(data) if self._in_headers else 0
            super().data_received(data)
            self._bound_silence()
            # One header that does not end is in none of the parser's calls.
            if self._in_headers and self._unparsed > MAX_HEADER_BYTES:
                self._headers_too_large()

        def _is_look_up(self, data: bytes) -> bool:
            """Whether `data` is one whole request of an endpoint that may be refused: without a body, or that of a
            session as it usually comes, in one piece."""
            # Not what may be the rest of a body whose request was answered before it had come.
            if not (self._between and self._answered and data.startswith((b"GET /v1/", _SESSION))):
                return False
            head, end, body = data.partition(_END)
            if not end or head.find(b" HTTP/1.1\r\n") < 0:
                return False
            # What says how the request goes on, or the connection after it, is for the parser.
            lower = head.lower()
            declared, rest = _LENGTH.findall(lower), _LENGTH.sub(b"", lower)
            if any(name in rest for name in _FRAMING):
                return False
            if not declared:
                return not body and lower.startswith(b"get ")
            return len(declared) == 1 and int(declared[0]) == len(body)

        @property
        def _ending(self) -> bool:
            """What comes now is read for nobody."""
            return self in lingering or bool(self.transport.is_closing())

        @property
        def _answered(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _bound_silence(self) -> None:
            """Bytes have taken uvicorn's timer away. Where they are no request, or the rest of one that has its answer,
            no other comes: a bound that further bytes do not move."""
            waiting = self.timeout_keep_alive_task is None and self._headers_due is None
            if waiting and self._answered and not self._ending:
                self._expect_headers()

        def _refuse_unread(self) -> None:
            guard.refused_unread("overloaded", 503)
            self._headers_came()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            self.transport.write(_LATE)

        def send_400_response(self, msg: str) -> None:
            if not self._ending:
                self._refuse(400, "Bad Request", "bad_request", "this is no HTTP request")

        def on_message_begin(self) -> None:
            self._between, self._in_headers, self._header_bytes, self._unparsed = False, True, 0, 0
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

        def on_message_complete(self) -> None:
            self._between = True
            super().on_message_complete()

        def _headers_too_large(self) -> None:
            if not self._ending:
                self._refuse(
                    431, "Request Header Fields Too Large", "headers_too_large", "the headers are too large"
                )

        def _expect_headers(self) -> None:
            self._headers_due = self.loop.call_later(timeout_s, self._late)

        def _headers_came(self) -> None:
            if self._headers_due is not None:
                self._headers_due.cancel()
                self._headers_due = None

        def _expect_reading(self) -> None:
            if self._reading_due is None:
                self._reading_due = self.loop.call_later(timeout_s, self.transport.abort)

        def _was_read(self) -> None:
            if self._reading_due is not None:
                self._reading_due.cancel()
                self._reading_due = None

        def _close(self) -> None:
            self.transport.close()
            self._expect_reading()

        def _late(self) -> None:
            self._headers_due = None
            if self._ending:
                return
            if self.cycle is not None and (self._between or not self._in_headers):
                self._close()  # nobody has begun to ask, or what was asked has its answer
                return
            self._refuse(408, "Request Timeout", "too_slow", "the request came too slowly")

        def _refuse(self, status: int, phrase: str, code: str, message: str, more: bytes = b"") -> None:
            if self._unparsed or status == 503:  # not where somebody has only connected, and said nothing
                guard.refused_unread(code, status)
            body = error_body(code, message)
            # What waits to be read, or is still to be written, has no place in a connection that does not count.
            may_linger = (
                self._answered
                and self.transport.get_write_buffer_size() == 0
                and len(lingering) < max_connections
            )
            head = (
                f"HTTP/1.1 {status} {phrase}\r\ncontent-type: application/json\r\n"
                f"content-length: {len(body)}\r\nconnection: close\r\n"
            )
            self.transport.write(head.encode("ascii") + more + b"\r\n" + body)
            if may_linger:
                self._linger()
            else:
                self._close()

        def _linger(self) -> None:
            self._headers_came()
            self._unset_keepalive_if_required()
            self.connections.discard(self)
            self.cycle = None  # type: ignore[assignment]  # and with it the body of what was asked last
            lingering.add(self)
            self._lingering_due = self.loop.call_later(LINGER_S, self._close)
            self.transport.write_eof()

        def _drop(self, data: bytes) -> None:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES and not self.transport.is_closing():
                self._close()

        def _linger_no_more(self) -> None:
            lingering.discard(self)
            if self._lingering_due is not None:
                self._lingering_due.cancel()
                self._lingering_due = None

    return BoundedProtocol
