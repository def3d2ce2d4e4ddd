"""The exact block join: every query against every item, as products of matrix blocks.

Each task holds its share of the query blocks with their running k best, and nothing else grows, while base
blocks stream past. Rows that pass between the JVM and Python are pairs of blocks, never pairs of items, and
a block's matrix passes once a task.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.kernels.topk import PAD_KEY
from vizrec_spark.similar.admits import admission_between, allowed
from vizrec_spark.similar.blocks import pack_blocks, unpack_matrix
from vizrec_spark.similar.lists import LISTS_SCHEMA, ArrowFunction, lists_batch, merge_lists
from vizrec_spark.similar.scoring import Metric, Nearest, merge_nearest, nearest_in_block

NO_FILTERS = FiltersConfig()


def exact_neighbors(
    queries: DataFrame,
    base: DataFrame,
    *,
    k: int,
    metric: Metric = "cosine",
    block_rows: int = 2048,
) -> DataFrame:
    """The k nearest items of `base` for each of `queries` (both: item_id string unique, vector array<float>).

    Returns item_id, rank (1 = nearest), neighbor_id, cosine, distance (`lists.NEIGHBORS_SCHEMA`), ranked by
    `metric`, equal values by neighbor_id. An item is not its own neighbour. Handing in the same DataFrame
    twice asks for the self-join; `exact_block_join` is for blocks that are packed already.
    """
    base_blocks = pack_blocks(base, block_rows=block_rows)
    query_blocks = base_blocks if queries is base else pack_blocks(queries, block_rows=block_rows)
    return exact_block_join(query_blocks, base_blocks, k=k, metric=metric, block_rows=block_rows)


def exact_block_join(
    query_blocks: DataFrame,
    base_blocks: DataFrame,
    *,
    k: int,
    metric: Metric = "cosine",
    block_rows: int = 2048,
    filters: FiltersConfig = NO_FILTERS,
) -> DataFrame:
    """`exact_neighbors` of blocks (`blocks.BLOCKS_SCHEMA`) that were packed with the same `block_rows`.

    `filters` say who may be a look-alike of whom, where blocks have a column admits.

    Spark packs a base once for both sides of a self-join by itself, except when the vectors come from a
    cached DataFrame: then persist the blocks instead of the vectors.

    In a self-join, where the queries give work enough to all cores, a task goes through all base blocks; otherwise
    there are as many tasks a query block as partitions of the base, each of which sends k rows a query to the merge.
    For each query of its share a task's Python side needs dimension × 4 + k × 16 bytes, and some 64 MiB of blocks in
    passing.
    """
    queries = query_blocks.select(*(F.col(name).alias(f"query_{name}") for name in query_blocks.columns))
    if query_blocks is base_blocks:
        base_blocks = base_blocks.coalesce(1)
    # A Cartesian product streams the left side and goes through the buffered right side for each of its
    # rows, so a matrix is needed in Python only where the other side is at its first row. The hint keeps
    # Spark from joining in another way, which would also gather one side on the driver.
    pairs = (
        base_blocks.withColumn("first_base", _first_of_partition())
        .crossJoin(queries.withColumn("first_query", _first_of_partition()).hint("shuffle_replicate_nl"))
        .withColumn("matrix", F.when(F.col("first_query"), F.col("matrix")))
        .withColumn("query_matrix", F.when(F.col("first_base"), F.col("query_matrix")))
        .drop("first_base", "first_query")
    )
    lists = pairs.mapInArrow(_join_blocks(k, metric, block_rows, filters), LISTS_SCHEMA)
    return merge_lists(lists, k=k, metric=metric)


def _first_of_partition() -> Column:
    # The lower 33 bits of these ids count the rows of a partition in the order in which they come.
    return F.monotonically_increasing_id().bitwiseAND((1 << 33) - 1) == 0


def _join_blocks(k: int, metric: Metric, block_rows: int, filters: FiltersConfig) -> ArrowFunction:
    def join(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        base_matrix: tuple[int, NDArray[np.float32]] | None = None
        query_matrices: dict[int, NDArray[np.float32]] = {}
        best: dict[int, Nearest] = {}
        query_ids: dict[int, pa.Array] = {}
        base_ids: dict[int, pa.Array] = {}
        for batch in batches:
            for pair in range(batch.num_rows):
                block, query_block = batch["block"][pair].as_py(), batch["query_block"][pair].as_py()
                ids = base_ids.setdefault(block, batch["ids"][pair].values)
                asked = query_ids.setdefault(query_block, batch["query_ids"][pair].values)
                if batch["matrix"][pair].is_valid:
                    base_matrix = block, _matrix(batch, "", pair)
                if batch["query_matrix"][pair].is_valid:
                    # Copied, because as a view it would keep its whole batch alive.
                    query_matrices[query_block] = _matrix(batch, "query_", pair).copy()
                if base_matrix is None or base_matrix[0] != block or query_block not in query_matrices:
                    raise RuntimeError(
                        f"expected block {block} and query block {query_block} to have come before, but "
                        "Spark did not join them by a Cartesian product in row order"
                    )
                same = pc.fill_null(pc.index_in(asked, value_set=ids), PAD_KEY)
                found = nearest_in_block(
                    query_matrices[query_block],
                    base_matrix[1],
                    k,
                    metric,
                    same.to_numpy().astype(np.int64),
                    _allowed(batch, pair, ids, len(asked), filters),
                )
                found = _numbered(found, block * block_rows)
                before = best.get(query_block)
                best[query_block] = found if before is None else merge_nearest(before, found, k, metric)
        if not base_ids:
            return
        blocks = sorted(base_ids)
        candidates = pa.concat_arrays([base_ids[block] for block in blocks])
        starts = np.zeros(blocks[-1] + 1, dtype=np.int64)
        starts[blocks] = np.cumsum([0, *(len(base_ids[block]) for block in blocks[:-1])])
        for query_block, nearest in best.items():
            there = nearest.keys != PAD_KEY
            keys = nearest.keys.copy()
            keys[there] = starts[keys[there] // block_rows] + keys[there] % block_rows
            yield lists_batch(
                query_ids[query_block], candidates, Nearest(keys, nearest.cosine, nearest.distance)
            )

    return join


def _allowed(
    batch: pa.RecordBatch, row: int, ids: pa.Array, queries: int, filters: FiltersConfig
) -> NDArray[np.bool_] | None:
    if "admits" not in batch.schema.names:
        return None
    asked, base = (batch[name][row].values for name in ("query_admits", "admits"))
    return allowed(admission_between(asked, base, ids, filters), queries, len(ids))


def _matrix(batch: pa.RecordBatch, side: str, row: int) -> NDArray[np.float32]:
    return unpack_matrix(batch[f"{side}matrix"][row], batch[f"{side}dimension"][row].as_py())


def _numbered(nearest: Nearest, first: int) -> Nearest:
    """The same with keys that count on from the block's first item, and so order items by id."""
    keys = np.where(nearest.keys == PAD_KEY, PAD_KEY, nearest.keys + first)
    return Nearest(keys, nearest.cosine, nearest.distance)
