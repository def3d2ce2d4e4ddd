"""Contracts of what stage `als` writes."""

from __future__ import annotations

from pyspark.sql.types import StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import INT, STRING, VECTOR

ID_MAP = Table(
    "id_map",
    "als",
    "Integers that MLlib needs for string ids. Append-only: an id keeps its number for ever.",
    StructType(
        [
            column("kind", STRING, "`user` or `item`."),
            column("id", STRING, "The user_id or item_id."),
            column("index", INT, "Its number: 0, 1, 2, ... within the kind."),
        ]
    ),
    ("kind", "id"),
    {"index_from_zero": "index >= 0", "kind_known": "kind IN ('user', 'item')"},
    partition_by=("kind",),
)

_MODEL_ID = column(
    "model_id", STRING, "Fingerprint of the training set-up and data; equal in both factor tables."
)

USER_FACTORS = Table(
    "user_factors",
    "als",
    "Taste of each user with interactions, in the space of the ALS model.",
    StructType(
        [_MODEL_ID, column("user_id", STRING, "The user."), column("factors", VECTOR, "`rank` numbers.")]
    ),
    ("user_id",),
    {"factors_not_empty": "size(factors) > 0"},
)

ITEM_FACTORS = Table(
    "item_factors",
    "als",
    "Each item with interactions, in the space of the ALS model.",
    StructType(
        [_MODEL_ID, column("item_id", STRING, "The item."), column("factors", VECTOR, "`rank` numbers.")]
    ),
    ("item_id",),
    {"factors_not_empty": "size(factors) > 0"},
)
