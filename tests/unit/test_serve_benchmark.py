"""The benchmark of the service: what it calls a miss, and that it then fails."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from benchmarks import load, serve

LEAST = serve.least(serve.build_parser().parse_args([]))
GOOD = {**dict.fromkeys(serve.BARS, 0.0), **LEAST}


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({}, []),
        ({"similar_p99_ms": 25.0}, []),
        ({"similar_p99_ms": 25.1}, ["similar_p99_ms"]),
        ({"session_p99_ms": math.nan}, ["session_p99_ms"]),
        ({"errors": 1}, ["errors"]),
        ({"requests_per_s": 299.9}, ["requests_per_s"]),
        ({"requests_per_s": math.nan, "errors": 2}, ["errors", "requests_per_s"]),
        ({"overload_offered_per_s": 300.0}, ["overload_offered_per_s"]),
        ({"live_versions": 0}, ["live_versions"]),
    ],
)
def test_what_misses_a_bar_fails_the_benchmark(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: dict[str, float],
    missed: list[str],
) -> None:
    result: dict[str, Any] = {**GOOD, **change}
    assert serve.missed(result, LEAST) == missed
    monkeypatch.setattr(serve, "_run", lambda args, scratch: {**result, "bars_missed": missed})
    assert serve.main(["--folder", str(tmp_path)]) == (1 if missed else 0)
    told = capsys.readouterr().out
    assert "RESULT {" in told and all(name in told for name in missed)


def test_what_has_to_be_reached_follows_from_what_was_asked_for() -> None:
    assert LEAST == {"requests_per_s": 300.0, "overload_offered_per_s": 2900.0, "live_versions": 3.0}
    lighter = serve.least(serve.build_parser().parse_args(["--rate", "33.3", "--seconds", "5"]))
    assert lighter == {
        "requests_per_s": 166 / 5,  # of half a request nothing is sent
        "overload_offered_per_s": pytest.approx(321.9),
        "live_versions": 1.0,
    }


def test_a_phase_without_an_answer_has_no_percentiles() -> None:
    assert math.isnan(serve._percentiles("user", [])["user_p99_ms"])


def test_the_generator_takes_a_refusal_before_it_has_asked() -> None:
    """Every other connection is refused as soon as it is there, as one more than `serve.max_connections` is."""
    connections = []

    async def serving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        if len(connections) % 2:
            head = b"HTTP/1.1 503 x\r\nretry-after: 1\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno"
            writer.write(head)
            writer.close()
            return
        with suppress(asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST "):
                    assert json.loads(await reader.readexactly(16)) == {"viewed": ["a"]}
                await asyncio.sleep(0.02)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def phase() -> dict[str, Any]:
        server = await asyncio.start_server(serving, "127.0.0.1", 0)
        what = {
            "rate": 400,
            "seconds": 0.5,
            "connections": 100,
            "requests": [(0, "/a"), (1, "/b", '{"viewed":["a"]}')],
        }
        try:
            address = server.sockets[0].getsockname()
            return await load.Phase(asyncio.get_running_loop(), address, what).run()
        finally:
            server.close()

    heard = asyncio.run(phase())
    assert (heard["sent"], heard["unsent"], heard["hung"], heard["broken"], heard["unclean"]) == (
        200,
        0,
        0,
        0,
        0,
    )
    assert heard["statuses"][200] + heard["statuses"][503] == 200 and heard["statuses"][503] > 1
    assert sum(map(len, heard["latencies"])) == heard["statuses"][200] and len(heard["latencies"]) == 2
