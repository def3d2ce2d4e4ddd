"""Requests at a fixed rate, whatever the answers take: an open loop, so that a slow answer does not spare the next one.

    python -m benchmarks.load HOST PORT < JSON lines

Each line of standard input is a phase: rate (requests a second), seconds, connections, requests: for each the number of
its kind, its path, and its JSON body where it is a POST. A request goes out at its time on a free connection, or on the
first that gets free; its latency counts from its time, so waiting counts. What has found no connection when the phase
ends is dropped, and counted as unsent.
One event loop, no HTTP library: the generator shares the machine with the service and must cost less than it.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from collections import Counter, deque
from typing import Any, cast

import uvloop

TIMEOUT_S = 30.0


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.due: float | None = None
        self.kind = 0
        self.heard = b""
        self.gone = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def ask(self, due: float, kind: int, request: bytes) -> None:
        self.due, self.kind = due, kind
        if self.heard:  # it has been refused before it could ask
            self._read()
        elif self.gone:
            self.phase.lost(self)
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.heard += data
        if self.due is not None:
            self._read()

    def _read(self) -> None:
        head, mark, body = self.heard.partition(b"\r\n\r\n")
        at = head.find(b"content-length: ") + 16
        end = head.find(b"\r", at)
        if not mark or len(body) < int(head[at : end if end > 0 else None]):
            if self.gone:
                self.phase.lost(self)
            return
        assert self.due is not None
        due, self.due, self.heard = self.due, None, b""
        self.gone = self.gone or b"connection: close" in head
        if self.gone:
            self.transport.close()
        self.phase.answered(self, due, int(head[9:12]), b"retry-after: " in head)

    def connection_lost(self, error: Exception | None) -> None:
        self.gone = True
        self.phase.lost(self)


class Phase:
    """Some seconds of load."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, address: tuple[str, int], what: dict[str, Any]
    ) -> None:
        self.loop, self.address = loop, address
        self.rate, self.seconds = float(what["rate"]), float(what["seconds"])
        self.most = int(what["connections"])
        self.requests = [(int(kind), _request(path, *body)) for kind, path, *body in what["requests"]]
        self.open: set[Connection] = set()
        self.free: deque[Connection] = deque()
        self.waiting: deque[tuple[float, int, bytes]] = deque()
        self.latencies: list[list[float]] = [[] for _ in range(1 + max(kind for kind, _ in self.requests))]
        self.statuses: Counter[int] = Counter()
        self.unclean = self.broken = self.sent = self.done = 0
        self.opening = 0
        self.connecting: set[asyncio.Task[None]] = set()
        self.closing = False

    def answered(self, connection: Connection, due: float, status: int, retry: bool) -> None:
        self.done += 1
        self.statuses[status] += 1
        if status == 200:
            self.latencies[connection.kind].append(self.loop.time() - due)
        elif status in (429, 503) and not retry:
            self.unclean += 1
        if connection.gone:
            self.open.discard(connection)
            self._open()
        elif self.waiting:
            connection.ask(*self.waiting.popleft())
        else:
            self.free.append(connection)

    def lost(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection in self.free:
            self.free.remove(connection)
        if connection.due is not None and not self.closing:
            connection.due = None
            self.broken += 1
            self.done += 1
        self._open()

    def _open(self) -> None:
        """One connection more, if a request waits for one and there may be more."""
        if (
            not self.closing
            and len(self.waiting) > self.opening
            and len(self.open) + self.opening < self.most
        ):
            self.opening += 1
            task = self.loop.create_task(self.connect())
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    async def connect(self) -> None:
        try:
            _, connection = await self.loop.create_connection(lambda: Connection(self), *self.address)
        except OSError:
            self.broken += 1
            if self.waiting:  # the request that it was made for fails with it
                self.waiting.popleft()
                self.done += 1
            return
        finally:
            self.opening -= 1
        if not connection.gone:
            self.open.add(connection)
        if self.waiting:
            connection.ask(*self.waiting.popleft())
        elif not connection.gone:
            self.free.append(connection)

    async def run(self) -> dict[str, Any]:
        began, total = self.loop.time() + 0.1, int(self.rate * self.seconds)
        while self.sent < total:
            late = self.loop.time() - (began + self.sent / self.rate)
            if late < 0:
                await asyncio.sleep(-late)
            kind, request = self.requests[self.sent % len(self.requests)]
            due = began + self.sent / self.rate
            self.sent += 1
            if self.free:
                self.free.pop().ask(due, kind, request)
                continue
            self.waiting.append((due, kind, request))
            self._open()
        offered = self.loop.time() - began
        # What is still in the queue now was kept from going out by those before it: it is counted, and not sent, but
        # for those that have a connection coming.
        unsent = max(0, len(self.waiting) - self.opening)
        for _ in range(unsent):
            self.waiting.pop()
        until = self.loop.time() + TIMEOUT_S
        while self.done < self.sent - unsent and self.loop.time() < until:
            await asyncio.sleep(0.01)
        took = self.loop.time() - began
        self.closing = True
        for connection in list(self.open):
            connection.transport.close()
        return {
            "sent": self.sent,
            "offered_s": offered,
            "seconds": took,
            "latencies": self.latencies,
            "statuses": dict(self.statuses),
            "unsent": unsent,
            "hung": self.sent - unsent - self.done,
            "broken": self.broken,
            "unclean": self.unclean,
        }


def _request(path: str, body: str | None = None) -> bytes:
    if body is None:
        return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode("ascii")
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("ascii")


async def _run(host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    for line in sys.stdin:
        print(json.dumps(await Phase(loop, (host, port), json.loads(line)).run()), flush=True)


if __name__ == "__main__":
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    uvloop.run(_run(sys.argv[1], int(sys.argv[2])))
