"""How good an approximate run is: its recall against the exact neighbours of a sample of queries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import DoubleType, StringType, StructField, StructType

from vizrec_spark.similar.arrow import vectors_to_matrix
from vizrec_spark.similar.centre import Centre
from vizrec_spark.similar.lists import ArrowFunction
from vizrec_spark.similar.scoring import ROUNDING, Metric, unit_rows

BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True)
class Recall:
    """mean and its interval [lo, hi], each 0 to 1, over `n_queries` queries."""

    mean: float
    lo: float
    hi: float
    n_queries: int


def sample_queries(vectors: DataFrame, n_queries: int, *, seed: int) -> DataFrame:
    """`n_queries` rows of `vectors`, drawn by a hash of item_id and seed: the same ones in every run."""
    return vectors.orderBy(F.xxhash64("item_id", F.lit(seed)), "item_id").limit(n_queries)


def recall_at_k(approximate: DataFrame, exact: DataFrame, *, metric: Metric = "cosine") -> DataFrame:
    """The recall of each query of `exact`: item_id, recall double (0 to 1).

    Both frames as `exact.exact_neighbors` returns them; queries that only `approximate` knows are left out.
    An exact neighbour counts as found if it is in the list, or if the list holds another as near as the
    last exact one (equally near ones are interchangeable: duplicates of one picture, say).
    """
    value = F.col("cosine") if metric == "cosine" else -F.col("distance")
    wanted = exact.groupBy("item_id").agg(F.count(F.lit(1)).alias("n"), F.min(value).alias("bar"))
    near_enough = value >= F.col("bar") - F.greatest(F.abs("bar"), F.lit(1e-3)) * float(ROUNDING)
    found = (
        approximate.join(wanted, "item_id")
        .where(near_enough)
        .groupBy("item_id")
        .agg(F.count(F.lit(1)).alias("found"))
    )
    share = F.least(F.coalesce("found", F.lit(0)), F.col("n")) / F.col("n")
    return wanted.join(found, "item_id", "left").select("item_id", share.cast("double").alias("recall"))


def recall_interval(recalls: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Recall:
    """The mean of per-query recalls with a bootstrap interval that draws whole queries.

    The neighbours of one query are found or missed together, so queries are the units and not pairs
    (percentile bootstrap, Efron 1979). Where all recalls are equal the bootstrap has nothing to draw from;
    then, and wherever it is wider, the Wilson interval of that share of queries takes its place (Wilson 1927).

    Raises: ValueError when there is no query.
    """
    values = np.asarray(recalls, dtype=np.float64)
    if values.size == 0:
        raise ValueError("expected at least one query to take the recall from, got none")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        lo, hi = _wilson(mean, values.size, confidence)
        return Recall(mean, lo, hi, values.size)
    generator = np.random.default_rng(seed)
    drawn = generator.integers(values.size, size=(BOOTSTRAP_SAMPLES, values.size))
    tail = (1 - confidence) / 2
    lo, hi = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
    return Recall(mean, float(lo), float(hi), values.size)


def centred_cosines(neighbors: DataFrame, vectors: DataFrame, centre: Centre) -> DataFrame:
    """The cosine that each neighbour pair has after centring: item_id, neighbor_id, centred_cosine double.

    With unit vectors u, v and mean m: (u − m)·(v − m) = u·v − u·m − v·m + |m|². This is what hashing sees,
    so `lsh.choose_params` takes a sample of it; a pair with a vector equal to the mean has 0.
    """
    offset = vectors.select("item_id", "vector").mapInArrow(_offsets(centre), _OFFSET_SCHEMA)
    other = offset.select(
        F.col("item_id").alias("neighbor_id"), F.col("dot").alias("dot2"), F.col("own").alias("own2")
    )
    inner = F.col("cosine") - F.col("dot") - F.col("dot2") + F.lit(centre.mean_cosine)
    lengths = F.sqrt(F.col("own") * F.col("own2"))
    return (
        neighbors.join(offset, "item_id")
        .join(other, "neighbor_id")
        .select(
            "item_id",
            "neighbor_id",
            F.when(lengths > 0, F.greatest(F.lit(-1.0), F.least(F.lit(1.0), inner / lengths)))
            .otherwise(0.0)
            .alias("centred_cosine"),
        )
    )


_OFFSET_SCHEMA = StructType(
    [
        StructField("item_id", StringType(), False),
        StructField("dot", DoubleType(), False),
        StructField("own", DoubleType(), False),
    ]
)


def _offsets(centre: Centre) -> ArrowFunction:
    def offsets(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows == 0:
                continue
            units = unit_rows(vectors_to_matrix(batch.column("vector")))
            dot = (units @ centre.mean).astype(np.float64)
            own = np.square(units - centre.mean, dtype=np.float64).sum(axis=1)
            yield pa.RecordBatch.from_arrays(
                [batch.column("item_id"), pa.array(dot), pa.array(own)], names=_OFFSET_SCHEMA.names
            )

    return offsets


def _wilson(share: float, n: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
