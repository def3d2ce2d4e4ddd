"""Preferences ready to learn from, kept at hand, with a count of what was left out and why."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import AlsConfig
from vizrec_spark.retrieval.preferences import core_round, outliers, preferences


class Prepared(NamedTuple):
    """`frame` (`user_id`, `item_id`, `preference`), persisted; `size` its rows; sentences on what was left out."""

    frame: DataFrame
    size: int
    left_out: list[str]


_CUT = 8  # rounds
_MOST_ROUNDS = 100


@contextmanager
def prepared(interactions: DataFrame, config: AlsConfig) -> Iterator[Prepared]:
    """The preferences of `interactions` (see `preferences`) cut down to their core, while the body runs.

    Runs Spark jobs: the core has no closed form, so rounds are counted until one takes nothing away, or 100 have been.
    Every few rounds the lineage is cut, by a checkpoint where the Spark context has a directory for them.
    """
    left_out = []
    if config.outlier_fence is not None:
        bots = outliers(interactions, config.outlier_fence).agg(
            F.count(F.lit(1)).alias("users"), F.coalesce(F.sum("events"), F.lit(0)).alias("events")
        )
        found = bots.collect()[0]
        left_out.append(f"left out {found.users:,} users beyond the fence, with {found.events:,} events")
    frame = preferences(interactions, config).persist()
    try:
        size = whole = frame.count()
        rounds = 0
        settled = config.min_user_items == 1 and config.min_item_users == 1
        while not settled and rounds < _MOST_ROUNDS:
            rounds += 1
            peeled = core_round(frame, config.min_user_items, config.min_item_users)
            if rounds % _CUT == 0:
                peeled = _without_lineage(peeled)
            before, frame = frame, peeled.persist()
            left, size = size, frame.count()
            before.unpersist()
            settled = size == left
        if size < whole:
            how = "" if settled else ", then stopped, though some of the rest are thin"
            left_out.append(
                f"left out {whole - size:,} of {whole:,} preferences in {rounds} rounds{how}: users with fewer than "
                f"{config.min_user_items} items, items with fewer than {config.min_item_users} users"
            )
        yield Prepared(frame, size, left_out)
    finally:
        frame.unpersist()


def _without_lineage(frame: DataFrame) -> DataFrame:
    kept = frame.sparkSession.sparkContext.getCheckpointDir() is not None
    return frame.checkpoint() if kept else frame.localCheckpoint()
