"""What an item looks like in few numbers: its unit vector less the catalogue's mean, on the leading directions.

Pooled features of a network share a large mean; a cosine to a user's profile is no better than chance until it is
taken off. What comes after the leading directions is noise to a model that learns from some thousand items.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.kernels.projection import fit_projection
from vizrec_spark.similar.arrow import matrix_to_vectors, vectors_to_matrix
from vizrec_spark.similar.centre import Centre
from vizrec_spark.similar.sampling import draw_ids, learning_seed
from vizrec_spark.similar.scoring import unit_rows
from vizrec_spark.similar.tuning import SAMPLE

LOOKS = "item_id string, looks array<float>"


@dataclass(frozen=True)
class Axes:
    """mean: d float32, of the unit vectors; basis: d × l float32, orthonormal: the direction of the mean, and those of
    most variance beside it, largest first."""

    mean: NDArray[np.float32]
    basis: NDArray[np.float32]

    def looks(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where vectors (n × d, raw) lie: n × l float32."""
        return np.asarray((unit_rows(vectors) - self.mean) @ self.basis, dtype=np.float32)


def look_axes(vectors: DataFrame, centre: Centre, config: SimilarConfig) -> Axes:
    """Runs a job: the axes of `vectors` (item_id, vector), of which `centre` is the centre.

    At most `config.look_features`, learned on the driver from at most `SAMPLE` vectors, those drawn by a hash of the
    item: 40 MB at 1,280 dimensions.
    """
    drawn = vectors
    if centre.n_items > SAMPLE:
        ids = draw_ids(vectors.select("item_id"), SAMPLE, learning_seed(config)).select("item_id")
        drawn = vectors.join(F.broadcast(ids), "item_id", "left_semi")
    # In order of id, so that every run adds up the same numbers in the same order.
    sample = vectors_to_matrix(drawn.select("item_id", "vector").toArrow().sort_by("item_id")["vector"])
    return Axes(centre.mean, fit_projection(unit_rows(sample), config.look_features, seed=config.seed))


def item_looks(vectors: DataFrame, axes: Axes) -> DataFrame:
    """`item_id`, `looks` of `vectors` (item_id, vector)."""

    def project(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                looks = axes.looks(vectors_to_matrix(batch.column("vector")))
                yield pa.RecordBatch.from_arrays(
                    [batch.column("item_id"), matrix_to_vectors(looks)], ["item_id", "looks"]
                )

    return vectors.select("item_id", "vector").mapInArrow(project, LOOKS)
