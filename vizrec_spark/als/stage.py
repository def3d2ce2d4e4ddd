"""Wires stage `als`: interactions to id map and factors."""

from __future__ import annotations

import hashlib

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark import __version__
from vizrec_spark.als.id_map import indexed, new_ids
from vizrec_spark.als.preferences import preferences
from vizrec_spark.als.train import train_als, under_own_ids
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.errors import TableError
from vizrec_spark.stage import Stage, StageContext, StageResult
from vizrec_spark.tables import Table, TableStore
from vizrec_spark.tables.schemas import ID_MAP, INTERACTIONS, ITEM_FACTORS, USER_FACTORS


def run(context: StageContext) -> StageResult:
    """Trains on all interactions, unless both factor tables already hold the model of this data and set-up."""
    config, tables = context.config.als, context.tables
    wanted = preferences(tables.read(INTERACTIONS), config.preference, config.max_weight).persist()
    try:
        model_id, n = _model_id(wanted, config)
        if n == 0 and not tables.read(INTERACTIONS).isEmpty():
            raise TableError(
                f"Table interactions has nothing to learn from ({config.preference} preferences): check "
                "`ingest.interactions`, or set als.preference."
            )
        if n == 0:
            return _no_model(context)
        if _holds(tables, USER_FACTORS, model_id) and _holds(tables, ITEM_FACTORS, model_id):
            return StageResult(
                notes=[f"model {model_id} is up to date: the same {n:,} preferences and settings"]
            )
        kinds = [
            wanted.select(F.lit(kind).alias("kind"), F.col(f"{kind}_id").alias("id"))
            for kind in ("user", "item")
        ]
        tables.ensure(ID_MAP)
        ids = tables.insert_missing(ID_MAP, new_ids(kinds[0].union(kinds[1]), tables.read(ID_MAP)))
        id_map = tables.read(ID_MAP)
        # Without a checkpoint directory MLlib silently ignores the interval and the lineage grows.
        context.spark.sparkContext.setCheckpointDir(config.checkpoint_dir)
        users, items = train_als(indexed(wanted, id_map), config)
        written = [
            ids,
            tables.overwrite(USER_FACTORS, under_own_ids(users, id_map, "user", model_id)),
            tables.overwrite(ITEM_FACTORS, under_own_ids(items, id_map, "item", model_id)),
        ]
        return StageResult(written, [f"model {model_id} learned from {n:,} {config.preference} preferences"])
    finally:
        wanted.unpersist()


def _no_model(context: StageContext) -> StageResult:
    """Nobody has done anything yet: a new shop is served without a model."""
    tables = context.tables
    tables.ensure(ID_MAP)
    written = [
        tables.overwrite(table, context.spark.createDataFrame([], table.schema))
        for table in (USER_FACTORS, ITEM_FACTORS)
    ]
    return StageResult(written, ["no interactions yet, so there is nothing to learn from and no model"])


STAGE = Stage("als", "train MLlib's ALS on the interactions", run)


def _model_id(wanted: DataFrame, config: AlsConfig) -> tuple[str, int]:
    """A fingerprint of the data and of what shapes the model, and the number of preferences."""
    digest = F.bit_xor(F.xxhash64("user_id", "item_id", "preference"))
    row = wanted.agg(digest.alias("digest"), F.count("*").alias("n")).collect()[0]
    set_up = config.model_dump_json(exclude={"checkpoint_dir", "checkpoint_interval"})
    text = f"{__version__}|{set_up}|{row.n}|{row.digest}"
    return "als-" + hashlib.sha256(text.encode()).hexdigest()[:12], row.n


def _holds(tables: TableStore, table: Table, model_id: str) -> bool:
    if not tables.exists(table):
        return False
    first = tables.read(table).select("model_id").first()
    return first is not None and first.model_id == model_id
