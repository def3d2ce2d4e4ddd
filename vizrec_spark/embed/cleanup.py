"""The encoders whose vectors the tables hold, and the removal of those that are no longer wanted."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import EncoderError
from vizrec_spark.stage import StageContext
from vizrec_spark.tables import TableStore, Written
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.registry import is_adapted, serving
from vizrec_spark.tables.schemas import EMBEDDINGS, ENCODERS, ENCODING_FAILURES, IMAGE_LABELS


def encoders_in_use(tables: TableStore) -> DataFrame:
    """encoder_id string, vectors long (0 or more), configurations array<string>: one row an encoder.

    An encoder without configuration is one whose first run has not ended.
    """
    vectors = tables.read_or_empty(EMBEDDINGS).groupBy("encoder_id").agg(F.count("*").alias("vectors"))
    named = (
        tables.read_or_empty(ENCODERS)
        .groupBy("encoder_id")
        .agg(F.sort_array(F.collect_list("config_key")).alias("configurations"))
    )
    return vectors.join(named, "encoder_id", "full").select(
        "encoder_id",
        F.coalesce("vectors", F.lit(0)).alias("vectors"),
        F.coalesce("configurations", F.array().cast("array<string>")).alias("configurations"),
    )


def remove_other_encoders(context: StageContext) -> list[Written]:
    """Deletes the vectors, labels and names of every encoder but the configured one and, if it is adapted, its base.

    The names go first: killed in between, no stage finds an encoder that has lost its vectors. Files stay until a
    vacuum, and tables of later stages until these run again.

    Raises: EncoderError when the configured encoder has no vectors, as everything would go.
    """
    tables = context.tables
    kept = current_encoder(tables, context.config.embed)
    if kept is None:
        raise EncoderError(
            "the configured encoder has no embeddings yet, so removing the others would leave none: run stage `embed` "
            "with this configuration first."
        )
    names = [kept]
    if is_adapted(context.config.embed.encoder):
        names.append(serving(tables, context.config.embed.encoder).base_encoder_id)
    other = ~F.col("encoder_id").isin(names)
    return [tables.delete(table, other) for table in (ENCODERS, EMBEDDINGS, ENCODING_FAILURES, IMAGE_LABELS)]
