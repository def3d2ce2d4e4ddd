"""Contract of what stage `evaluate` writes."""

from __future__ import annotations

from pyspark.sql.types import ArrayType, StructType

from vizrec_spark.tables.contract import Table, column
from vizrec_spark.tables.schemas.types import DOUBLE, INT, LONG, STRING

METRICS = Table(
    "metrics",
    "evaluate",
    "How good each model is, by run: a row a protocol, slice, model and metric.",
    StructType(
        [
            column("run_id", STRING, "The run that measured it."),
            column("protocol", STRING, "How the interactions were split, for instance user_time."),
            column("slice", STRING, "Users or items that it is about; `all`, or for instance cold_items."),
            column("model", STRING, "The model, as the configuration names it."),
            column("metric", STRING, "The metric with its list length, for instance ndcg@10."),
            column("value", DOUBLE, "Mean over the users; coverage and gini: of all lists together."),
            column(
                "lo",
                DOUBLE,
                "Lower end of its 95 % interval (bootstrap over users); null where it is no mean over users.",
                nullable=True,
            ),
            column("hi", DOUBLE, "Upper end of that interval.", nullable=True),
            column("n_users", LONG, "Users that it was measured on."),
            column(
                "reference", STRING, "The model that it is compared with; null for that one.", nullable=True
            ),
            column("difference", DOUBLE, "Model less reference, over the same users.", nullable=True),
            column("n_both", LONG, "Users that the difference was measured on.", nullable=True),
            column("difference_lo", DOUBLE, "Lower end of its 95 % interval (paired).", nullable=True),
            column("difference_hi", DOUBLE, "Upper end of that interval.", nullable=True),
            column(
                "p_value", DOUBLE, "Two-sided, of no difference (randomisation test, paired).", nullable=True
            ),
        ]
    ),
    ("run_id", "protocol", "slice", "model", "metric"),
    {
        "value_finite": "NOT isnan(value) AND abs(value) < 1e9",
        "interval_in_order": "lo IS NULL OR (NOT isnan(hi) AND lo <= hi)",
        "difference_in_order": "difference_lo IS NULL OR (NOT isnan(difference_hi) AND difference_lo <= difference_hi)",
        "n_users_positive": "n_users > 0",
        "n_both_of_users": "n_both IS NULL OR (n_both > 0 AND n_both <= n_users)",
        "p_value_share": "p_value IS NULL OR (p_value > 0 AND p_value <= 1)",
    },
)

WORST_LISTS = Table(
    "worst_lists",
    "evaluate",
    "Whom each model served worst in the last evaluation under each protocol, what was offered and what was missed.",
    StructType(
        [
            column("run_id", STRING, "The run that measured it."),
            column("protocol", STRING, "How the interactions were split, for instance user_time."),
            column("model", STRING, "The model, as the configuration names it."),
            column("metric", STRING, "`ndcg`, `diversity` or `miscalibration` with its list length."),
            column("place", INT, "1 for the worst."),
            column("user_id", STRING, "The user."),
            column("value", DOUBLE, "The metric of this user's list."),
            column("n_known", LONG, "Items that the user knew before."),
            column("n_relevant", LONG, "Items to find: those that the user met afterwards."),
            column(
                "first_hit",
                INT,
                "Rank of the first of them in the list, down to `evaluate.depth`; null where it has none.",
                nullable=True,
            ),
            column("offered", ArrayType(STRING), "The first ten items of the list, best first."),
            column(
                "missed", ArrayType(STRING), "Items to find that the metric did not see, by id, ten at most."
            ),
        ]
    ),
    ("run_id", "protocol", "model", "metric", "place"),
    {
        "value_finite": "NOT isnan(value) AND abs(value) < 1e9",
        "place_positive": "place > 0",
        "first_hit_positive": "first_hit IS NULL OR first_hit > 0",
        "n_relevant_positive": "n_relevant > 0",
        "n_known_not_negative": "n_known >= 0",
    },
)
