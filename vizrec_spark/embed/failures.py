"""Pictures that cannot be encoded: how many may be, and what is written down about them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import EncoderError
from vizrec_spark.tables.schemas import QUARANTINE

ENOUGH_TO_JUDGE = 100
"""Failures from which on the share of one run counts by itself; below it a run of a few pictures would stop for one."""


class TooManyFailures(EncoderError):
    """More pictures than are allowed could not be encoded."""


class Pictures(NamedTuple):
    """Numbers of distinct pictures: of the shop, of those that failed in earlier runs, and that this run encodes."""

    shop: int
    failed_before: int
    waiting: int


def check_failures(
    refused: Mapping[str, int], pictures: Pictures, allowed: float, *, published: bool
) -> None:
    """Whether a run may go on after it has refused so many pictures for these reasons.

    Raises: TooManyFailures when more than the share `allowed` of the shop's pictures have no vector, earlier failures
    included, or, from `ENOUGH_TO_JUDGE` on, more than it of those that this run encodes.
    """
    failed = sum(refused.values())
    if failed + pictures.failed_before > allowed * pictures.shop:
        share = f"{failed + pictures.failed_before:,} of the {pictures.shop:,} pictures of the shop"
    elif failed >= ENOUGH_TO_JUDGE and failed > allowed * pictures.waiting:
        share = f"{failed:,} of the {pictures.waiting:,} pictures of this run"
    else:
        return
    told = ", ".join(f"{reason} {count:,}" for reason, count in sorted(refused.items()))
    outcome = (
        "The encoder stays published with the vectors that it has"
        if published
        else "The encoder was not published"
    )
    raise TooManyFailures(
        f"{share} could not be encoded (in this run {told}), more than embed.max_failed_share ({allowed:g}) allows. "
        f"{outcome}; table quarantine names the pictures. Check the encoder and the pictures."
    )


def quarantine_rows(failures: DataFrame, images: DataFrame) -> DataFrame:
    """A row of `quarantine` for each picture of an item that has no vector, also where several show the same bytes.

    failures: sha256, reason, message. images: sha256, item_id, path.
    """
    shown = images.select("sha256", "item_id", "path")
    return (
        failures.join(shown, "sha256")
        .select(
            F.lit("embed").alias("stage"),
            F.lit("images").alias("source"),
            "reason",
            "message",
            F.col("item_id").alias("key"),
            F.col("path").alias("record"),
        )
        .select(*QUARANTINE.schema.names)
    )
