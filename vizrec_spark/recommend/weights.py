"""The blend as rows of table `blend_weights`, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import DataFrame, Row, SparkSession

from vizrec_spark.errors import TableError
from vizrec_spark.recommend.assemble import Settings
from vizrec_spark.recommend.blend import Blend
from vizrec_spark.recommend.sources import FEATURES, NAMES
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
                blend.settings.half_life,
                blend.settings.regularization,
                *(
                    (None,) * 4
                    if judged is None
                    else map(_known, (judged.ndcg, judged.difference, judged.lo, judged.hi))
                ),
            )
        )
    return spark.createDataFrame(rows, BLEND_WEIGHTS.schema).coalesce(1)


def blend_of(rows: Sequence[Row]) -> Blend:
    """The blend that `weight_rows` has made `rows` of, without what was judged on the way to it.

    Raises: TableError for rows of other features than this program scores with.
    """
    by_name = {row.feature: row for row in rows}
    if set(by_name) != set(NAMES):
        unlike = sorted(set(by_name) ^ set(NAMES))
        raise TableError(
            f"Table {BLEND_WEIGHTS.name} has {len(rows)} rows, expected one for each of {len(NAMES)} features; "
            f"unlike: {', '.join(unlike)}. Run stage `recommend` of this version."
        )
    first = by_name[NAMES[0]]

    def column(name: str) -> NDArray[np.float64]:
        values = [by_name[feature][name] for feature in NAMES]
        return np.array([np.nan if value is None else value for value in values], dtype=np.float64)

    return Blend(
        first.method,
        Settings(first.half_life, first.regularization),
        column("weight"),
        column("scale"),
        column("weight_lo"),
        column("weight_hi"),
        share=first.learned_share,
    )


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
