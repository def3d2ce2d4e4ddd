"""The service as a client meets it: a real process, real tables, real connections."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import pytest
from deltalake import DeltaTable
from PIL import Image

from tests.landing import picture
from tests.serving import (
    HOSTILE,
    ITEMS,
    NO_PICTURE,
    NOT_SHOWN,
    ODD,
    PLAIN,
    USERS,
    Service,
    Shop,
    drawn,
    live_row,
    neighbor_rows,
    offer_rows,
    running,
    write_table,
)
from vizrec_spark.app.shelf import PlainShelf
from vizrec_spark.config.encoders import encoder_key
from vizrec_spark.embed.resolve import published_runtime
from vizrec_spark.imaging import REASONS, load_rgb
from vizrec_spark.serve.lists import PARTS
from vizrec_spark.tables import schemas as S

KEY = "a-long-key-of-this-test"


def test_a_user_gets_the_list_of_the_table_with_its_reasons(service: Service, shop: Shop) -> None:
    for user in USERS:
        answer = service.get("/v1/recommendations", user_id=user, k=5).json
        wanted = shop.offers[user][:5]
        assert (answer["known"], answer["source"], answer["model_ids"]) == (True, "batch", ["als-1"])
        for got, row in zip(answer["items"], wanted, strict=True):
            same = ("item_id", "rank", "source", "because_item_id", "reason")
            assert {name: got[name] for name in same} == {name: row[name] for name in same}
            assert got["score"] == pytest.approx(row["score"], abs=1e-5)
            assert got["parts"] == pytest.approx({part: row[f"score_{part}"] for part in PARTS}, abs=1e-5)
        assert answer["state"]["encoder_id"] == shop.encoder_id


def test_who_has_no_list_gets_what_is_popular_and_is_told_so(service: Service) -> None:
    for query in ({"user_id": "nobody"}, {}, {"user_id": USERS[0], "source": "popular"}):
        answer = service.get("/v1/recommendations", k=5, **query).json
        assert answer["source"] == "popular"
        assert answer["known"] == (query.get("user_id") == USERS[0])
        # A late low rating takes one of the four who viewed the third item away.
        assert [item["item_id"] for item in answer["items"]] == [ITEMS[n] for n in (0, 1, 2, 3, 4)]
        assert answer["items"][2]["reason"] == "Popular: 3 people chose it"
        assert answer["items"][0]["parts"] == {**dict.fromkeys(PARTS, 0.0), "popularity": 0.1}
    assert service.get("/v1/recommendations", user_id="nobody", source="batch").json["items"] == []


def test_look_alikes_are_those_of_the_table(service: Service, shop: Shop) -> None:
    for item in (PLAIN[0], ODD):
        answer = service.get("/v1/similar", item_id=item, k=4).json
        wanted = neighbor_rows(shop, item)[:4]
        assert [got["item_id"] for got in answer["items"]] == [row["neighbor_id"] for row in wanted]
        assert [got["cosine"] for got in answer["items"]] == pytest.approx(
            [row["cosine"] for row in wanted], abs=1e-5
        )
        assert answer["items"][0]["reason"] == f"Looks like “Product {item}”"
    assert service.get("/v1/similar", item_id=NO_PICTURE).json["items"] == []
    unknown = service.get("/v1/similar", item_id="../../etc/passwd")
    assert (unknown.status, unknown.code) == (404, "unknown_item")


def test_an_item_and_why_it_is_offered(service: Service, shop: Shop) -> None:
    item = service.get("/v1/item", item_id=PLAIN[3]).json
    assert (item["title"], item["price"], item["categories"]) == ("Product p03", None, ["discs", "round"])
    assert (item["attributes"], item["people"]) == ({"colour": "red", "maker": None}, 3)
    assert service.get("/v1/item", item_id=PLAIN[5]).json["title"] == PLAIN[5]
    row = shop.offers[USERS[2]][1]
    why = service.get("/v1/why", user_id=USERS[2], item_id=row["item_id"]).json
    assert (why["offer"]["rank"], why["offer"]["reason"]) == (2, row["reason"])
    assert (why["because"] or {}).get("item_id") == row["because_item_id"]
    assert service.get("/v1/why", user_id=USERS[2], item_id=ODD).code == "not_offered"


def test_what_was_just_looked_at_changes_the_list(service: Service, shop: Shop) -> None:
    seen = [PLAIN[8], PLAIN[9]]
    fresh = service.post("/v1/recommendations?k=10", {"viewed": ["unknown", *seen]}).json
    assert (fresh["source"], fresh["known"]) == ("session", False)
    first = max(fresh["items"], key=lambda item: item["parts"]["visual"])
    assert first["parts"]["visual"] == pytest.approx(1.0)
    assert first["item_id"] == next(n for n in shop.cosines(shop.vectors[seen[1]]) if n != seen[1])
    assert (first["because_item_id"], first["source"]) == (seen[1], "visual")
    assert first["reason"] == f"Looks like “Product {seen[1]}”, which you viewed"
    assert not {item["item_id"] for item in fresh["items"]} & set(seen)
    for item in fresh["items"]:
        assert item["score"] == pytest.approx(sum(item["parts"].values()), abs=1e-5)
    known = service.post("/v1/recommendations?k=20", {"user_id": USERS[0], "viewed": seen}).json
    assert known["known"]
    same = service.post("/v1/recommendations?k=20", {"user_id": USERS[0], "viewed": ["unknown"]}).json
    ranked = [row["item_id"] for row in shop.offers[USERS[0]]]
    assert [item["item_id"] for item in same["items"]][: len(ranked)] == ranked
    kept = {item["item_id"]: item for item in known["items"]}
    for row in shop.offers[USERS[0]]:
        if row["item_id"] not in seen:
            assert kept[row["item_id"]]["parts"]["cf"] == pytest.approx(row["score_cf"], abs=1e-5)


def test_pictures_are_thumbnails_that_clients_may_keep(service: Service, shop: Shop) -> None:
    wanted = [item for item in shop.pictures if item != NOT_SHOWN]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda item: service.get("/v1/picture", item_id=item, size=160), wanted))
    for item, answer in zip(wanted, got, strict=True):
        assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
        shown = np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB"), dtype=int)
        stored = np.asarray(Image.open(io.BytesIO(shop.pictures[item][0])).convert("RGB"), dtype=int)
        assert shown.shape == stored.shape and abs(shown - stored).mean() < 6
    tag = got[0].headers["etag"]
    assert hashlib.sha256(shop.pictures[wanted[0]][0]).hexdigest() in tag
    again = service.get("/v1/picture", {"If-None-Match": tag}, item_id=wanted[0], size=160)
    assert (again.status, again.body) == (304, b"")
    weak = service.get("/v1/picture", {"If-None-Match": f"W/{tag}"}, item_id=wanted[0], size=160)
    assert (weak.status, weak.headers["etag"]) == (304, tag)
    for item in (NO_PICTURE, NOT_SHOWN):
        assert service.get("/v1/picture", item_id=item, size=160).code == "no_picture"
    assert service.get("/v1/picture", item_id=wanted[0], size=161).status == 422


def test_a_picture_finds_its_look_alikes_exactly(service: Service, shop: Shop) -> None:
    runtime = published_runtime(shop.config.embed, shop.encoder_id, 1, PlainShelf(shop.config.tables))
    for content in (shop.pictures[PLAIN[7]][0], drawn(77, kind="PNG"), drawn(78, side=300, kind="WEBP")):
        answer = service.upload(content, k=6)
        wanted = list(shop.cosines(runtime.encode(load_rgb(content, runtime.input_size)[None])[0]).items())[
            :6
        ]
        assert [item["item_id"] for item in answer.json["items"]] == [item for item, _ in wanted]
        assert [i["cosine"] for i in answer.json["items"]] == pytest.approx([c for _, c in wanted], abs=1e-5)
    assert service.upload(shop.pictures[PLAIN[7]][0]).json["items"][0]["item_id"] == PLAIN[7]


def _bomb() -> bytes:
    """A PNG of 30,000 × 30,000 pixels in a few hundred bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    size = (30_000).to_bytes(4, "big")
    head = chunk(b"IHDR", size + size + bytes([8, 2, 0, 0, 0]))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


HOSTILE_UPLOADS = {
    "decompression_bomb": _bomb(),
    "not_an_image": b"<html>" * 100,
    "polyglot": b"GIF89a/*<script>alert(1)</script>*/" * 20,
    "truncated": picture(3, side=200)[:900],
    "empty_file": b"",
    "undecodable": picture(4, side=60, kind="PNG")[:60]
    + b"\xff" * 4000
    + picture(4, side=60, kind="PNG")[4060:],
}


@pytest.mark.parametrize("reason", HOSTILE_UPLOADS)
def test_hostile_pictures_are_refused_with_their_reason(service: Service, reason: str) -> None:
    answer = service.upload(HOSTILE_UPLOADS[reason], name='../../x\\".php')
    assert answer.status == 422
    assert answer.code in ((reason,) if reason in REASONS else REASONS)
    assert answer.headers["content-type"] == "application/json"


def test_hostile_forms_are_refused(service: Service, shop: Shop) -> None:
    content = shop.pictures[PLAIN[0]][0]
    assert service.upload(content, field="other").code == "no_picture"
    assert service.send("/v1/search", content, {"content-type": "image/jpeg"}).code == "not_multipart"
    broken = service.send("/v1/search", b"no boundary here", {"content-type": "multipart/form-data"})
    assert (broken.status, broken.code) == (400, "bad_request")
    cut = service.send(
        "/v1/search", b"--b\r\nContent-Dis", {"content-type": "multipart/form-data; boundary=b"}
    )
    assert cut.status in (400, 422)
    many = b"".join(b'--b\r\nContent-Disposition: form-data; name="f%d"\r\n\r\nx\r\n' % n for n in range(500))
    flood = service.send(
        "/v1/search", many + b"--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}
    )
    assert flood.status == 400
    text = {"content-type": "application/json"}
    for body in (b"{", b"[]", b'{"viewed": "p01"}', b'{"viewed": ["\\ud800"]}'):
        assert service.send("/v1/recommendations", body, text).status == 422
    assert service.post("/v1/recommendations", {"viewed": ["x"] * 51}).status == 422
    assert service.post("/v1/recommendations", {"viewed": ["x" * 600]}).status == 422


def _talk(service: Service, sent: bytes, more: bytes = b"") -> bytes:
    """What a bare connection hears until it is closed; `more` is sent again and again until then."""
    heard = b""
    with socket.create_connection(service.address, timeout=60) as connection:
        try:
            connection.sendall(sent)
            for _ in range(200 if more else 0):
                connection.sendall(more)
            while data := connection.recv(65536):
                heard += data
        except (ConnectionResetError, BrokenPipeError):
            return heard or b"closed"  # while we were still talking
    return heard


def test_hostile_requests_end_in_an_error_or_a_closed_connection(service: Service) -> None:
    start = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
    assert _talk(service, start + b"X-Long: " + b"a" * 40_000 + b"\r\n\r\n").startswith(b"HTTP/1.1 431 ")
    assert _talk(service, start + b"X-Endless: ", b"a" * 4096).startswith((b"HTTP/1.1 431 ", b"closed"))
    many = b"".join(b"X-%d: 1\r\n" % n for n in range(5000))
    assert _talk(service, start + many + b"\r\n").startswith(b"HTTP/1.1 431 ")
    assert _talk(service, b"\x16\x03\x01 no http at all\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    large = b"POST /v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    assert _talk(service, large + b"Content-Length: 999999999999\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    session = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    assert _talk(service, session + b"Content-Length: 600000\r\n\r\n").startswith(b"HTTP/1.1 413 ")
    chunked = large + b"Transfer-Encoding: chunked\r\n\r\n" + b"--b\r\nContent-Disposition: form-data; "
    assert _talk(service, chunked[:-1], b"zz\r\n").startswith((b"HTTP/1.1 400 ", b"closed"))
    assert service.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/similar", 422),
        ("/v1/similar?item_id=", 422),
        ("/v1/similar?item_id=p01&k=0", 422),
        ("/v1/similar?item_id=p01&k=101", 422),
        ("/v1/similar?item_id=p01&k=x", 422),
        (f"/v1/similar?item_id={'a' * 513}", 422),
        ("/v1/recommendations?user_id=u1&source=magic", 422),
        ("/v1/items?offset=-1", 422),
        ("/v1/items?limit=101", 422),
        ("/page/../serve.yml", 404),
        ("/%2e%2e/%2e%2e/etc/passwd", 404),
        ("/v1/similar%0d%0aX-Injected:%20yes", 404),
        ("/docs", 404),
        ("/v1/item?item_id=%00", 404),
    ],
)
def test_what_cannot_be_meant_is_refused(service: Service, path: str, status: int) -> None:
    answer = service.get(path)
    assert answer.status == status
    assert answer.code and "x-injected" not in answer.headers


def test_every_answer_carries_the_headers_that_browsers_heed(service: Service) -> None:
    for path in ("/", "/v1/items", "/nothing", "/page.js", "/healthz"):
        headers = service.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["access-control-allow-origin"] is None and headers["server"] is None


def test_the_description_names_every_endpoint(service: Service) -> None:
    paths = service.get("/v1/openapi.json").json["paths"]
    assert set(paths) == {
        f"/v1/{name}"
        for name in ("recommendations", "similar", "why", "item", "items", "users", "picture", "search")
    }
    for methods in paths.values():
        for operation in methods.values():
            assert operation["responses"]["200"] and operation["description"]


def test_the_catalogue_and_users_to_begin_with(service: Service) -> None:
    listed = [service.get("/v1/items", offset=at, limit=20).json for at in (0, 20, 40)]
    assert [len(page["items"]) for page in listed] == [20, 13, 0]
    items = [item for page in listed for item in page["items"]]
    assert {item["item_id"] for item in items} == set(ITEMS)
    people = [item["people"] for item in items]
    assert people == sorted(people, reverse=True)
    assert items[1]["title"] == HOSTILE
    assert set(service.get("/v1/users").json["users"]) == set(USERS)


def test_health_readiness_and_metrics(service: Service, shop: Shop) -> None:
    assert service.get("/healthz").json == {"alive": True}
    ready = service.get("/readyz").json
    assert (ready["items"], ready["users"], ready["search"]["ready"]) == (len(ITEMS), len(USERS), True)
    assert set(ready["versions"]) >= {"items", "recommendations", "embeddings"}
    service.get("/never/asked/before")
    metrics = service.get("/metrics").body.decode()
    assert 'vizrec_requests_total{endpoint="/healthz",status="200"}' in metrics
    assert "vizrec_request_seconds_bucket" in metrics and 'vizrec_table_version{table="items"} 1.0' in metrics
    assert "never" not in metrics
    assert 'endpoint="other",status="404"' in metrics


@pytest.fixture(scope="module")
def own_shop(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Tables to be written to."""
    return shop.copy(tmp_path_factory.mktemp("own"))


@pytest.fixture(scope="module")
def small(own_shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a key, without the page, and with little room."""
    limits = ("max_upload_bytes=20000", "workers=1", "max_waiting=1", "max_connections=40", "timeout_s=2.0")
    pairs = [f"serve.{pair}" for pair in (*limits, "page=false", "api_key_variable=TEST_KEY")]
    with running(
        own_shop, tmp_path_factory.mktemp("small"), *pairs, environment={"TEST_KEY": KEY}
    ) as started:
        yield started


def test_with_a_key_nobody_gets_in_without_it(small: Service) -> None:
    for headers in ({}, {"X-API-Key": KEY[:-1]}, {"X-API-Key": ""}, {"Authorization": "Basic " + KEY}):
        for path in ("/v1/recommendations", "/v1/openapi.json", "/metrics"):
            refused = small.get(path, headers)
            assert (refused.status, refused.code) == (401, "unauthorized")
    for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
        assert small.get("/v1/recommendations", headers).status == 200
    assert small.get("/readyz").json == {"ready": True}
    assert small.get("/readyz", {"X-API-Key": KEY}).json["items"] > 0
    assert small.get("/v1/items", {"X-API-Key": KEY}).status == small.get("/").status == 404
    assert KEY not in small.log


def test_uploads_have_an_end(small: Service) -> None:
    key = {"X-API-Key": KEY, "content-type": "multipart/form-data; boundary=b"}
    refused = small.send("/v1/search", b"x" * 40_000, key)
    assert (refused.status, refused.code) == (413, "too_large")
    slow = (
        b"POST /v1/search HTTP/1.1\r\nHost: x\r\nX-API-Key: " + KEY.encode() + b"\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 900\r\n\r\n--b"
    )
    began = time.monotonic()
    assert _talk(small, slow).startswith(b"HTTP/1.1 408 ")
    assert _talk(small, b"GET /healthz HTTP/1.1\r\nHost: x").startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began < 30


def test_overload_is_refused_at_once_and_passes(small: Service) -> None:
    """Far more uploads at a time than one worker and one waiting place take, then a connection more than is allowed,
    which gets 503 whatever it asks."""
    noise = picture(1, side=70, kind="PNG")
    form = (
        b'--b\r\nContent-Disposition: form-data; name="picture"; filename="x"\r\n\r\n'
        + noise
        + b"\r\n--b--\r\n"
    )
    headers = {"X-API-Key": KEY, "content-type": "multipart/form-data; boundary=b"}
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda _: small.send("/v1/search", form, headers), range(300)))
    statuses = {answer.status for answer in answers}
    assert statuses == {200, 503}
    assert {a.headers["retry-after"] for a in answers if a.status == 503} == {"1"}
    idle = [socket.create_connection(small.address, timeout=30) for _ in range(40)]
    try:
        assert _talk(small, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in idle:
            connection.close()
    small.wait_for(lambda: small.get("/v1/recommendations", headers).status == 200)


def test_a_connection_too_many_hears_so_while_it_still_talks(small: Service) -> None:
    """A connection that is closed with unread bytes is reset, and what it was sent is lost with it."""

    def heard() -> list[bytes]:
        idle = [socket.create_connection(small.address, timeout=30) for _ in range(40)]
        late = [socket.create_connection(small.address, timeout=30) for _ in range(20)]
        try:
            for part in (
                b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\n",
                b"Content-Length: 9\r\n\r\n",
                b"{",
            ):
                for connection in late:
                    connection.sendall(part)
                time.sleep(0.05)
            return [b"".join(iter(partial(connection.recv, 65536), b"")) for connection in late]
        finally:
            for connection in (*idle, *late):
                connection.close()

    def refused() -> bool:
        """Not where the machine stood still for so long that the idle ones were gone."""
        answers = heard()
        return all(a.startswith(b"HTTP/1.1 503 ") and b"\r\nretry-after: 1\r\n" in a for a in answers)

    small.wait_for(refused)
    small.wait_for(lambda: small.get("/healthz").status == 200)


def test_who_sends_too_much_hears_so_when_all_is_sent(small: Service) -> None:
    """As a browser does, which reads nothing before."""
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 8000000\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    with socket.create_connection(small.address, timeout=30) as connection:
        connection.sendall(head.encode() + bytes(8_000_000))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
        connection.sendall(f"GET /readyz HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_who_reads_no_answers_does_not_keep_others_out(small: Service) -> None:
    """As many connections as are allowed ask for long answers, again and again, and read none of them."""
    ask = f"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n".encode() * 400
    silent = []
    try:
        for _ in range(40):
            connection = socket.socket()
            silent.append(connection)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.connect(small.address)
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.send(ask)
        small.wait_for(lambda: small.get("/healthz").status == 503, 20)
        small.wait_for(lambda: small.get("/healthz").status == 200)
    finally:
        for connection in silent:
            connection.close()


def test_new_versions_are_served_and_bad_ones_are_not(small: Service, own_shop: Shop) -> None:
    """A new list while readers read; a stage half done; a table that cannot be read; and back."""
    key = {"X-API-Key": KEY}
    old = [row["item_id"] for row in own_shop.offers["u1"]]
    rows = [row for n, user in enumerate(USERS) for row in offer_rows(own_shop, user, 100 + n)]
    new = [row["item_id"] for row in rows if row["user_id"] == "u1"]
    seen, done = [], threading.Event()

    def read() -> None:
        while not done.is_set():
            answer = small.get("/v1/recommendations", key, user_id="u1")
            seen.append((answer.status, tuple(item["item_id"] for item in answer.json["items"])))

    reader = threading.Thread(target=read)
    reader.start()
    small.wait_for(lambda: bool(seen))
    write_table(own_shop.root, S.RECOMMENDATIONS, rows)
    small.wait_for(lambda: seen and seen[-1][1] == tuple(new))
    done.set()
    reader.join()
    assert set(seen) == {(200, tuple(old)), (200, tuple(new))}  # the one or the other, never a mixture

    def state() -> dict[str, object]:
        return dict(small.get("/readyz", key).json["reload"])

    renamed = {"config_key": encoder_key(own_shop.config.embed), "encoder_id": "tiny-new", "dimension": 8}
    write_table(own_shop.root, S.ENCODERS, [renamed])
    small.wait_for(lambda: state()["waiting"])
    assert "run stage `similar`" in str(state()["problem"])
    assert small.get("/v1/similar", key, item_id=PLAIN[0]).json["items"]
    write_table(own_shop.root, S.ENCODERS, [{**renamed, "encoder_id": own_shop.encoder_id}])
    small.wait_for(lambda: not state()["stale"])

    log = own_shop.root / "items" / "_delta_log"
    broken = log / f"{2:020}.json"
    broken.write_text("this is no commit\n")
    small.wait_for(lambda: int(str(state()["failures"])) > 0)
    assert state()["stale"] and "items" in str(state()["problem"])
    assert small.get("/v1/similar", key, item_id=PLAIN[0]).status == 200
    metrics = small.get("/metrics", key).body.decode()
    assert "vizrec_snapshot_stale 1.0" in metrics and "vizrec_reload_failures_total 0.0" not in metrics
    broken.unlink()
    small.wait_for(lambda: not state()["stale"])


def test_a_fresh_live_list_comes_before_that_of_the_batch_run(small: Service, own_shop: Shop) -> None:
    key, now = {"X-API-Key": KEY}, datetime.now(UTC)

    made = {"u1": now, "u2": now - timedelta(days=1), "just-come": now + timedelta(seconds=1)}
    rows = [live_row(own_shop, user, 50 + n, at) for n, (user, at) in enumerate(made.items())]
    write_table(own_shop.root, S.LIVE_RECOMMENDATIONS, rows)

    def answer(user: str, **more: str) -> dict[str, Any]:
        return dict(small.get("/v1/recommendations", key, user_id=user, k=5, **more).json)

    small.wait_for(lambda: answer("u1")["source"] == "live")
    found = answer("u1")
    assert found["model_ids"] == ["als-2"] and found["known"]
    assert datetime.fromisoformat(found["made_at"]) == now.replace(microsecond=now.microsecond // 1000 * 1000)
    assert [o["item_id"] for o in found["items"]] == [o["item_id"] for o in rows[0]["offers"]][:5]
    assert [o["reason"] for o in found["items"]] == [o["reason"] for o in rows[0]["offers"]][:5]
    assert answer("u1", source="batch")["items"] != found["items"]
    assert answer("u2")["source"] == "batch"  # its live list is too old
    assert answer("just-come")["source"] == "live" and answer("nobody")["source"] == "popular"
    body = {"user_id": "just-come", "viewed": [rows[2]["offers"][0]["item_id"]]}
    session = small.post("/v1/recommendations", body, key).json
    assert (session["source"], session["known"], session["model_ids"]) == ("session", True, ["als-2"])
    assert answer("nobody")["made_at"] is None and answer("nobody", source="live")["items"] == []
    nothing = answer("nobody", source="batch")
    assert (nothing["items"], nothing["made_at"]) == ([], None)

    path = "/v1/recommendations?k=5&user_id="
    tags = {user: small.get(path + user, key).headers["etag"] for user in ("u1", "u2", "nobody")}

    def statuses() -> list[int]:
        return [small.get(path + u, {**key, "If-None-Match": tag}).status for u, tag in tags.items()]

    assert statuses() == [304, 304, 304]
    again = live_row(own_shop, "u1", 60, now + timedelta(seconds=2))
    write_table(own_shop.root, S.LIVE_RECOMMENDATIONS, [again, *rows[1:]])
    small.wait_for(lambda: statuses() == [200, 304, 304])  # whose list is the same is told so
    tags["u1"] = "W/" + small.get(path + "u1", key).headers["etag"]  # as a proxy that compresses has it
    assert statuses() == [304, 304, 304]
    # A micro-batch that was done again made another list at the same time.
    write_table(
        own_shop.root,
        S.LIVE_RECOMMENDATIONS,
        [live_row(own_shop, "u1", 61, again["updated_at"]), *rows[1:]],
    )
    small.wait_for(lambda: statuses() == [200, 304, 304])
    write_table(own_shop.root, S.LIVE_RECOMMENDATIONS, [])
    small.wait_for(lambda: answer("u1")["source"] == "batch")


def test_live_lists_that_cannot_be_read_are_told_and_hold_up_nothing_else(
    small: Service, own_shop: Shop
) -> None:
    key, now = {"X-API-Key": KEY}, datetime.now(UTC)

    def ready(part: str) -> dict[str, Any]:
        return dict(small.get("/readyz", key).json[part])

    def gauge(name: str) -> float:
        text = small.get("/metrics", key).body.decode()
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))

    write_table(own_shop.root, S.LIVE_RECOMMENDATIONS, [live_row(own_shop, "u1", 70, now)])
    version = DeltaTable(str(own_shop.root / S.LIVE_RECOMMENDATIONS.name)).version()
    small.wait_for(lambda: ready("live")["version"] == version)
    assert ready("live")["users"] == 1 and not ready("live")["stale"]
    assert datetime.fromisoformat(ready("live")["newest_at"]) == pytest.approx(now, abs=timedelta(seconds=1))
    live = f'vizrec_table_version{{table="{S.LIVE_RECOMMENDATIONS.name}"}}'
    assert gauge(live) == version and 0 <= gauge("vizrec_live_age_seconds") < 60

    log = own_shop.root / S.LIVE_RECOMMENDATIONS.name / "_delta_log"
    broken = log / f"{version + 1:020}.json"
    broken.write_text("this is no commit\n")
    small.wait_for(lambda: ready("live")["stale"])
    assert "live_recommendations" in ready("live")["problem"] and ready("live")["failures"] > 0
    assert gauge("vizrec_snapshot_stale") == 1 and not ready("reload")["stale"]
    rows = [row for n, user in enumerate(USERS) for row in offer_rows(own_shop, user, 300 + n)]
    write_table(own_shop.root, S.RECOMMENDATIONS, rows)
    new = [row["item_id"] for row in rows if row["user_id"] == "u2"]

    def items(user: str) -> list[str]:
        answer = small.get("/v1/recommendations", key, user_id=user).json
        return [item["item_id"] for item in answer["items"]]

    small.wait_for(lambda: items("u2") == new)  # the other tables are loaded all the same
    assert small.get("/v1/recommendations", key, user_id="u1").json["source"] == "live"
    broken.unlink()
    small.wait_for(lambda: not ready("live")["stale"])
    assert gauge("vizrec_snapshot_stale") == 0 and gauge(live) == version


def test_told_to_stop_it_answers_what_it_has_begun_and_ends_well(small: Service) -> None:
    """Last of this module: it ends the service."""
    body = json.dumps({"viewed": [PLAIN[0]]}).encode()
    head = (
        f"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n"
    )
    with socket.create_connection(small.address, timeout=30) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body[:5])
        time.sleep(0.3)
        small.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        connection.sendall(body[5:])
        heard = b""
        while data := connection.recv(65536):
            heard += data
    assert heard.startswith(b"HTTP/1.1 200 ") and b'"source":"session"' in heard
    assert small.process.wait(timeout=30) == 0
    assert small.log.rstrip().endswith("serve: stopped")
