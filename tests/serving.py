"""A small shop as Delta tables, written without Spark, and the real service on it in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError
from urllib.parse import urlencode

import numpy as np
import onnx
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from onnx import helper, numpy_helper
from PIL import Image, ImageDraw
from pyspark.sql.pandas.types import to_arrow_schema

from vizrec_spark.app.shelf import PlainShelf
from vizrec_spark.config import Config, load_config, save_config, setting
from vizrec_spark.config.encoders import encoder_key
from vizrec_spark.embed.build import build_encoder
from vizrec_spark.embed.resolve import encoder_spec, published_runtime
from vizrec_spark.imaging import load_rgb
from vizrec_spark.serve.lists import PARTS
from vizrec_spark.tables import Table
from vizrec_spark.tables import schemas as S
from vizrec_spark.wording import reason

HOSTILE = "<img src=x onerror=\"document.title='broken in'\"> & “quotes” </script>"
ODD = "a/b c?&=ü%2F"
PLAIN = [f"p{n:02d}" for n in range(30)]
NO_PICTURE, NOT_SHOWN = "no-picture", "cannot-be-shown"
ITEMS = [*PLAIN, NO_PICTURE, NOT_SHOWN, ODD]
USERS = ["u1", "u2", "ü/3 &", "u4"]
WHEN = datetime(2025, 6, 1, tzinfo=UTC)


def write_table(
    root: Path,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    mode: Literal["overwrite", "append"] = "overwrite",
) -> None:
    """One commit to a table of the contract's columns, with the contract's version, as Spark writes it."""
    schema = to_arrow_schema(table.schema, timezone="UTC")
    place = str(root / table.name)
    if not DeltaTable.is_deltatable(place):
        DeltaTable.create(
            place,
            schema,
            partition_by=list(table.partition_by) or None,
            configuration={"vizrec.contractVersion": str(table.version)},
            raise_if_key_not_exists=False,
        )
    write_deltalake(place, pa.Table.from_pylist(list(rows), schema=schema), mode=mode)


def drawn(seed: int, side: int = 96, kind: str = "JPEG") -> bytes:
    """A picture of its own colours: a disc on a ground."""
    colours = np.random.default_rng(seed).integers(0, 256, (2, 3))
    image = Image.new("RGB", (side, side), tuple(colours[0].tolist()))
    ImageDraw.Draw(image).ellipse(
        (side // 5, side // 5, 4 * side // 5, 4 * side // 5), fill=tuple(colours[1].tolist())
    )
    stream = BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def tiny_encoder(file: Path) -> Path:
    """A convolution of random weights, pooled: 8 numbers a picture, in a millisecond."""
    kernel = np.random.default_rng(5).normal(size=(8, 3, 4, 4)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["conv"], strides=[4, 4]),
            helper.make_node("Relu", ["conv"], ["features"]),
            helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["flat"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("x", 1, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("flat", 1, ["n", 8])],
        [numpy_helper.from_array(kernel, "kernel")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(file))
    return file


@dataclass(frozen=True)
class Shop:
    """The tables below `root`, their configuration, and what stands in them: the unit vector of each item that has one,
    and rows of `recommendations` by user."""

    root: Path
    config: Config
    encoder_id: str
    pictures: Mapping[str, Sequence[bytes]]
    vectors: Mapping[str, np.ndarray]
    offers: Mapping[str, Sequence[Mapping[str, Any]]]

    def cosines(self, vector: np.ndarray) -> dict[str, float]:
        """By item, largest first; ties in order of id."""
        unit = vector / np.linalg.norm(vector)
        found = {item: float(own @ unit) for item, own in self.vectors.items()}
        return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))

    def copy(self, folder: Path) -> Shop:
        """The same tables elsewhere, to be written to."""
        shutil.copytree(self.root, folder / "tables")
        config = self.config.model_copy(
            update={"tables": self.config.tables.model_copy(update={"root": str(folder / "tables")})}
        )
        return Shop(folder / "tables", config, self.encoder_id, self.pictures, self.vectors, self.offers)


def make_shop(folder: Path) -> Shop:
    """Everything that the service reads, small."""
    root = folder / "tables"
    model = tiny_encoder(folder / "tiny.onnx")
    config = load_config(
        None,
        [
            setting("tables.root", str(root)),
            setting("embed.encoder", str(model)),
            "embed.preprocessing={mean: 127, scale: 128}",
            setting("embed.cache", str(folder / "encoders")),
            "embed.runtime=onnxruntime",
        ],
    )
    built = build_encoder(encoder_spec(config.embed), folder / "encoders")
    runtime = published_runtime(config.embed, built.encoder_id, 1, PlainShelf(config.tables))
    pictures: dict[str, list[bytes]] = {item: [drawn(n)] for n, item in enumerate(PLAIN)}
    pictures[PLAIN[0]].append(drawn(400))
    pictures[ODD] = [drawn(401, kind="PNG")]
    raw = {
        content: runtime.encode(load_rgb(content, runtime.input_size)[None])[0]
        for contents in pictures.values()
        for content in contents
    }
    means = {
        item: np.mean([raw[c] for c in contents], axis=0, dtype=np.float64)
        for item, contents in pictures.items()
    }
    vectors = {item: mean / np.linalg.norm(mean) for item, mean in means.items()}
    # Bytes that ingest would not have let in: a table may hold what a later decoder refuses.
    pictures[NOT_SHOWN] = [b"\xff\xd8\xff these are no pixels"]

    write_table(root, S.ITEMS, [_item(n, item) for n, item in enumerate(ITEMS)])
    write_table(
        root, S.IMAGES, [row for item, contents in pictures.items() for row in _images(item, contents)]
    )
    write_table(root, S.INTERACTIONS, _interactions())
    write_table(
        root,
        S.ENCODERS,
        [{"config_key": encoder_key(config.embed), "encoder_id": built.encoder_id, "dimension": 8}],
    )
    write_table(
        root,
        S.EMBEDDINGS,
        [
            {"sha256": hashlib.sha256(content).hexdigest(), "encoder_id": encoder, "vector": vector.tolist()}
            for encoder, scale in ((built.encoder_id, 1.0), ("another", -1.0))
            for content, vector in ((c, scale * v) for c, v in raw.items())
        ],
    )
    shop = Shop(root, config, built.encoder_id, pictures, vectors, {})
    write_table(root, S.ITEM_NEIGHBORS, [row for item in vectors for row in neighbor_rows(shop, item)])
    quality = {f.name: 0 for f in S.SIMILARITY_QUALITY.schema.fields}
    texts = dict.fromkeys(("method", "plan", "setting", "metric", "fingerprint"), "exact")
    write_table(
        root,
        S.SIMILARITY_QUALITY,
        [{**quality, **texts, "encoder_id": built.encoder_id, "bucket_histogram": [], "mean_cosine": 0.4}],
    )
    offers = {user: offer_rows(shop, user, n) for n, user in enumerate(USERS)}
    write_table(root, S.RECOMMENDATIONS, [row for rows in offers.values() for row in rows])
    return Shop(root, config, built.encoder_id, pictures, vectors, offers)


def _item(number: int, item: str) -> dict[str, Any]:
    return {
        "item_id": item,
        "title": None if item == PLAIN[5] else HOSTILE if item == PLAIN[1] else f"Product {item}",
        "categories": ["discs", "round"] if number % 2 else [],
        "price": None if number == 3 else 5.0 + number,
        "added_at": WHEN,
        "attributes": [("colour", "red"), ("maker", None)] if number % 3 == 0 else [],
    }


def _images(item: str, contents: Sequence[bytes]) -> list[dict[str, Any]]:
    return [
        {
            "item_id": item,
            "path": f"{item}/{number}.jpg",
            "sha256": hashlib.sha256(content).hexdigest(),
            "width": 96,
            "height": 96,
            "format": "JPEG",
            "bytes": len(content),
            "modified": WHEN,
            "content": content,
        }
        for number, content in enumerate(contents)
    ]


def _interactions() -> list[dict[str, Any]]:
    """The first item is liked by six, the next by five, and so on; a late low rating takes one away from the third."""
    rows = [_event(f"w{n}", ITEMS[at], 1.0) for at in range(6) for n in range(6 - at)]
    rows.append(_event("w0", ITEMS[2], 0.0, rating=1.0, minutes=5))
    rows.append(_event("w0", ITEMS[3], 0.0, rating=1.0, minutes=5))
    rows.append(_event("w0", ITEMS[3], 1.0, rating=5.0, minutes=9))
    rows.append(_event("w1", "gone", 1.0))
    return rows


def _event(
    user: str, item: str, weight: float, rating: float | None = None, minutes: int = 0
) -> dict[str, Any]:
    return {
        "user_id": user,
        "item_id": item,
        "event": "view" if rating is None else "rating",
        "rating": rating,
        "weight": weight,
        "timestamp": WHEN.replace(minute=minutes),
    }


def neighbor_rows(shop: Shop, item: str, k: int = 6) -> list[dict[str, Any]]:
    """Rows of `item_neighbors` of one item, exact."""
    near = [(other, cosine) for other, cosine in shop.cosines(shop.vectors[item]).items() if other != item][
        :k
    ]
    return [
        {
            "encoder_id": shop.encoder_id,
            "item_id": item,
            "rank": rank,
            "neighbor_id": other,
            "cosine": cosine,
            "distance": 0.0,
        }
        for rank, (other, cosine) in enumerate(near, 1)
    ]


def offer_rows(
    shop: Shop, user: str, seed: int, encoder_id: str | None = None, k: int = 8
) -> list[dict[str, Any]]:
    """Rows of `recommendations` of one user: each third from another source."""
    draw = np.random.default_rng(seed)
    chosen = draw.permutation(len(PLAIN))[: k + 1]
    cause = PLAIN[chosen[k]]
    rows = []
    for rank, at in enumerate(chosen[:k].tolist(), 1):
        number = rank % 3
        parts = [0.01 * number, 0.003, 0.02, 0.002, 0.005, 0.001]
        column = (0, 2, 4)[number]
        parts[column] = 1.0 / rank
        source = ("als", "visual", "popularity")[number]
        because = None if source == "popularity" else cause
        rows.append(
            {
                "user_id": user,
                "rank": rank,
                "item_id": PLAIN[at],
                "score": sum(parts),
                **{f"score_{part}": value for part, value in zip(PARTS, parts, strict=True)},
                "source": source,
                "proposed_by": [source],
                "because_item_id": because,
                "because": {},
                "reason": reason(source, rank, because and (f"Product {because}", "view")),
                "model_id": "als-1",
                "encoder_id": encoder_id or shop.encoder_id,
            }
        )
    return rows


def live_row(shop: Shop, user: str, seed: int, at: datetime) -> dict[str, Any]:
    """A row of `live_recommendations`, made at `at`."""
    return {
        "user_id": user,
        "offers": offer_rows(shop, user, seed),
        "latest": [],
        "last_event_at": at,
        "updated_at": at,
        "batch": 1,
        "model_id": "als-2",
        "encoder_id": shop.encoder_id,
    }


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of an error."""
        return str(self.json["error"]["code"])


class Service:
    """A running `vizrec serve`."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log
        deadline = time.monotonic() + 300
        while (found := re.search(r"listening on http://([\d.]+):(\d+)", self.log)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the service does not start:\n{self.log}")
            time.sleep(0.05)
        self.address = (found[1], int(found[2]))
        self.url = f"http://{found[1]}:{found[2]}"

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Answer:
        """GET; an error is an answer too."""
        return self.send(f"{path}?{urlencode(query)}" if query else path, None, headers)

    def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """POST of JSON."""
        return self.send(
            path, json.dumps(value).encode(), {"content-type": "application/json", **(headers or {})}
        )

    def upload(self, content: bytes, field: str = "picture", name: str = "x.jpg", k: int = 5) -> Answer:
        """POST of a picture to the search."""
        head = f'--b0und\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + b"\r\n--b0und--\r\n"
        return self.send(f"/v1/search?k={k}", body, {"content-type": "multipart/form-data; boundary=b0und"})

    def send(self, path: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Answer:
        request = urllib.request.Request(self.url + path, body, dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def wait_for(self, what: Any, seconds: float = 60) -> None:
        """Until `what()` is true."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, self.log
            time.sleep(0.05)


@contextmanager
def running(
    shop: Shop, folder: Path, *pairs: str, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """The service on `shop`, as the console command starts it; told to stop at the end, if it still runs."""
    file, log = save_config(shop.config, folder / "serve.yml"), folder / "serve.log"
    command = [str(Path(sys.executable).with_name("vizrec")), "serve", "--config", str(file), "--port", "0"]
    # The machine of a test may stand still for a while.
    patient = ("serve.reload_seconds=0.2", "serve.max_delay_ms=1000", "serve.timeout_s=60")
    command += [part for pair in (*patient, *pairs) for part in ("--set", pair)]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(environment or {})})
    try:
        yield Service(process, log)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise
