"""What stands before the endpoints, without a network: refusals under load, and a request that is refused unread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from vizrec_spark.config.models import ServeConfig
from vizrec_spark.serve.guard import Guard
from vizrec_spark.serve.metrics import Metrics
from vizrec_spark.serve.pool import Busy, Pool
from vizrec_spark.serve.protocol import LINGER_BYTES, LINGER_S, bounded_protocol


async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    """Answers 200 as soon as the body has come, if there is one."""
    if scope["method"] == "POST":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


class Wire(asyncio.Transport):
    """A connection whose other end remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.heard, self.closed, self.aborted, self.ended, self.unread = b"", False, False, False, 0

    def write(self, data: bytes) -> None:
        assert not self.ended
        self.heard += data

    def write_eof(self) -> None:
        self.ended = True

    def get_write_buffer_size(self) -> int:
        return self.unread

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


def guarded(config: ServeConfig, key: str | None = None) -> tuple[Guard, Metrics]:
    metrics = Metrics()
    return Guard(app, config, key, metrics), metrics


class Timers:
    """The event loop, but for its timers: they run when `passes` says that it is time."""

    def __init__(self) -> None:
        self._loop, self._now = asyncio.get_running_loop(), 0.0
        self._set: dict[int, tuple[float, Callable[[], object]]] = {}
        self._numbers = count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, callback: Callable[..., object], *args: object) -> SimpleNamespace:
        number = next(self._numbers)
        self._set[number] = (self._now + delay, partial(callback, *args))
        return SimpleNamespace(cancel=lambda: self._set.pop(number, None))

    @property
    def waiting(self) -> int:
        """How many are to run."""
        return len(self._set)

    def passes(self, seconds: float) -> None:
        self._now += seconds
        for number, (due, callback) in sorted(self._set.items(), key=lambda one: one[1][0]):
            if due <= self._now and self._set.pop(number, None) is not None:
                callback()


def connected(guard: Guard, timeout_s: float, loop: Any = None) -> tuple[Any, Wire]:
    """A connection that has just been made, as the service has it, and its wire."""
    protocol = bounded_protocol(guard, 10, timeout_s)
    config = uvicorn.Config(guard, http=protocol, ws="none", log_config=None)  # type: ignore[arg-type]
    config.load()
    connection, wire = protocol(config, ServerState(), {}, loop), Wire()
    connection.connection_made(wire)
    return connection, wire


async def told(guard: Guard, *pieces: bytes) -> list[bytes]:
    """What a connection hears after each piece."""
    connection, wire = connected(guard, 5.0)
    heard = []
    for piece in pieces:
        wire.heard = b""
        connection.data_received(piece)
        await asyncio.sleep(0.01)
        heard.append(wire.heard)
    connection.connection_lost(None)
    return heard


LOOK_UP = b"GET /v1/similar?item_id=a HTTP/1.1\r\nHost: x\r\n\r\n"


def late(guard: Guard, *delays: float) -> None:
    guard._late.clear()
    guard._late.extend(delays)


def test_a_service_that_stays_late_refuses_and_one_late_moment_is_none() -> None:
    guard, metrics = guarded(ServeConfig(max_delay_ms=50.0))
    late(guard, 0.0, 0.9, 0.0)
    (answer,) = asyncio.run(told(guard, LOOK_UP))
    assert answer.startswith(b"HTTP/1.1 200 ")
    late(guard, 0.06, 0.9, 0.07)
    first, second, posted, *watched = asyncio.run(
        told(
            guard,
            LOOK_UP,
            LOOK_UP,
            b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            *(
                b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path
                for path in (b"/healthz", b"/readyz", b"/metrics")
            ),
        )
    )
    for refused in (first, second, posted):
        assert refused.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1\r\n" in refused
    assert [answer[:13] for answer in watched] == [b"HTTP/1.1 200 "] * 3
    assert b'vizrec_refused_total{why="overloaded"} 3.0' in metrics.text()


def test_a_body_is_never_taken_for_a_request() -> None:
    """Its request was refused before the body had come; then the body reads like a look-up."""
    guard, _ = guarded(ServeConfig(), key="k" * 20)
    late(guard, 1.0, 1.0, 1.0)
    head = b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(LOOK_UP)
    first, body, after = asyncio.run(told(guard, head, LOOK_UP, LOOK_UP))
    assert first.startswith(b"HTTP/1.1 503 ") and body == b"" and after.startswith(b"HTTP/1.1 503 ")
    get = LOOK_UP.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(LOOK_UP))
    first, body, after = asyncio.run(told(guard, get, LOOK_UP, LOOK_UP))
    assert first.startswith(b"HTTP/1.1 503 ") and body == b"" and after.startswith(b"HTTP/1.1 503 ")
    # A session's list that comes whole is refused as it comes; in pieces, or with a body that is none of its, parsed.
    session = b"POST /v1/recommendations?k=2 HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
    heard = asyncio.run(told(guard, session, session[:-1], b"}", session + LOOK_UP, LOOK_UP))
    assert [answer[:12] for answer in heard] == [
        *(b"HTTP/1.1 503", b"HTTP/1.1 503", b""),  # refused before all of it had come
        *(b"HTTP/1.1 503", b"HTTP/1.1 503"),
    ]
    assert heard[3].count(b"HTTP/1.1 503") == 2
    for pieces in (20, -5, -2):
        split = asyncio.run(told(guard, LOOK_UP[:pieces], LOOK_UP[pieces:]))
        assert split[0] == b"" and split[1].startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("more", [b"x", b"\r\n"])
def test_bytes_after_an_answer_that_begin_no_request_do_not_hold_the_connection(more: bytes) -> None:
    """The rest of a body that nobody waits for, or an empty line."""
    guard, _ = guarded(ServeConfig())
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    begun = head + (b"Content-Length: 999999999\r\n\r\n" if more == b"x" else b"\r\n")

    async def held() -> tuple[bytes, bool, bool]:
        timers = Timers()
        connection, wire = connected(guard, 1.0, timers)
        connection.data_received(begun)
        await asyncio.sleep(0.02)
        timers.passes(0.2)
        answered, early = wire.heard, wire.is_closing()
        for _ in range(8):  # what dribbles on does not move the bound
            connection.data_received(more)
            await asyncio.sleep(0)
            timers.passes(0.2)
        return answered, early, wire.is_closing()

    answered, early, late_on = asyncio.run(held())
    assert answered.startswith(b"HTTP/1.1 200 ") and not early and late_on


async def _closes(connection: Any) -> None:
    connection.timeout_keep_alive_handler()


async def _asks_for_the_end(connection: Any) -> None:
    connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")


async def _is_refused(connection: Any) -> None:
    connection.data_received(b"this is no HTTP\r\n\r\n")
    connection.loop.passes(LINGER_S)


async def _is_refused_with_unread_answers(connection: Any) -> None:
    connection.transport.unread = 1
    connection.data_received(b"this is no HTTP\r\n\r\n")


async def _sends_on_for_ever(connection: Any) -> None:
    for _ in range(2):
        connection.data_received(b"this is no HTTP" * (LINGER_BYTES // 15 + 1))


async def _comes_late(connection: Any) -> None:
    connection.data_received(b"GET /heal")
    connection.loop.passes(1.0)
    connection.loop.passes(LINGER_S)


async def _has_nothing_more_to_say(connection: Any) -> None:
    connection.data_received(b"GET /heal")
    connection.eof_received()
    connection.transport.close()  # as the event loop does


async def _is_told_to_stop(connection: Any) -> None:
    connection.shutdown()


async def _has_a_full_buffer(connection: Any) -> None:
    connection.pause_writing()


async def _reads_a_little_of_the_last_answer(connection: Any) -> None:
    connection.pause_writing()
    connection.transport.close()
    connection.resume_writing()


ENDS = (
    *(_closes, _asks_for_the_end, _is_refused, _is_refused_with_unread_answers, _sends_on_for_ever),
    *(_comes_late, _has_nothing_more_to_say, _is_told_to_stop),
    *(_has_a_full_buffer, _reads_a_little_of_the_last_answer),
)


@pytest.mark.parametrize("ends", ENDS)
def test_who_does_not_read_loses_the_connection(ends: Callable[[Any], Awaitable[None]]) -> None:
    """`Wire.close` is that of a connection whose other end reads nothing: it never comes to an end."""
    guard, _ = guarded(ServeConfig())

    async def aborted() -> tuple[bool, bool]:
        timers = Timers()
        connection, wire = connected(guard, 1.0, timers)
        await ends(connection)
        await asyncio.sleep(0.02)  # what was asked is answered
        timers.passes(0.9)
        early = wire.aborted
        timers.passes(0.2)
        return early, wire.aborted

    assert asyncio.run(aborted()) == (False, True)


def test_a_refused_connection_is_heard_out_and_counts_no_longer() -> None:
    """It is closed when the other end is, or after a while; of more than are allowed the rest is closed at once."""
    guard, metrics = guarded(ServeConfig())

    async def refused() -> tuple[list[tuple[bytes, bool, bool]], int, list[bool], int]:
        timers, state = Timers(), ServerState()
        protocol = bounded_protocol(guard, 2, 1.0)
        config = uvicorn.Config(guard, http=protocol, ws="none", log_config=None)  # type: ignore[arg-type]
        config.load()
        wires, made = [Wire() for _ in range(5)], []
        for wire in wires:
            made.append(protocol(config, state, {}, timers))  # type: ignore[arg-type]
            made[-1].connection_made(wire)
        for connection in made[2:]:
            connection.data_received(LOOK_UP)
        seen = [(wire.heard[9:12], wire.ended, wire.closed) for wire in wires]
        counted = len(state.connections)
        made[2].connection_lost(None)  # it has closed
        timers.passes(LINGER_S)
        closed = [wire.closed for wire in wires[3:]]
        for connection in (*made[:2], *made[3:]):
            connection.connection_lost(None)
        return seen, counted, closed, timers.waiting

    seen, counted, closed, waiting = asyncio.run(refused())
    assert seen == [(b"", False, False)] * 2 + [(b"503", True, False)] * 2 + [(b"503", False, True)]
    assert (counted, closed, waiting) == (3, [True, True], 0)
    assert b'vizrec_refused_total{why="overloaded"} 3.0' in metrics.text()


def test_who_reads_keeps_the_connection() -> None:
    guard, _ = guarded(ServeConfig())

    async def kept() -> bool:
        timers = Timers()
        connection, wire = connected(guard, 1.0, timers)
        connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.pause_writing()
        timers.passes(0.9)
        connection.resume_writing()
        await asyncio.sleep(0.02)
        timers.passes(0.9)
        return not wire.closed

    assert asyncio.run(kept())


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_a_connection_that_is_gone_leaves_no_timer(error: Exception | None) -> None:
    guard, _ = guarded(ServeConfig())

    async def left() -> tuple[bytes, int, int]:
        timers = Timers()
        connection, wire = connected(guard, 1.0, timers)
        connection.data_received(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.02)
        waiting = timers.waiting
        connection.connection_lost(error)
        return wire.heard[:12], waiting, timers.waiting

    assert asyncio.run(left()) == (b"HTTP/1.1 200", 1, 0)


def test_an_answer_that_takes_too_long_is_given_up() -> None:
    stopped = []

    async def slow(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            stopped.append(scope["path"])
            raise

    metrics = Metrics()
    guard = Guard(slow, ServeConfig(timeout_s=0.1), None, metrics)

    async def answer() -> bytes:
        connection, wire = connected(guard, 5.0)
        connection.data_received(LOOK_UP)
        await asyncio.sleep(0.3)
        return wire.heard

    heard = asyncio.run(answer())
    assert heard.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1\r\n" in heard
    assert b"no answer within 0.1 s" in heard and stopped == ["/v1/similar"]
    assert b'vizrec_refused_total{why="overloaded"} 1.0' in metrics.text()


def test_what_is_begun_and_not_answered_has_a_bound() -> None:
    guard, _ = guarded(ServeConfig(max_in_flight=3))
    protocol = bounded_protocol(guard, 10, 5.0)

    async def burst() -> list[bytes]:
        """Five look-ups that come in one turn of the event loop, and one after it."""
        config, state = uvicorn.Config(guard, http=protocol, ws="none", log_config=None), ServerState()  # type: ignore[arg-type]
        config.load()
        wires = [Wire() for _ in range(6)]
        for number, wire in enumerate(wires):
            connection = protocol(config, state, {})
            connection.connection_made(wire)
            connection.data_received(LOOK_UP)
            if number == 4:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.01)
        return [wire.heard[:12] for wire in wires]

    answered, refused = b"HTTP/1.1 200", b"HTTP/1.1 503"
    assert asyncio.run(burst()) == [answered] * 3 + [refused] * 2 + [answered]


def test_a_pool_takes_what_it_can_hold_and_no_more() -> None:
    pool, gate = Pool(1, 2, "test"), threading.Event()
    held = [pool.submit(gate.wait) for _ in range(3)]
    with pytest.raises(Busy):
        pool.submit(gate.wait)
    gate.set()
    assert [one.result(10) for one in held] == [True] * 3
    pool.submit(gate.wait).result(10)
    pool.close()
