"""What a client holds already: tags of lists, without a process, and how those that come are compared."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from tests.serving import Shop
from vizrec_spark.errors import EncoderError
from vizrec_spark.serve.api import create_app
from vizrec_spark.serve.lists import Live
from vizrec_spark.serve.metrics import Metrics
from vizrec_spark.serve.snapshot import Loader, Snapshot
from vizrec_spark.serve.tags import holds, list_tag


def no_encoder(encoder_id: str) -> None:
    raise EncoderError("none here")


@pytest.fixture(scope="module")
def loaded(shop: Shop) -> Snapshot:
    return Loader(shop.config, no_encoder).load()


def asked(
    shop: Shop, snapshot: Snapshot, tag: str | None = None, **query: str
) -> tuple[int, str, dict[str, Any]]:
    """Status, tag and answer of a service on `snapshot` that is asked for a list."""
    app = create_app(shop.config, SimpleNamespace(snapshot=snapshot), None, Metrics())  # type: ignore[arg-type]
    heard: list[Any] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        heard.append(message)

    path = "/v1/recommendations"
    scope: dict[str, Any] = dict.fromkeys(("client", "server"))
    scope |= {"type": "http", "http_version": "1.1", "method": "GET", "scheme": "http", "root_path": ""}
    scope |= {"path": path, "raw_path": path.encode(), "query_string": urlencode(query).encode()}
    scope["headers"] = [] if tag is None else [(b"if-none-match", tag.encode())]
    asyncio.run(app(scope, receive, send))
    headers = dict(heard[0]["headers"])
    body = b"".join(message.get("body", b"") for message in heard[1:])
    return heard[0]["status"], headers[b"etag"].decode(), json.loads(body) if body else {}


def test_a_live_list_that_has_grown_old_is_no_longer_held(shop: Shop, loaded: Snapshot) -> None:
    assert loaded.offers is not None
    user, now, n = loaded.offers.users[0], time.time(), len(loaded.offers.users)
    live = Live(1, loaded.offers, np.full(n, now - 60.0), seconds=3600.0)
    fresh = replace(loaded, live=live, batch_at=now)
    status, tag, answer = asked(shop, fresh, user_id=user, source="live")
    assert status == 200 and answer["items"] and answer["made_at"] is not None
    assert asked(shop, fresh, tag, user_id=user, source="live")[0] == 304
    # The same list that counts for less long than it is old, which is what time makes of it.
    old = replace(fresh, live=Live(1, loaded.offers, live.made_at, seconds=1.0))
    status, other, answer = asked(shop, old, tag, user_id=user, source="live")
    assert (status, answer["items"], answer["made_at"]) == (200, [], None) and other != tag
    assert asked(shop, old, tag, user_id=user)[2]["source"] == "batch"


def test_another_list_made_at_the_same_time_has_another_tag(shop: Shop, loaded: Snapshot) -> None:
    assert loaded.offers is not None
    user, when = loaded.offers.users[0], np.full(len(loaded.offers.users), time.time())
    first = replace(loaded, live=Live(1, loaded.offers, when, 3600.0))
    tag = asked(shop, first, user_id=user)[1]
    assert asked(shop, first, tag, user_id=user)[0] == 304
    doubled = replace(loaded.offers, parts=2 * loaded.offers.parts)
    done_again = replace(loaded, live=Live(2, doubled, when, 3600.0))
    status, other, answer = asked(shop, done_again, tag, user_id=user)
    assert (status, answer["source"]) == (200, "live") and other != tag


@pytest.mark.parametrize(
    ("header", "held"),
    [
        (None, False),
        ("", False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"a" ,"c"', True),
        ("*", True),
        ('"b"', False),
        ('w/"a"', False),
        ("a", False),
    ],
)
def test_tags_are_compared_weakly(header: str | None, held: bool) -> None:
    assert holds(header, '"a"') == held


def test_a_tag_tells_lists_apart_and_is_the_same_for_the_same() -> None:
    assert (
        list_tag("live", 1.5, (1, "a")) == list_tag("live", 1.5, (1, "a")) != list_tag("live", 1.5, (1, "b"))
    )
