"""What stands before every endpoint: key, load, size, time, headers, metrics. Plain ASGI: it runs on each request."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import orjson
from starlette.exceptions import HTTPException

from vizrec_spark.config.models import ServeConfig
from vizrec_spark.serve.metrics import Metrics

log = logging.getLogger("vizrec")

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

ALWAYS: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered also under overload: an orchestrator takes no answer for death, and what is measured then is wanted most."""

OPEN: Final = frozenset({"/healthz", "/readyz", "/", "/page.css", "/page.js", "/favicon.svg"})
"""Answered without a key: they tell nothing of the shop."""

INTERNAL: Final = ("internal", "the service has failed; its log says why")
"""Code and message of a bug."""

LATE: Final = "more requests come than can be answered"

UPLOADS: Final = "/v1/search"
"""The endpoint that takes pictures; bodies of others are JSON."""

MULTIPART_ROOM: Final = 16_384  # bytes of boundaries and headers around an upload
MAX_JSON_BYTES: Final = 524_288  # of a body: 51 ids of the greatest length, every character escaped
_TICK_S: Final = 0.01
_TICKS: Final = 3
_CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", _CSP.encode("ascii")),
]


class Refusal(HTTPException):
    """A request that is not answered: status, code and message for the client, and headers."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        """`headers` with _ for -."""
        super().__init__(status, message, {name.replace("_", "-"): value for name, value in headers.items()})
        self.code = code


def error_body(code: str, message: str) -> bytes:
    """``{"error": {"code": ..., "message": ...}}``"""
    return orjson.dumps({"error": {"code": code, "message": message}})


def overloaded(what: str) -> Refusal:
    """503, to be tried again in a second."""
    return Refusal(503, "overloaded", f"{what}; try again in a second", retry_after="1")


class Guard:
    """An ASGI application around another.

    Overload is seen in two ways: `ServeConfig.max_in_flight` requests are begun and not answered, or the event loop is
    later than `ServeConfig.max_delay_ms`. Then requests are refused at once, which costs a part of an answer. One late
    moment is none: as in CoDel (Nichols and Jacobson, 2012), the smallest delay of the last few measurements counts,
    so that a pause of the machine refuses nobody.
    """

    def __init__(self, app: Asgi, config: ServeConfig, key: str | None, metrics: Metrics) -> None:
        """`key`: what requests must carry; None: nothing."""
        self._app, self._config, self._metrics = app, config, metrics
        self._key = None if key is None else hashlib.sha256(key.encode()).digest()
        self._in_flight = 0
        self._late: deque[float] = deque(maxlen=_TICKS)
        self._counted: dict[tuple[str, int], Any] = {}
        self._timed: dict[str, Any] = {}

    async def watch(self) -> None:
        """Measures for ever how late the event loop is."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self._late.append(loop.time() - due)
            self._metrics.delay.set(self._delay())

    def overloaded(self, begun: int) -> bool:
        """Whether requests come faster than they are answered, where `begun` of them are not answered yet."""
        return begun >= self._config.max_in_flight or self._delay() * 1000 > self._config.max_delay_ms

    def refused_unread(self, code: str, status: int) -> None:
        """Counts a request, or a connection, that was refused before it was parsed."""
        self._metrics.refused.labels(code).inc()
        self._metrics.requests.labels("other", str(status)).inc()

    def _delay(self) -> float:
        """Seconds by which the event loop has been late at least, lately."""
        return max(0.0, min(self._late, default=0.0))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, path, told = time.perf_counter(), scope["path"], {"status": 500, "begun": False}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                told["status"], told["begun"] = message["status"], True
                message["headers"] = [*message["headers"], *_HEADERS]
            await send(message)

        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            refusal = self._refusal(scope, path)
            if refusal is None:
                await self._answered(scope, receive, sending)
            else:
                self._metrics.refused.labels(refusal.code).inc()
                await _send(sending, refusal)
        except Refusal as refusal:
            self._metrics.refused.labels(refusal.code).inc()
            if not told["begun"]:
                await _send(sending, refusal)
        except Exception:
            log.exception("serve: %s %s failed", scope["method"], _plain(path))
            if not told["begun"]:
                await _send(sending, Refusal(500, *INTERNAL))
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            self._count(scope, int(told["status"]), time.perf_counter() - began)

    def _refusal(self, scope: MutableMapping[str, Any], path: str) -> Refusal | None:
        if path not in ALWAYS and self.overloaded(self._in_flight - 1):
            return overloaded(LATE)
        if self._key is not None and path not in OPEN and not self._knows(scope["headers"]):
            return Refusal(
                401,
                "unauthorized",
                "send the key as `X-API-Key: <key>` or `Authorization: Bearer <key>`",
                www_authenticate="Bearer",
            )
        return None

    def tells_all(self, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether these headers carry the key, if there is one."""
        return self._key is None or self._knows(headers)

    def _knows(self, headers: list[tuple[bytes, bytes]]) -> bool:
        given = b""
        for name, value in headers:
            if name == b"x-api-key":
                given = value
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                given = value[7:]
        assert self._key is not None
        # Of hashes, so that neither the bytes nor the length can be told from the time.
        return hmac.compare_digest(hashlib.sha256(given).digest(), self._key)

    async def _answered(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        seconds = self._config.timeout_s
        if scope["method"] not in ("GET", "HEAD"):
            receive, seconds = self._bounded(scope, receive), 2 * seconds
        try:
            async with asyncio.timeout(seconds):
                await self._app(scope, receive, send)
        except TimeoutError:
            raise overloaded(f"no answer within {seconds:g} s") from None

    def _bounded(self, scope: MutableMapping[str, Any], receive: Receive) -> Receive:
        """`receive` that ends a body which is larger than it may be, or comes too slowly."""
        uploads = scope["path"] == UPLOADS
        allowed = self._config.max_upload_bytes if uploads else MAX_JSON_BYTES
        most = allowed + MULTIPART_ROOM if uploads else allowed
        # The rest of the body is read and dropped for as long as `protocol` waits: a connection that is closed with
        # unread bytes is reset, and the reset overtakes the refusal.
        refusal = Refusal(413, "too_large", f"at most {allowed:,} bytes may be sent here")
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if int(declared) > most:  # the parser has seen to it that these are digits
            raise refusal
        seen, loop = 0, asyncio.get_running_loop()
        until = loop.time() + self._config.timeout_s

        async def receiving() -> Message:
            nonlocal seen
            try:
                async with asyncio.timeout_at(until):
                    message = await receive()
            except TimeoutError:
                raise Refusal(408, "too_slow", "the request came too slowly") from None
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most:
                    raise refusal
            return message

        return receiving

    def _count(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        # The route, not the path: whoever asks for a million paths must not make a million series.
        route = scope.get("route")
        endpoint = str(getattr(route, "path", "other")) if route is not None else "other"
        counter = self._counted.get((endpoint, status))
        if counter is None:
            counter = self._counted[endpoint, status] = self._metrics.requests.labels(endpoint, str(status))
            self._timed.setdefault(endpoint, self._metrics.seconds.labels(endpoint))
        counter.inc()
        self._timed[endpoint].observe(seconds)


async def _send(send: Send, refusal: Refusal) -> None:
    body = error_body(refusal.code, str(refusal.detail))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in (refusal.headers or {}).items()]
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _plain(path: str) -> str:
    """A path for the log: one line, and not a long one."""
    return path[:200].encode("unicode_escape").decode("ascii")
