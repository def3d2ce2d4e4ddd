"""How good an approximate run is: its recall against the exact neighbours of a sample of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.errors import RecallError
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.scoring import ROUNDING, Metric, Nearest

BOOTSTRAP_SAMPLES = 2000


@dataclass(frozen=True)
class Recall:
    """mean and its interval [lo, hi], each 0 to 1, over `n_queries` queries."""

    mean: float
    lo: float
    hi: float
    n_queries: int


UNMEASURED = Recall(1.0, 1.0, 1.0, 0)
"""Where there is nothing to miss: all pairs were compared, or no query has a true neighbour."""


def require_recall(recall: Recall, method: str, setting: str, config: SimilarConfig) -> None:
    """Raises RecallError when the measured recall is below the target."""
    if recall.mean < config.target_recall:
        raise RecallError(
            f"Look-alikes by {method} ({setting}) have recall@{config.k} {recall.mean:.3f} on {recall.n_queries} "
            f"items, similar.target_recall is {config.target_recall}: nothing is published. Set similar.method: auto, "
            "or raise similar.probes, similar.tables or similar.rerank."
        )


def query_counts(n_items: int, tuning: int, judging: int) -> tuple[int, int]:
    """How many items to tune on and how many others to judge on: as many as asked for, at most half of all each."""
    judged = min(judging, max(1, n_items // 2))
    return min(tuning, max(1, n_items - judged)), judged


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


def recalls(found: Nearest, true: Nearest, metric: Metric) -> NDArray[np.float64]:
    """The recall of each query with a true neighbour (0 to 1), by the rule of `recall_at_k`, on arrays."""
    there = true.keys != PAD_KEY
    asked = there.any(axis=1)
    score = true.score(metric)[asked]
    bar = np.where(there[asked], score, np.inf).min(axis=1, keepdims=True)
    near_enough = found.score(metric)[asked] >= bar - np.maximum(np.abs(bar), 1e-3) * ROUNDING
    wanted = there[asked].sum(axis=1)
    return np.minimum(near_enough.sum(axis=1), wanted) / wanted


def recalls_of_rows(rows: pa.Table, item_ids: pa.Array, true: Nearest, metric: Metric) -> NDArray[np.float64]:
    """`recalls` of lists in rows (item_id, cosine, distance), for the queries `item_ids` of `true`."""
    query = pc.index_in(rows.column("item_id").cast(pa.string()), value_set=item_ids).to_numpy()
    value = rows.column("cosine" if metric == "cosine" else "distance").to_numpy()
    value = value if metric == "cosine" else -value
    order = np.lexsort((-value, query))
    query, value = query[order].astype(np.int64), value[order]
    place = np.arange(len(query)) - np.searchsorted(query, query)
    shape = (len(item_ids), true.keys.shape[1])
    keys, score = np.full(shape, PAD_KEY, dtype=np.int64), np.zeros(shape, dtype=np.float32)
    keys[query, place], score[query, place] = 0, value
    return recalls(Nearest(keys, score, -score), true, metric)


def recall_interval(recalls: Sequence[float], *, confidence: float = 0.95, seed: int = 0) -> Recall:
    """The mean of per-query recalls with a bootstrap interval that draws whole queries; lo <= mean <= hi.

    The neighbours of one query are found or missed together, so queries are the units and not pairs
    (percentile bootstrap, Efron 1979). Where all recalls are equal the bootstrap has nothing to draw from, and
    there alone the Wilson interval of that share of so many trials takes its place (Wilson 1927).

    Raises: ValueError when there is no query.
    """
    values = np.asarray(recalls, dtype=np.float64)
    if values.size == 0:
        raise ValueError("expected at least one query to take the recall from, got none")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        lo, hi = _wilson(mean, values.size, confidence)
    else:
        generator = np.random.default_rng(seed)
        drawn = generator.integers(values.size, size=(BOOTSTRAP_SAMPLES, values.size))
        tail = (1 - confidence) / 2
        lo, hi = np.quantile(values[drawn].mean(axis=1), [tail, 1 - tail])
    # Rounding may put an end that is equal to the mean a last bit past it.
    return Recall(mean, min(mean, float(lo)), max(mean, float(hi)), values.size)


def _wilson(share: float, n: int, confidence: float) -> tuple[float, float]:
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))
