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
    """One split, seen from its training side: of the test part there are the users and, cold items, the candidates.

    known: rows of table `interactions`. tuning: rows to learn from and rows to judge by, both from within `known`, for
    models that know items by who met them: what cold items are judged by tells them nothing. users: `user_id` to
    recommend for. items: table `items`. vectors: `item_id`, `vector`. candidates: `item_id` that may be recommended.
    als: settings tuned on `tuning`. tables: what comes from catalogue and pictures alone, without interactions, and
    `config` names the same place; folder: scratch for this split, where models keep what they have learned.
    """

    name: str
    spark: SparkSession
    config: Config
    tables: TableStore
    folder: Path
    known: DataFrame
    tuning: tuple[DataFrame, DataFrame]
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
