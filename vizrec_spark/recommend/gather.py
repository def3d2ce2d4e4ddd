"""From tables to arrays: what the stage brings to the driver, and what bounds it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import RecommendConfig
from vizrec_spark.kernels.components import components
from vizrec_spark.recommend.attributes import Block, attribute_block, category_block, number_block
from vizrec_spark.recommend.content import Content
from vizrec_spark.recommend.duplicates import same_values
from vizrec_spark.recommend.items import Entries, strength
from vizrec_spark.recommend.log import Log
from vizrec_spark.recommend.rules import with_rules

LOG_USERS, LOG_PAIRS = 200_000, 10_000_000
"""Users and pairs of the log that are brought to the driver, to learn co-consumption and the blend from.

Some 50 bytes a pair, and on the way, as text ids, 40 to 100: that stays below Spark's limit for results of 1 GB.
"""


def gather_content(
    items: DataFrame,
    looks: DataFrame,
    neighbors: DataFrame,
    duplicates: DataFrame,
    mean_cosine: float,
    config: RecommendConfig,
) -> Content:
    """Everything of the catalogue but the log.

    `items`: the table; `looks` (item_id, content, looks: see table `compared_items`), `neighbors` (item_id,
    neighbor_id, cosine) and `duplicates` (item_id, group_id: an item of its group), all of one encoder, any of them
    empty. Some n · (4 · `similar.look_features` + 20 · look-alikes) bytes reach the driver.
    """
    table = with_rules(items, config.rerank).toArrow().sort_by("item_id")
    ids = _objects(table["item_id"])
    titles = _objects(table["title"])
    n = len(ids)
    known = table["item_id"].combine_chunks()
    features, hashes = _looks(looks, known)
    if config.weights.visual == 0:  # left out: new items' factors do not come from it either
        features = np.full((n, 1), np.nan, dtype=np.float32)
    # In one query with the look-alikes; a pair without a cosine is an item and the one that its group is named after.
    twin = duplicates.select("item_id", F.col("group_id").alias("neighbor_id"), F.lit(None).alias("cosine"))
    near = neighbors.select("item_id", "neighbor_id", "cosine").union(twin).toArrow()
    of, to = positions(known, near["item_id"]), positions(known, near["neighbor_id"])
    cosine = near["cosine"].to_numpy().astype(np.float32)
    strong = strength(cosine, mean_cosine)
    kept = (of >= 0) & (to >= 0) & (strong > 0)
    twins = (of >= 0) & (to >= 0) & np.isnan(cosine) & (of != to)
    same = same_values(hashes)
    group = components(n, np.concatenate([of[twins], same[0]]), np.concatenate([to[twins], same[1]]))
    categories = table["categories"].to_pylist()
    first = np.array([c[0] if c else "" for c in categories], dtype=object)
    category = (
        np.unique(first.astype(str), return_inverse=True)[1].astype(np.int64) if n else np.zeros(0, int)
    )
    category[first == ""] = -1
    added = pc.cast(pc.cast(table["added_at"], pa.timestamp("us")), pa.int64())
    return Content(
        ids,
        np.where([title is None for title in titles], ids, titles) if n else titles,
        _blocks(table, categories) if config.weights.attributes > 0 else [],
        features,
        Entries(of[kept], to[kept], strong[kept]),
        _floats(added) / 1e6,
        group,
        category,
        table["allowed"].to_numpy(zero_copy_only=False).astype(bool),
        _floats(table["boost"]).astype(np.float32),
    )


def gather_log(touched: DataFrame, content: Content) -> Log:
    """The pairs of at most about `LOG_USERS` users with `LOG_PAIRS` pairs, drawn by a hash of their id, on items of the
    catalogue.

    `touched`: see `history.touched_pairs`.
    """
    of_user = touched.groupBy("user_id").agg(F.count(F.lit(1)).alias("pairs"))
    counted = of_user.agg(F.count(F.lit(1)).alias("users"), F.sum("pairs").alias("pairs")).collect()[0]
    drawn = min(LOG_USERS / max(counted.users, 1), LOG_PAIRS / max(counted.pairs or 0, 1))
    if drawn < 1.0:
        share = int(1_000_000 * drawn)
        touched = touched.where(F.pmod(F.xxhash64("user_id"), F.lit(1_000_000)) < share)
    table = touched.select("user_id", "item_id", "weight", "preference", "first", "time").toArrow()
    item = positions(pa.array(content.ids, pa.string()), table["item_id"])
    names = pc.unique(table["user_id"]).sort()
    user = positions(names, table["user_id"])
    # In a fixed order, so that sums come out the same in every run.
    order = np.lexsort((item, user))
    order = order[item[order] >= 0]
    weight, preference, first, time = (
        _floats(table[name])[order] for name in ("weight", "preference", "first", "time")
    )
    return Log(
        user[order], item[order], weight, preference, first, time, len(names), len(content), drawn >= 1.0
    )


def gather_people(touched: DataFrame, content: Content) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """How many users like each item (n,), of all users, and whether anybody did anything with it: runs a job."""
    counts = touched.groupBy("item_id").agg(F.count_if(F.col("weight") > 0).alias("people")).toArrow()
    at = positions(pa.array(content.ids, pa.string()), counts["item_id"])
    people, met = np.zeros(len(content), dtype=np.int64), np.zeros(len(content), dtype=bool)
    people[at[at >= 0]] = counts["people"].to_numpy()[at >= 0]
    met[at[at >= 0]] = True
    return people, met


def gather_factors(table: DataFrame, ids: NDArray[np.object_], key: str) -> NDArray[np.float32]:
    """Factors (n, rank) float32 under the items `ids`, zeros where the table (`key`, factors) has no row."""
    rows = table.select(key, "factors").toArrow()
    at = positions(pa.array(ids, pa.string()), rows[key])
    if len(at) == 0:
        return np.zeros((len(ids), 1), dtype=np.float32)
    matrix = rows["factors"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(len(at), -1)
    made = np.zeros((len(ids), matrix.shape[1]), dtype=np.float32)
    made[at[at >= 0]] = matrix[at >= 0]
    return made


def positions(known: pa.Array, wanted: pa.ChunkedArray) -> NDArray[np.int64]:
    """Where each id stands in `known`, -1 for one that does not; in Arrow, so that no Python strings are made."""
    found = pc.fill_null(pc.index_in(wanted, value_set=known), -1)
    return np.asarray(found.to_numpy(), dtype=np.int64)


def _looks(looks: DataFrame, known: pa.Array) -> tuple[NDArray[np.float32], NDArray[np.object_]]:
    """Look features (n, l), NaN without a picture, and what the pictures are, None without one."""
    table = looks.select("item_id", "content", "looks").toArrow()
    hashes = np.full(len(known), None, dtype=object)
    if table.num_rows == 0:
        return np.full((len(known), 1), np.nan, dtype=np.float32), hashes
    at = positions(known, table["item_id"])
    flat = table["looks"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    rows = flat.reshape(len(at), -1)
    features = np.full((len(known), rows.shape[1]), np.nan, dtype=np.float32)
    features[at[at >= 0]] = rows[at >= 0]
    hashes[at[at >= 0]] = _objects(table["content"])[at >= 0]
    return features, hashes


def _blocks(table: pa.Table, categories: Sequence[Sequence[str] | None]) -> list[Block]:
    found = [category_block(categories), number_block("price", _floats(table["price"]))]
    maps = [dict(row) if row is not None else {} for row in table["attributes"].to_pylist()]
    for name in sorted({name for row in maps for name in row}):
        found.append(attribute_block(name, [row.get(name) for row in maps]))
    return [block for block in found if block is not None]


def _objects(column: pa.ChunkedArray) -> NDArray[np.object_]:
    return np.asarray(column.to_numpy(zero_copy_only=False).astype(object))


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
