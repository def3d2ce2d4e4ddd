"""What a model of this benchmark is given, and what it has to give back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.config import Config
from vizrec_spark.config.models import AlsConfig
from vizrec_spark.tables import TableStore


@dataclass(frozen=True)
class Window:
    """One split, seen from its training side: nothing here comes from the test part.

    train, validation: rows of table `interactions`; known: both. relevant: `user_id`, `item_id` to be found, which a
    model must not look at. users: `user_id` to recommend for. items: table `items`. vectors: `item_id`, `vector`.
    candidates: `item_id` that may be recommended. als: settings tuned on `validation` alone. tables: all tables, of
    which a model reads nothing about interactions; folder: scratch for this split.
    """

    name: str
    spark: SparkSession
    config: Config
    tables: TableStore
    folder: Path
    train: DataFrame
    validation: DataFrame
    known: DataFrame
    relevant: DataFrame
    users: DataFrame
    items: DataFrame
    vectors: DataFrame
    candidates: DataFrame
    als: AlsConfig
    depth: int
    cold: bool
    seed: int


Model = Callable[[Window], DataFrame]
"""`user_id` with `rank`, `item_id` a row, or with `items` (array<string>, best first), for `Window.users`, of
`Window.candidates` without what the user knows."""
