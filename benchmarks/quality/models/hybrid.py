"""The product itself: stages `als` and `recommend` on tables that hold the training window and nothing else."""

from __future__ import annotations

from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from benchmarks.quality.window import Model, Window
from vizrec_spark.als.stage import STAGE as ALS
from vizrec_spark.config import Config
from vizrec_spark.config.models import TablesConfig
from vizrec_spark.recommend.stage import STAGE as RECOMMEND
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import Stamp, TableStore
from vizrec_spark.tables.ddl import literal
from vizrec_spark.tables.schemas import (
    COMPARED_ITEMS,
    ENCODERS,
    INTERACTIONS,
    ITEM_NEIGHBORS,
    ITEMS,
    NEAR_DUPLICATES,
    RECOMMENDATIONS,
    SIMILARITY_QUALITY,
    USERS,
)

_CONTENT = (ITEMS, ENCODERS, ITEM_NEIGHBORS, SIMILARITY_QUALITY, COMPARED_ITEMS, NEAR_DUPLICATES)


def hybrid(window: Window) -> DataFrame:
    """All parts together, as configured."""
    return _recommended(window, "hybrid", _config(window, {}))


def without(part: str) -> Model:
    """The hybrid with one part's weight at 0."""
    return lambda window: _recommended(window, f"without_{part}", _config(window, {part: 0.0}))


def without_new(window: Window) -> DataFrame:
    """The hybrid that may offer what somebody has met, and nothing else."""
    config = _config(window, {})
    recommend = config.recommend.model_dump()
    met = [literal(row.item_id) for row in window.known.select("item_id").distinct().collect()]
    rule = f"item_id IN ({', '.join(met)})"
    recommend["rerank"] |= {"exploration": 0.0, "rules": (*recommend["rerank"]["rules"], rule)}
    return _recommended(
        window, "without_new", Config.model_validate(config.model_dump() | {"recommend": recommend})
    )


def _recommended(window: Window, name: str, config: Config) -> DataFrame:
    tables = _training_tables(window)
    _run(RECOMMEND, window, config, tables)
    # The next model writes the same table, so this one's lists are put aside.
    place = str(window.folder / f"lists-{name}")
    tables.read(RECOMMENDATIONS).select("user_id", "rank", "item_id").write.mode("overwrite").parquet(place)
    lists = window.spark.read.parquet(place)
    # Cold items are ranked among themselves: by where they stand in the list of everything.
    offered = lists.join(window.candidates, "item_id", "left_semi")
    entries = F.array_sort(F.collect_list(F.struct("rank", "item_id")))
    return (
        offered.groupBy("user_id")
        .agg(entries.alias("_e"))
        .select("user_id", F.col("_e.item_id").alias("items"))
    )


def _training_tables(window: Window) -> TableStore:
    """The tables of this window, made once."""
    config = TablesConfig(root=str(window.folder / "tables"))
    tables = TableStore(window.spark, config, Stamp(window.name, "benchmark", "0" * 16))
    if tables.exists(USERS):
        return tables
    for table in _CONTENT:
        if window.tables.exists(table):
            tables.clone_from(table, window.tables)
    tables.overwrite(INTERACTIONS, window.known)
    _run(ALS, window, _config(window, {}), tables)
    tables.overwrite(USERS, window.users)
    return tables


def _config(window: Window, weights: dict[str, float]) -> Config:
    size = max(window.depth, 1)
    recommend: dict[str, Any] = window.config.recommend.model_dump()
    recommend["k"] = size
    recommend["weights"] = {**recommend["weights"], **weights}
    if window.cold:  # new items are ranked among themselves: all are candidates, and all of a list is theirs
        recommend["rerank"] = {**recommend["rerank"], "exploration": 1.0}
        every = dict.fromkeys(("new", "visual", "attributes", "fresh"), size)
        recommend["candidates"] = {**recommend["candidates"], **every}
    return Config.model_validate(
        {**window.config.model_dump(), "als": window.als.model_dump(), "recommend": recommend}
    )


def _run(stage: Any, window: Window, config: Config, tables: TableStore) -> None:
    stage.run(StageContext(window.spark, config, tables, window.name))
