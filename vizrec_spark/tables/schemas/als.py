"""Contracts of what stage `als` writes."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, MapType, StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import DOUBLE, INT, LONG, STRING, VECTOR

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

# The model in service may be old, and is to be read when another has just been learned.
_LOG_DAYS = 365

USER_FACTORS = Table(
    "user_factors",
    "als",
    "Taste of each user with interactions, in the space of the ALS model.",
    StructType(
        [_MODEL_ID, column("user_id", STRING, "The user."), column("factors", VECTOR, "`rank` numbers.")]
    ),
    ("user_id",),
    {"factors_not_empty": "size(factors) > 0"},
    log_days=_LOG_DAYS,
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
    log_days=_LOG_DAYS,
)

ALS_MODELS = Table(
    "als_models",
    "als",
    "Every model that was trained, and how it went; the factor tables hold the latest.",
    StructType(
        [
            _MODEL_ID,
            column("id_map_version", LONG, "Version of table `id_map` whose numbers the model uses."),
            column("preferences", LONG, "Pairs of a user and an item that it learned from."),
            column("rank", INT, "Length of the factor vectors."),
            column("iterations", INT, "Iterations."),
            column("blocks", INT, "Blocks of users, and of items."),
            column("linear_algebra", STRING, "What MLlib multiplied with on the driver."),
            column(
                "losses",
                ArrayType(DOUBLE),
                "Objective by preference after each iteration on a sample of users, trained alone; empty: no sample.",
            ),
            column(
                "loss", DOUBLE, "Objective by preference of the model itself on that sample.", nullable=True
            ),
            column("path", STRING, "Folder of the model in MLlib's own format.", nullable=True),
            column(
                "settings",
                MapType(STRING, DOUBLE),
                "Settings of section `als` by name; without `half_life_days`, all events count alike.",
            ),
        ]
    ),
    ("model_id",),
    {"sizes_positive": "preferences > 0 AND rank > 0 AND iterations > 0 AND blocks > 0"},
    version=2,
)

TUNING_TRIALS = Table(
    "tuning_trials",
    "tune",
    "What was tried for ALS, and how well it foretold the interactions that were held out.",
    StructType(
        [
            column("study_id", STRING, "Fingerprint of the data, the space and what is not searched."),
            column("trial", INT, "0, 1, 2, ... within the study."),
            column(
                "parameters",
                MapType(STRING, DOUBLE),
                "Settings of section `als` by name; without `half_life_days`, all events count alike.",
            ),
            column("metric", STRING, "What was measured, for example ndcg@20."),
            column("value", DOUBLE, "Mean over the users with held-out items, 0 to 1; larger is better."),
        ]
    ),
    ("study_id", "trial"),
    {"trial_from_zero": "trial >= 0", "value_share": "value BETWEEN 0 AND 1"},
)
