"""What the stream gathers of users in arrays is what the batch's plans gather, whatever is configured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from pyspark.sql import SparkSession

from vizrec_spark.config.models import AlsConfig, RerankConfig
from vizrec_spark.recommend.history import touched_pairs
from vizrec_spark.retrieval.fold_in import preference_lists
from vizrec_spark.retrieval.preferences import preferences, whole_of
from vizrec_spark.stream.pairs import rows_of, user_rows
from vizrec_spark.tables.schemas import INTERACTIONS

START = datetime(2024, 1, 1, tzinfo=UTC)
WEIGHTS = {"view": 1.0, "cart": 3.0, "buy": 5.0}
CASES = [
    (RerankConfig(), AlsConfig()),
    (RerankConfig(already="keep"), AlsConfig(half_life_days=3.0, events={"view": 0.5, "rating": 0.0})),
    (RerankConfig(already="leave_out_bought"), AlsConfig(preference="explicit")),
    (RerankConfig(), AlsConfig(outlier_fence=1.0, max_weight=4.0)),
]


def log(rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """Few items and moments, so that much meets; a user who acts far more than the others."""
    rows: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for n in range(700):
        user = "bot" if n % 3 == 0 else f"u{rng.integers(12):02d}"
        item = f"i{rng.integers(60 if user == 'bot' else 9)}"
        kind = str(rng.choice(["view", "cart", "buy", "rating"]))
        at = START + timedelta(hours=int(rng.integers(60)))
        rating = float(rng.integers(1, 6)) if kind == "rating" else None
        weight = WEIGHTS.get(kind, float(rating is not None and rating > 2.5))
        rows[user, item, kind, at] = (user, item, kind, rating, weight, at)
    return list(rows.values())


@pytest.mark.parametrize(("rerank", "als"), CASES)
def test_pairs_are_those_of_the_batch(spark: SparkSession, rerank: RerankConfig, als: AlsConfig) -> None:
    rows = log(np.random.default_rng(5))
    frame = spark.createDataFrame(rows, INTERACTIONS.schema)
    whole = whole_of(frame, als)
    table = frame.toArrow()
    # Some come over the stream alone, some a second time and with another weight: the log is right.
    streamed = table.slice(0, 100).to_pylist()
    again = [{**row, "weight": 9.0} for row in table.slice(100, 50).to_pylist()]
    live = type(table).from_pylist([*streamed, *again], schema=table.schema)
    made = {
        row["user_id"]: row
        for row in user_rows(rows_of(table.slice(100), live), rerank, als, whole).to_pylist()
    }
    wanted: dict[str, dict[str, Any]] = {}
    for row in touched_pairs(frame, rerank, als).collect():
        wanted.setdefault(row.user_id, {})[row.item_id] = (row.event, row.weight, row.time, row.barred)
    got = {
        user: {h["item_id"]: (h["event"], h["weight"], h["time"], h["barred"]) for h in row["history"]}
        for user, row in made.items()
    }
    assert got == wanted
    liked = {row.user_id: row.history for row in preference_lists(preferences(frame, als, whole)).collect()}
    for user, row in made.items():
        assert [p["id"] for p in row["liked"]] == [p.id for p in liked.get(user, [])], user
        values = [p["preference"] for p in row["liked"]]
        assert values == pytest.approx([p[1] for p in liked.get(user, [])], rel=1e-6)
    if als.outlier_fence is not None:
        assert made["bot"]["liked"] == [] and made["bot"]["history"]
    # What only the whole log tells gives the same as the whole log itself.
    same = {(r.user_id, r.item_id): r.preference for r in preferences(frame, als).collect()}
    assert {(u, p.id): p[1] for u, ps in liked.items() for p in ps} == pytest.approx(same, rel=1e-6)
