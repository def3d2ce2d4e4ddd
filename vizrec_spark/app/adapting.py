"""Stage `adapt`, put together with the encoders of stage `embed`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.adapt.encoders import Encoded, KerasFile
from vizrec_spark.adapt.stage import check, run
from vizrec_spark.config.models import EmbedConfig
from vizrec_spark.embed.resolve import built_encoder, ids_of, ready_encoder
from vizrec_spark.embed.udf import embed_images, ship_model
from vizrec_spark.errors import EncoderError
from vizrec_spark.stage import Stage, StageContext
from vizrec_spark.tables.encoders import current_encoder
from vizrec_spark.tables.fine_tuned import SparkShelf


class EmbedEncoders:
    """`adapt.encoders.Encoders` as stage `embed` has them."""

    def keras_file(self, context: StageContext) -> KerasFile:
        """See `Encoders.keras_file`."""
        config = context.config.embed
        # `check` has refused .onnx files, the only encoders of another kind.
        built, _ = built_encoder(config, SparkShelf(context.tables))
        stored = current_encoder(context.tables, config)
        if stored not in ids_of(built.encoder_id):
            raise EncoderError(
                f"the configuration makes encoder {built.encoder_id}, the stored vectors are those of {stored}: the "
                "weights, the model file or the release of Keras is another. Run embed with it, then adapt."
            )
        return KerasFile(built.encoder_id, built.path, built.input_size, built.dimension)

    def encode(self, context: StageContext, config: EmbedConfig, pictures: DataFrame) -> Encoded:
        """See `Encoders.encode`."""
        embedding = context.config.model_copy(update={"embed": config})
        ready = ready_encoder(replace(context, config=embedding))
        tasks = 4 * context.spark.sparkContext.defaultParallelism
        rows = embed_images(
            pictures.repartition(tasks, "sha256"),
            ship_model(context.spark, ready.path),
            ready.encoder_id,
            batch_size=config.batch_size,
            max_pixels=context.config.ingest.images.max_pixels,
            input_size=ready.input_size,
            threads=config.threads,
            runtime=ready.choice.runtime,
            precision=ready.choice.precision,
        )
        made = rows.where(F.col("vector").isNotNull()).select("sha256", "vector")
        named = config.model_copy(update={"precision": ready.choice.precision})
        return Encoded(ready.encoder_id, ready.dimension, named, made)


STAGE = Stage(
    "adapt", "teach an encoder the labels of this catalogue", partial(run, encoders=EmbedEncoders()), check
)
