"""The endpoints. Ids are query parameters, for a shop's ids may hold anything, a slash too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import resources
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from vizrec_spark import __version__
from vizrec_spark.config import Config
from vizrec_spark.errors import ImageRefused
from vizrec_spark.serve import answers as shapes
from vizrec_spark.serve.guard import INTERNAL, Guard, Refusal, error_body, overloaded
from vizrec_spark.serve.metrics import Metrics
from vizrec_spark.serve.pictures import SIZES, Thumbnails
from vizrec_spark.serve.pool import Busy, Pool
from vizrec_spark.serve.reload import Reloader, ReloadState
from vizrec_spark.serve.rows import (
    Row,
    facts,
    known_rows,
    latest_users,
    made,
    rows_for,
    session_rows,
    told,
)
from vizrec_spark.serve.snapshot import Snapshot
from vizrec_spark.serve.tags import holds, list_tag

Id = Annotated[str, Query(min_length=1, max_length=512)]
K = Annotated[int, Query(ge=1, le=1000, description="Longest list wanted; at most `serve.max_k`.")]
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=2**31)]
Size = Annotated[int, Query(json_schema_extra={"enum": list(SIZES)})]

_PICTURE_READERS: Final = 1  # a row group is a file's worth of reading; two at a time would only take turns
_PICTURES_WAITING: Final = 64  # row groups
_PAGE_FILES: Final = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/favicon.svg": ("favicon.svg", "image/svg+xml"),
}
_UPLOAD: Final = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["picture"],
                    "properties": {"picture": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


def create_app(config: Config, reloader: Reloader, key: str | None, metrics: Metrics) -> Guard:
    """The whole service as an ASGI application. `key`: what requests must carry; None: nothing."""
    serve = config.serve
    search_pool = Pool(serve.workers, serve.max_waiting, "vizrec-search")
    picture_pool = Pool(_PICTURE_READERS, _PICTURES_WAITING, "vizrec-pictures")
    thumbnails = Thumbnails(picture_pool, serve.picture_cache_bytes, config.ingest.images.max_pixels)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(guard.watch())
        reloader.start()
        yield
        watching.cancel()
        for pool in (search_pool, picture_pool):
            await asyncio.to_thread(pool.close)

    app = FastAPI(
        title="vizrec",
        version=__version__,
        description="Look-alikes, recommendations with reasons, and search by picture, from vizrec_spark's tables.",
        lifespan=lifespan,
        docs_url=None,  # its page comes from elsewhere, which this service's pages never do
        redoc_url=None,
        openapi_url="/v1/openapi.json",
    )
    guard = Guard(app, serve, key, metrics)
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(Exception)(_failed)

    def length(k: int) -> int:
        if k > serve.max_k:
            raise Refusal(422, "invalid", f"k: at most {serve.max_k} here")
        return k

    def endpoint(path: str, model: Any, *also: int) -> Callable[..., Any]:
        """A GET endpoint that answers JSON of `model`, or an error of one of `also`."""
        return app.get(path, response_model=None, responses=_responses(model, *also))

    @app.get(
        "/v1/recommendations",
        response_model=None,
        responses={**_responses(shapes.Offers), 304: {"description": "The list is that of `If-None-Match`."}},
    )
    async def recommendations(
        request: Request,
        user_id: Id | None = None,
        k: K = 20,
        source: Literal["auto", "live", "batch", "popular"] = "auto",
    ) -> Response:
        """What to offer to a user, best first, each with its reason; what is popular to who has no list, or no id."""
        snapshot, most = reloader.snapshot, length(k)
        asked = None if source == "auto" else source
        name, rows = rows_for(snapshot, user_id, most, config.recommend.weights, asked)
        answer = _Offered(snapshot, user_id, name, rows)
        if holds(request.headers.get("if-none-match"), answer.tag):
            return Response(status_code=304, headers={"etag": answer.tag, "cache-control": "no-store"})
        metrics.served.labels(name).inc()
        return _json(answer.told(), etag=answer.tag)

    @app.post("/v1/recommendations", response_model=None, responses=_responses(shapes.Offers, 413, 422))
    async def recommendations_now(session: shapes.Session, k: K = 20) -> Response:
        """What to offer to somebody who has just looked at some items, with what the tables know of the user if any."""
        snapshot = reloader.snapshot
        positions = [snapshot.catalogue.position(item_id) for item_id in dict.fromkeys(session.viewed[::-1])]
        viewed = [at for at in positions[::-1] if at >= 0]
        known = []
        if session.user_id is not None:
            known = known_rows(snapshot, session.user_id, serve.max_k, config.recommend.weights)
        rows = session_rows(snapshot, known, viewed, length(k), config.recommend.weights)
        metrics.served.labels("session").inc()
        return _json(_Offered(snapshot, session.user_id, "session", rows).told())

    @endpoint("/v1/similar", shapes.LookAlikes, 404)
    async def similar(item_id: Id, k: K = 20) -> Response:
        """The look-alikes of an item, nearest first; none for an item without a picture."""
        snapshot, most = reloader.snapshot, length(k)
        item = _position(snapshot, item_id)
        neighbors, items = snapshot.neighbors, []
        if neighbors is not None:
            where = neighbors.of(item)
            where = slice(where.start, min(where.stop, where.start + most))
            found = zip(neighbors.item[where].tolist(), neighbors.cosine[where].tolist(), strict=True)
            items = [
                _look_alike(snapshot, rank, at, cosine, f"Looks like “{snapshot.catalogue.title(item)}”")
                for rank, (at, cosine) in enumerate(found, 1)
            ]
        return _json({"item_id": item_id, "items": items, "state": _state(snapshot)})

    @endpoint("/v1/why", shapes.Why, 404)
    async def why(user_id: Id, item_id: Id) -> Response:
        """Why an item is in a user's list (of `serve.max_k`): the parts of its score, and the item behind it."""
        snapshot = reloader.snapshot
        item = _position(snapshot, item_id)
        name, rows = rows_for(snapshot, user_id, serve.max_k, config.recommend.weights)
        found = next((offer for offer in _list(snapshot, rows, item)), None)
        if found is None:
            raise Refusal(404, "not_offered", "this item is not in the user's list")
        because = found["because_item_id"]
        return _json(
            {
                "user_id": user_id,
                "source": name,
                "offer": found,
                "because": None if because is None else facts(snapshot, snapshot.catalogue.position(because)),
                "state": _state(snapshot),
            }
        )

    @endpoint("/v1/item", shapes.ItemDetails, 404)
    async def item(item_id: Id) -> Response:
        """What the catalogue knows of an item."""
        snapshot = reloader.snapshot
        return _json(_details(snapshot, _position(snapshot, item_id)))

    @app.get(
        "/v1/picture",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}}, 304: {}, **_errors(404, 503)},
    )
    async def picture(request: Request, item_id: Id, size: Size = SIZES[0]) -> Response:
        """A thumbnail of the item's first picture, `size` pixels at its longer side."""
        if size not in SIZES:
            raise Refusal(422, "invalid", f"size: one of {', '.join(map(str, SIZES))}")
        snapshot = reloader.snapshot
        at = _position(snapshot, item_id)
        if not snapshot.pictures.has(at):
            raise Refusal(404, "no_picture", "this item has no picture")
        tag = f'"{snapshot.pictures.content_hash(at)}-{size}"'
        headers = {"etag": tag, "cache-control": "private, max-age=3600"}
        if holds(request.headers.get("if-none-match"), tag):
            return Response(status_code=304, headers=headers)
        try:
            jpeg = await thumbnails.get(snapshot.pictures, at, size)
        except Busy:
            raise overloaded("too many pictures are waited for") from None
        if jpeg is None:
            raise Refusal(404, "no_picture", "this item's picture cannot be shown")
        return Response(jpeg, media_type="image/jpeg", headers=headers)

    @app.post(
        "/v1/search",
        response_model=None,
        responses=_responses(shapes.Found, 400, 413, 415, 422, 503),
        openapi_extra=_UPLOAD,
    )
    async def search(request: Request, k: K = 20) -> Response:
        """The items that look most like the uploaded picture: all are compared, by cosine."""
        snapshot, most = reloader.snapshot, length(k)
        finder, vectors = snapshot.search.finder, snapshot.search.vectors
        if finder is None or vectors is None:
            raise Refusal(503, "search_unavailable", "there is no search by picture now; /readyz says why")
        content = await _uploaded(request)
        try:
            found = await asyncio.wrap_future(search_pool.submit(finder.find, content, vectors, most))
        except Busy:
            raise overloaded("too many pictures wait to be searched for") from None
        except ImageRefused as refused:
            raise Refusal(422, refused.reason, refused.message) from None
        pairs = zip(found.item.tolist(), found.cosine.tolist(), strict=True)
        items = [
            _look_alike(snapshot, rank, at, cosine, "Looks like your picture")
            for rank, (at, cosine) in enumerate(pairs, 1)
        ]
        return _json({"items": items, "state": _state(snapshot)})

    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> Response:
        return _json({"alive": True})

    @app.get("/readyz", include_in_schema=False)
    async def readyz(request: Request) -> Response:
        """All of it to who has the key; an orchestrator has none and needs none."""
        return _json(_readiness(reloader) if guard.tells_all(request.scope["headers"]) else {"ready": True})

    @app.get("/metrics", include_in_schema=False)
    async def metrics_text() -> Response:
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    if serve.page:
        _add_page(app, reloader)
    return guard


def _add_page(app: FastAPI, reloader: Reloader) -> None:
    """The storefront, and what only it needs: lists of items and of users to begin with."""
    folder = resources.files("vizrec_spark.serve") / "page"
    for path, (name, kind) in _PAGE_FILES.items():
        content = (folder / name).read_bytes()

        def file(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, headers={"content-type": kind, "cache-control": "no-cache"})

        app.add_route(path, _without_arguments(file), include_in_schema=False)

    @app.get("/v1/items", response_model=None, responses=_responses(shapes.Page))
    async def items(offset: Offset = 0, limit: Limit = 24) -> Response:
        """The catalogue, what most people like first."""
        snapshot = reloader.snapshot
        chosen = snapshot.by_popularity[offset : offset + limit].tolist()
        listed = [_details(snapshot, at) for at in chosen]
        return _json({"total": len(snapshot.catalogue), "items": listed, "state": _state(snapshot)})

    @app.get("/v1/users", response_model=None, responses=_responses(shapes.Users))
    async def users(limit: Limit = 24) -> Response:
        """Some users who have a list: those with the newest live lists first, then others, spread over all."""
        snapshot = reloader.snapshot
        listed = latest_users(snapshot, limit)
        offers = snapshot.offers
        known = 0 if offers is None else len(offers.users)
        if offers is not None:
            places = range(0, known, max(1, known // limit))[:limit]
            listed = list(dict.fromkeys([*listed, *(offers.users[at] for at in places)]))[:limit]
        return _json({"total": max(known, len(listed)), "users": listed})


def _without_arguments(answer: Callable[[], Response]) -> Callable[[Request], Any]:
    async def route(_: Request) -> Response:
        return answer()

    return route


async def _uploaded(request: Request) -> bytes:
    """The bytes of the form's file `picture`. Raises: Refusal."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refusal(415, "not_multipart", "send the picture as multipart/form-data, in field `picture`")
    async with request.form(max_files=1, max_fields=8) as form:
        part = form.get("picture")
        if not isinstance(part, UploadFile):
            raise Refusal(422, "no_picture", "the form has no file in field `picture`")
        return await part.read()


class _Offered:
    """A list for a user, with what an answer tells of it beside its rows."""

    def __init__(self, snapshot: Snapshot, user_id: str | None, source: str, rows: list[Row]) -> None:
        live = None if snapshot.live is None else snapshot.live.offers
        tables = (live, snapshot.offers) if source == "live" else (snapshot.offers, live)
        knows = (o for o in tables if o is not None and user_id is not None and o.of(user_id) is not None)
        self._snapshot, self._user_id, self._source, self._rows = snapshot, user_id, source, rows
        self._known = next(knows, None)
        self._made_at = made(snapshot, user_id, source) if rows else None

    @property
    def tag(self) -> str:
        """Of all that is told: a list may be another one though it was made at the same time."""
        models = None if self._known is None else self._known.model_ids
        loaded = self._snapshot.loaded_at  # with which every fact of the catalogue may change
        return list_tag(loaded, self._user_id, self._source, self._made_at, models, *self._rows)

    def told(self) -> dict[str, Any]:
        """The answer."""
        return {
            "user_id": self._user_id,
            "known": self._known is not None,
            "source": self._source,
            "made_at": _moment(self._made_at),
            "model_ids": [] if self._known is None else list(self._known.model_ids),
            "items": told(self._snapshot, self._rows),
            "state": _state(self._snapshot),
        }


def _list(snapshot: Snapshot, rows: list[Any], item: int) -> list[dict[str, Any]]:
    """The one row about `item`, with its rank in the list, if there is one."""
    for rank, row in enumerate(rows, 1):
        if row.item == item:
            return [{**told(snapshot, [row])[0], "rank": rank}]
    return []


def _look_alike(snapshot: Snapshot, rank: int, item: int, cosine: float, reason: str) -> dict[str, Any]:
    return {"rank": rank, **facts(snapshot, item), "cosine": round(cosine, 6), "reason": reason}


def _details(snapshot: Snapshot, item: int) -> dict[str, Any]:
    return {
        **facts(snapshot, item),
        "attributes": snapshot.catalogue.details(item)["attributes"],
        "people": int(snapshot.people[item]),
    }


def _position(snapshot: Snapshot, item_id: str) -> int:
    item = snapshot.catalogue.position(item_id)
    if item < 0:
        raise Refusal(404, "unknown_item", "there is no item of this id in the catalogue")
    return item


def _state(snapshot: Snapshot) -> dict[str, Any]:
    return {"encoder_id": snapshot.encoder_id, "loaded_at": snapshot.loaded_at.isoformat(timespec="seconds")}


def _readiness(reloader: Reloader) -> dict[str, Any]:
    """Ready as soon as it answers at all, for the first snapshot is loaded before; the rest is for people."""
    snapshot, state = reloader.snapshot, reloader.state
    live = snapshot.live
    return {
        "ready": True,
        "versions": dict(snapshot.versions),
        **_state(snapshot),
        "items": len(snapshot.catalogue),
        "users": 0 if snapshot.offers is None else len(snapshot.offers.users),
        "bytes": snapshot.nbytes,
        "notes": list(snapshot.notes),
        "search": {"ready": snapshot.search.why is None, "why": snapshot.search.why},
        "reload": {**_told(state), "waiting": state.waiting},
        "live": {
            "version": None if live is None else live.version,
            "users": 0 if live is None else len(live.offers.users),
            "newest_at": None if live is None else _moment(live.newest_at),
            **_told(reloader.live_state),
        },
    }


def _told(state: ReloadState) -> dict[str, Any]:
    return {
        "stale": state.problem is not None,
        "problem": state.problem,
        "since": None if state.since is None else state.since.isoformat(timespec="seconds"),
        "failures": state.failures,
    }


def _moment(seconds: float | None) -> str | None:
    """Seconds since 1970 as ISO 8601 in UTC."""
    return (
        None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    )


def _json(answer: dict[str, Any], **headers: str) -> Response:
    headers["cache-control"] = "no-store"
    return Response(orjson.dumps(answer), media_type="application/json", headers=headers)


def _responses(model: Any, *also: int) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model}, **_errors(401, 422, 503, *also)}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": shapes.Error} for status in statuses}


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    codes = {400: "bad_request", 404: "not_found", 405: "not_allowed"}
    code = error.code if isinstance(error, Refusal) else codes.get(error.status_code, "refused")
    return Response(
        error_body(code, str(error.detail)), error.status_code, error.headers, media_type="application/json"
    )


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # What came is not sent back: it may be long, and is of no use to its sender.
    some = error.errors()[:10]
    faults = [f"{'.'.join(map(str, fault['loc'][1:])) or 'body'}: {fault['msg']}" for fault in some]
    return Response(error_body("invalid", "; ".join(faults)[:1000]), 422, media_type="application/json")


async def _failed(_: Request, __: Exception) -> Response:
    """The guard writes the error into the log."""
    return Response(error_body(*INTERNAL), 500, media_type="application/json")
