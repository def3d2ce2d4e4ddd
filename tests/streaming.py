"""A small shop in Delta tables on which stages `recommend` and `stream` run, and events as a shop's site sends them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from tests.serving import write_table
from tests.similarity import quality
from vizrec_spark.config import Config, load_config, setting
from vizrec_spark.recommend.history import touched_pairs
from vizrec_spark.recommend.hybrid import recommend_with
from vizrec_spark.recommend.reading import chosen_factors, read_inputs
from vizrec_spark.recommend.sources import FEATURES
from vizrec_spark.retrieval import share_factors
from vizrec_spark.retrieval.fold_in import fold_in
from vizrec_spark.retrieval.preferences import preferences
from vizrec_spark.stage import StageContext, StageResult
from vizrec_spark.stream.resident import Resident, load_resident
from vizrec_spark.stream.stage import STAGE as STREAM
from vizrec_spark.tables import Stamp, Table, TableStore
from vizrec_spark.tables.encoders import current_encoder, encoder_key
from vizrec_spark.tables.schemas import (
    BLEND_WEIGHTS,
    COMPARED_ITEMS,
    ENCODERS,
    INTERACTIONS,
    ITEM_FACTORS,
    ITEM_NEIGHBORS,
    ITEMS,
    LIVE_EVENTS,
    PROMOTIONS,
    SIMILARITY_QUALITY,
    USER_FACTORS,
    USERS,
)

ENCODER = "enc-1"
MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
WEIGHTS = {"view": 1.0, "cart": 3.0, "buy": 5.0}
N_ITEMS, N_USERS, RANK = 40, 20, 4


def event(number: int, user: str, item: str, kind: str = "view", **changes: Any) -> dict[str, Any]:
    """An event as a site sends it; `number` makes its id and its time."""
    at = MONDAY + timedelta(days=30, seconds=number)
    told = {
        "event_id": f"e{number}",
        "user_id": user,
        "item_id": item,
        "event": kind,
        "timestamp": at.isoformat(),
    }
    return {**told, **changes}


@dataclass
class LiveShop:
    """Tables below `folder`, and a folder of live events beside them."""

    spark: SparkSession
    folder: Path
    settings: list[str] = field(default_factory=list)
    sent_at: int = 0
    """The age of the last file of events, in nanoseconds since 1970."""

    @property
    def events(self) -> Path:
        """Where live events arrive."""
        return self.folder / "events"

    def overrides(self) -> list[str]:
        """``--set`` pairs that name this shop."""
        pairs: Mapping[str, Any] = {
            "tables.root": str(self.folder / "tables"),
            "stream.path": str(self.events),
            "stream.checkpoint": str(self.folder / "checkpoint"),
            "stream.available_now": True,
            "stream.reload_seconds": 0.0,
            "recommend.k": 10,
            "als.rank": RANK,
        }
        return [*(setting(key, value) for key, value in pairs.items()), *self.settings]

    def config(self, *more: str) -> Config:
        return load_config(None, [*self.overrides(), *more])

    def store(self) -> TableStore:
        return TableStore(self.spark, self.config().tables, Stamp("run", "test", "0" * 16))

    def context(self, *more: str) -> StageContext:
        return StageContext(self.spark, self.config(*more), self.store(), "run")

    def write(self, table: Table, rows: Iterable[tuple[Any, ...]]) -> None:
        """Without Spark, which takes seconds for each."""
        named = [dict(zip(table.columns, row, strict=True)) for row in rows]
        write_table(self.folder / "tables", table, named)

    def make(self) -> None:
        """The tables as a batch run leaves them."""
        rng = np.random.default_rng(3)
        items = [f"i{n:02d}" for n in range(N_ITEMS)]
        users = [f"u{n:02d}" for n in range(N_USERS)]
        self.events.mkdir(parents=True)
        kinds = ("shoe", "bag", "hat")
        self.write(ITEMS, ((i, f"Item {i}", [kinds[n % 3]], 10.0 + n, None, []) for n, i in enumerate(items)))
        self.write(USERS, ((u,) for u in users))
        log = []
        for n, (u, i) in enumerate((u, i) for u in users for i in rng.choice(items, 9, replace=False)):
            kind = str(rng.choice(list(WEIGHTS)))
            log.append((u, str(i), kind, None, WEIGHTS[kind], MONDAY + timedelta(hours=n)))
        self.write(INTERACTIONS, log)
        self.model("als-1", seed=4)
        self.encode(ENCODER)
        self.weights()

    def encode(self, encoder_id: str) -> None:
        """What the encoder is called, and look-alikes by it, as stages `embed` and `similar` leave them: those of the
        first are the next items, those of another lie elsewhere."""
        items = [f"i{n:02d}" for n in range(N_ITEMS)]
        away = 1 if encoder_id == ENCODER else 7
        self.write(ENCODERS, [(encoder_key(self.config().embed), encoder_id, 2)])
        near = [(a, k + 1, items[(n + away + k) % N_ITEMS]) for n, a in enumerate(items) for k in range(5)]
        self.write(ITEM_NEIGHBORS, ((encoder_id, a, rank, b, 1.0 - 0.1 * rank, 1.0) for a, rank, b in near))
        if encoder_id != ENCODER:
            looks = np.random.default_rng(6).normal(size=(N_ITEMS, 2)).astype(np.float32).tolist()
            self.write(COMPARED_ITEMS, ((encoder_id, i, f"{n:064x}", looks[n]) for n, i in enumerate(items)))
        found = quality(encoder_id=encoder_id, mean_cosine=0.0)
        self.write(SIMILARITY_QUALITY, [tuple(found[c] for c in SIMILARITY_QUALITY.columns)])

    def promote(self, number: int, model_id: str) -> None:
        """What job `promote` writes of the model that the tables of factors hold now."""
        versions = [self.store().version(table) for table in (USER_FACTORS, ITEM_FACTORS)]
        row = (number, f"run-{number}", model_id, *versions, {"alpha": 1.0}, "{}")
        self.write(PROMOTIONS, [row])

    def model(self, model_id: str, seed: int) -> None:
        """Factors as stage `als` leaves them; those of users are not looked at by the stream."""
        rng = np.random.default_rng(seed)
        for table, prefix, n in ((USER_FACTORS, "u", N_USERS), (ITEM_FACTORS, "i", N_ITEMS)):
            drawn = rng.normal(size=(n, RANK)).astype(np.float32).tolist()
            self.write(table, ((model_id, f"{prefix}{k:02d}", row) for k, row in enumerate(drawn)))

    def weights(self) -> None:
        """What a run of stage `recommend` ends with."""
        told = ("learned", 1.0, 8.0, 100.0, None, None, None, None)
        self.write(
            BLEND_WEIGHTS,
            ((f.name, f.part, 0.1 + 0.05 * n, None, None, 0.5, *told) for n, f in enumerate(FEATURES)),
        )

    def send(self, name: str, *events: Mapping[str, Any] | str) -> None:
        """A file of live events, which appears whole; a text is a line as it is, a lone surrogate in it a byte."""
        lines = [e if isinstance(e, str) else json.dumps(e) for e in events]
        draft = self.folder / f"{name}.draft"
        draft.write_bytes(("\n".join(lines) + "\n").encode(errors="surrogateescape"))
        # Spark reads files in order of their age in milliseconds, and those of one in any order.
        self.sent_at = max(time.time_ns(), self.sent_at + 2_000_000)
        os.utime(draft, ns=(self.sent_at, self.sent_at))
        draft.rename(self.events / f"{name}.json")

    def stream(self, *more: str) -> StageResult:
        """Runs the stage until all that was sent is read."""
        return STREAM.run(self.context(*more))


def offered(frame: DataFrame) -> pd.DataFrame:
    """The offers of `live_recommendations`, a row each, as `recommendations` has them."""
    rows = frame.select("user_id", F.explode("offers").alias("o")).select("user_id", "o.*").toPandas()
    return rows.sort_values(["user_id", "rank"], ignore_index=True)


_FITTED: dict[tuple[str | None, ...], Resident] = {}


def fitted(shop: LiveShop) -> Resident:
    """The item side on the shop's tables: the same for all copies with one model, encoder and settings."""
    context = shop.context()
    encoder_id = current_encoder(context.tables, context.config.embed)
    key = (chosen_factors(context).model_id, encoder_id, *shop.settings)
    if key not in _FITTED:
        _FITTED[key] = load_resident(context)
    return _FITTED[key]


def in_batch(shop: LiveShop, users: list[str], log: DataFrame | None = None) -> pd.DataFrame:
    """The lists of `users` as the batch's own functions make them of `log`, or of the log and all live events."""
    context = shop.context()
    resident = fitted(shop)
    learned = chosen_factors(context)
    if log is None:
        log = context.tables.read(INTERACTIONS).unionByName(
            context.tables.read(LIVE_EVENTS).select(INTERACTIONS.columns)
        )
    inputs, _ = read_inputs(context, learned, resident.als, resident.encoder_id)
    touched = touched_pairs(log, context.config.recommend.rerank, resident.als)
    folded = fold_in(preferences(log, resident.als), share_factors(learned.item_factors), resident.als)
    changed = type(inputs)(**{**vars(inputs), "touched": touched, "user_factors": folded})
    shared = shop.spark.sparkContext.broadcast(resident.hybrid.side)
    wanted = shop.spark.createDataFrame([(user,) for user in users], "user_id string")
    rows = recommend_with(
        shared, resident.hybrid.blend, changed, wanted, context.config.recommend, resident.als
    ).toPandas()
    shared.destroy()
    return rows.sort_values(["user_id", "rank"], ignore_index=True)


def agree(live: pd.DataFrame, batch: pd.DataFrame) -> None:
    assert list(live.columns) == list(batch.columns)
    scores = [name for name in live.columns if name.startswith("score")]
    pd.testing.assert_frame_equal(live[scores], batch[scores], rtol=1e-5, atol=1e-6)
    said = [name for name in live.columns if name not in (*scores, "proposed_by")]
    pd.testing.assert_frame_equal(live[said], batch[said])
    assert [sorted(p) for p in live.proposed_by] == [sorted(p) for p in batch.proposed_by]
