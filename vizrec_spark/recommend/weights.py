"""The blend as rows of table `blend_weights`."""

from __future__ import annotations

import math

from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.recommend.blend import Blend
from vizrec_spark.recommend.sources import FEATURES
from vizrec_spark.tables.schemas import BLEND_WEIGHTS


def weight_rows(spark: SparkSession, blend: Blend) -> DataFrame:
    """One row a feature, in the columns of `BLEND_WEIGHTS`."""
    alone = {judged.name: judged for judged in blend.judged}
    rows = []
    for i, feature in enumerate(FEATURES):
        judged = alone.get(feature.name)
        rows.append(
            (
                feature.name,
                feature.part,
                float(blend.weights[i]),
                _known(blend.lo[i]),
                _known(blend.hi[i]),
                float(blend.scale[i]),
                blend.method,
                float(blend.share),
                *(
                    (None,) * 4
                    if judged is None
                    else map(_known, (judged.ndcg, judged.difference, judged.lo, judged.hi))
                ),
            )
        )
    return spark.createDataFrame(rows, BLEND_WEIGHTS.schema).coalesce(1)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
