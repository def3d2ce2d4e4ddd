"""Which items are learnt from, tuned on and judged on: by a hash of id and seed, the same ones under either plan.

An item's place depends on its id and the seed alone, so a sample does not change with how the input is partitioned, and
hardly with what else is there. Spark's `xxhash64` of several columns goes on from the hash of the first; so what Spark
orders by can be had from hashes of ids that are there already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models import SimilarConfig
from vizrec_spark.similar.quality import query_counts
from vizrec_spark.similar.tuning import SAMPLE, cell_sample

# Of XXH64 (https://github.com/Cyan4973/xxHash), as Spark's xxhash64 has them.
_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)

TURNS = 3
"""How many samples to judge on are apart from each other: as many as there are methods to try."""


@dataclass(frozen=True)
class Samples:
    """Item numbers. learning: to learn from, in random order; tuning: ascending; others: all that are not tuned on, in
    random order; judged: how many of them are judged on at a time."""

    learning: NDArray[np.int64]
    tuning: NDArray[np.int64]
    others: NDArray[np.int64]
    judged: int

    def judging(self, turn: int) -> NDArray[np.int64]:
        """The numbers to judge on at the `turn`-th attempt (from 0), ascending: others than before, while they last."""
        return np.sort(self.others[turn_of(turn, self.judged, len(self.others))])


def turn_of(turn: int, judged: int, others: int) -> NDArray[np.int64]:
    """The places, of so many `others`, that are judged on at an attempt."""
    return (turn * judged + np.arange(judged)) % others


def draw_samples(hashes: NDArray[np.int64], config: SimilarConfig) -> Samples:
    """Samples of items 0 to n − 1 from the `xxhash64` of their ids (n); ids ascend with the numbers."""
    n_items = len(hashes)
    n_tuning, n_judging = query_counts(n_items, config.tuning_queries, config.recall_queries)
    queries = _drawn(hashes, query_seed(config))
    learning = _drawn(hashes, learning_seed(config))[: sample_size(n_items, config)]
    return Samples(learning, np.sort(queries[:n_tuning]), queries[n_tuning:], n_judging)


def query_seed(config: SimilarConfig) -> int:
    """The seed by which queries are drawn."""
    return config.seed


def learning_seed(config: SimilarConfig) -> int:
    """The seed by which items to learn from are drawn."""
    return config.seed + 1


def sample_size(n_items: int, config: SimilarConfig) -> int:
    """How many items the cells are learnt from; the reduction takes the first `SAMPLE` of them."""
    return min(n_items, max(SAMPLE, cell_sample(n_items, config.cells)))


def drawing(seed: int) -> Column:
    """What items are ordered by, from column item_id."""
    return F.xxhash64("item_id", F.lit(seed).cast("long"))


def draw_ids(ids: DataFrame, size: int, seed: int) -> DataFrame:
    """The first `size` of `ids` (item_id) in the order of the draw: item_id, drawn. No other column is looked at."""
    return ids.select("item_id", drawing(seed).alias("drawn")).orderBy("drawn", "item_id").limit(size)


def mixed(hashes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """`drawing(seed)` of ids whose `xxhash64` is known."""
    with np.errstate(over="ignore"):
        word = _rotated(np.uint64(seed % 2**64) * _P2, 31) * _P1
        found = (hashes.view(np.uint64) + (_P5 + np.uint64(8))) ^ word
        found = _rotated(found, 27) * _P1 + _P4
        found = (found ^ (found >> np.uint64(33))) * _P2
        found = (found ^ (found >> np.uint64(29))) * _P3
        found ^= found >> np.uint64(32)
    return found.view(np.int64)


def _drawn(hashes: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    return np.argsort(mixed(hashes, seed), kind="stable")


def _rotated(word, bits: int):  # type: ignore[no-untyped-def]
    return (word << np.uint64(bits)) | (word >> np.uint64(64 - bits))
