"""The partitioned plan: a join of shards, each a group of neighbouring cells, that never gathers all vectors.

An item's vector goes to the shard of its own cells, and to each further one in which it looks. A shard then holds
all it takes to search its cells: it ranks by reduced points and scores its best at full dimension. The merge keeps,
of what all shards found for an item, the best by reduced points, as many as the shared plan re-ranks, and of those the
k nearest: the same lists, up to the rounding of reduced products at the very edge of what is re-ranked.

What is shuffled: copies · n · (4 d + 100) bytes on the way in, where copies is the mean number of shards an item is
sent to, and copies · n · rerank · (id + 12) bytes on the way out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyspark import Broadcast
from pyspark.sql import DataFrame
from pyspark.sql.types import ArrayType, FloatType, IntegerType, StringType, StructField, StructType

from vizrec_spark.kernels.candidates import probe_lists
from vizrec_spark.kernels.inverted import invert
from vizrec_spark.kernels.kmeans import fit_centroids, nearest_centroid
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.arrow import list_array, vectors_to_matrix
from vizrec_spark.similar.generators import Cells, Flat, Generator
from vizrec_spark.similar.lists import LISTS_SCHEMA, lists_batch, merge_lists
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.scoring import squared_norms
from vizrec_spark.similar.search import rescored

_SENT_SCHEMA = StructType(
    [
        StructField("shard", IntegerType(), False),
        StructField("item_id", StringType(), False),
        StructField("vector", ArrayType(FloatType()), False),
        StructField("homes", ArrayType(IntegerType()), False),
        StructField("probes", ArrayType(IntegerType()), False),
    ]
)
"""homes: cells of this shard that the item lies in; probes: those in which it looks for neighbours."""

RANKED_SCHEMA = StructType([*LISTS_SCHEMA.fields, StructField("reduced", ArrayType(FloatType()), False)])
"""Partial lists with the inner products of the reduced points, by which the re-ranked are chosen."""


@dataclass(frozen=True)
class Method:
    """All of a search but the items: what the driver has fitted, and broadcasts."""

    reduction: Reduction
    generator: Generator
    rerank: int


def shard_of_cells(generator: Generator, shards: int, *, seed: int) -> NDArray[np.int32]:
    """The shard (0 to shards − 1) of each cell: neighbouring centroids, buckets of a common prefix, or in turn."""
    if isinstance(generator, Cells):
        centres = fit_centroids(generator.centroids, shards, seed=seed)
        return nearest_centroid(generator.centroids, centres)[0]
    numbers = np.arange(generator.cells, dtype=np.int64)
    if isinstance(generator, Flat):
        return (numbers % shards).astype(np.int32)
    return (numbers * shards // generator.cells).astype(np.int32)


def shards_for(
    generator: Generator,
    queries: NDArray[np.float32],
    total_bytes: int,
    least: int,
    most_bytes: int,
    *,
    seed: int,
) -> tuple[int, float]:
    """How many shards, and to how many of them a vector goes on average, as located `queries` (q × m) would.

    At least `least`, and doubled until a shard of `total_bytes` · copies / shards is at most `most_bytes`.
    """
    probes = np.asarray(generator.probes(queries))
    shards = min(least, generator.cells)
    while True:
        sent = np.sort(
            np.where(probes >= 0, shard_of_cells(generator, shards, seed=seed)[probes], -1), axis=1
        )
        copies = float(((np.diff(sent, axis=1, prepend=-1) > 0) & (sent >= 0)).sum(axis=1).mean())
        if total_bytes * copies / shards <= most_bytes or shards == generator.cells:
            return shards, copies
        shards = min(2 * shards, generator.cells)


@dataclass(frozen=True)
class Sharding:
    """A method, and the shard (0 to shards − 1, int32) of each of its cells."""

    method: Method
    shard_of: NDArray[np.int32]
    shards: int


def sharding(method: Method, shards: int, *, seed: int) -> Sharding:
    """The cells of `method` dealt to so many shards.

    Raises: ValueError for a flat generator, with which every shard would get all vectors.
    """
    if isinstance(method.generator, Flat):
        raise ValueError("expected cells or hashes, got a flat generator: every shard would get all vectors")
    return Sharding(method, shard_of_cells(method.generator, shards, seed=seed), shards)


def neighbors_by_shards(vectors: DataFrame, shared: Broadcast[Sharding], *, k: int) -> DataFrame:
    """Up to k near items of each item of `vectors` (item_id string unique, vector array<float>).

    Returns `lists.NEIGHBORS_SCHEMA`, which lives as long as the broadcast. Each task holds one shard: about
    copies · n / shards · 4 · (2 d + width) bytes.
    """
    method, shards = shared.value.method, shared.value.shards

    def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield _sent(batch, shared.value.method, shared.value.shard_of)

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        gathered = [batch for batch in batches if batch.num_rows]
        if gathered:
            # Two shards may share a task where Spark has fewer partitions than shards.
            table = pa.Table.from_batches(gathered)
            for shard in np.unique(table.column("shard").to_numpy()):
                part = table.filter(pc.equal(table.column("shard"), int(shard)))
                yield from _searched(part, shared.value.method)

    sent = vectors.select("item_id", "vector").mapInArrow(send, _SENT_SCHEMA).repartitionById(shards, "shard")
    return merge_lists(
        sent.mapInArrow(search, RANKED_SCHEMA), k=k, metric=method.reduction.metric, rerank=method.rerank
    )


def _sent(batch: pa.RecordBatch, method: Method, shard_of: NDArray[np.int32]) -> pa.RecordBatch:
    matrix = vectors_to_matrix(batch.column("vector"))
    located = method.reduction.located(method.reduction.candidates(matrix))
    homes = method.generator.homes(located, np.zeros(len(matrix), dtype=np.int64))
    probes = np.asarray(method.generator.probes(located))
    rows = np.arange(len(matrix))
    home_entries = _entries(rows, homes, shard_of)
    probe_entries = _entries(rows, probes, shard_of)
    keys = np.unique(np.concatenate([home_entries[0], probe_entries[0]]))
    row, shard = keys // len(shard_of), keys % len(shard_of)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(shard.astype(np.int32)),
            batch.column("item_id").take(pa.array(row)),
            batch.column("vector").take(pa.array(row)),
            _by_key(keys, *home_entries),
            _by_key(keys, *probe_entries),
        ],
        names=_SENT_SCHEMA.names,
    )


def _entries(
    rows: NDArray[np.int64], codes: NDArray[np.int32], shard_of: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(row, shard) as one ascending number, and the code, of each code that is not negative."""
    flat = codes.reshape(-1)
    row = np.repeat(rows, codes.shape[1])[flat >= 0]
    flat = flat[flat >= 0]
    key = row * len(shard_of) + shard_of[flat]
    order = np.argsort(key, kind="stable")
    return key[order], flat[order]


def _by_key(keys: NDArray[np.int64], entry_keys: NDArray[np.int64], codes: NDArray[np.int32]) -> pa.ListArray:
    lengths = np.bincount(np.searchsorted(keys, entry_keys), minlength=len(keys))
    return list_array(pa.array(codes), lengths)


def _searched(shard: pa.Table, method: Method, chunk: int = 4096) -> Iterator[pa.RecordBatch]:
    """The partial lists (`RANKED_SCHEMA`) of a shard's queries."""
    shard = shard.sort_by("item_id").combine_chunks()
    ids, vectors = shard.column("item_id").chunk(0), vectors_to_matrix(shard.column("vector"))
    homes, probes = (_padded(shard.column(name).chunk(0)) for name in ("homes", "probes"))
    asking = np.flatnonzero((probes >= 0).any(axis=1))
    codes = np.unique(homes[homes >= 0])  # cells are numbered anew, so that lists are as long as the shard
    if not len(codes) or not len(asking):
        return
    cell = np.where(homes >= 0, np.searchsorted(codes, homes), len(codes))
    lists = invert(cell, len(codes) + 1)
    at = np.minimum(np.searchsorted(codes, probes), len(codes) - 1)
    local = np.where((probes >= 0) & (codes[at] == probes), at, -1).astype(np.int32)
    points = method.reduction.candidates(vectors)
    squares = squared_norms(vectors)
    for rows in np.array_split(asking, max(1, -(-len(asking) // chunk))):
        queries = vectors[rows]
        heaps = probe_lists(
            method.reduction.queries(queries),
            local[rows],
            points,
            lists,
            method.rerank,
            rows,
            repeats=method.generator.repeats,
        )
        reduced, names = heaps.best()
        exact = rescored(
            queries, vectors, squares, names, names.shape[1], method.reduction.metric, sort=False
        )
        batch = lists_batch(ids.take(pa.array(rows)), ids, exact)
        there = names != PAD_KEY
        yield batch.append_column(
            "reduced", list_array(pa.array(reduced[there]), np.count_nonzero(there, axis=1))
        )


def _padded(lists: pa.ListArray) -> NDArray[np.int32]:
    offsets = lists.offsets.to_numpy()
    lengths = np.diff(offsets)
    table = np.full((len(lists), max(int(lengths.max(initial=0)), 1)), -1, dtype=np.int32)
    table[np.arange(table.shape[1]) < lengths[:, None]] = lists.flatten().to_numpy()
    return table
