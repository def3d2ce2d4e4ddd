"""The partitioned plan: a join of shards, each a group of neighbouring cells, that never gathers all vectors.

An item's vector goes to the shard of its own cells, where it resides, and visits each further one in which it looks. A
task holds the residents of one shard, whose number is bounded, and answers visitors as they come. It ranks by reduced
points and scores its best at full dimension. The merge keeps, of what all shards found for an item, the best by reduced
points, as many as the shared plan re-ranks, and of those the k nearest: the same lists, up to the rounding of reduced
products at the very edge of what is re-ranked.

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
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    FloatType,
    IntegerType,
    StringType,
    StructField,
    StructType,
)

from vizrec_spark.config.models.similar import FiltersConfig
from vizrec_spark.kernels.candidates import probe_lists
from vizrec_spark.kernels.inverted import invert
from vizrec_spark.kernels.kmeans import fit_centroids, nearest_centroid
from vizrec_spark.kernels.selection import PAD_KEY
from vizrec_spark.similar.admits import ADMITS_SCHEMA, admission_between, admits_in, kept_columns
from vizrec_spark.similar.arrow import list_array, vectors_to_matrix
from vizrec_spark.similar.exact import NO_FILTERS
from vizrec_spark.similar.generators import Cells, Flat, Generator
from vizrec_spark.similar.lists import LISTS_SCHEMA, group_starts, lists_batch, merge_lists
from vizrec_spark.similar.reduction import Reduction
from vizrec_spark.similar.scoring import Floats, squared_norms
from vizrec_spark.similar.search import NO_SELF, rescored

_SENT_SCHEMA = StructType(
    [
        StructField("shard", IntegerType(), False),
        StructField("visits", BooleanType(), False),
        StructField("item_id", StringType(), False),
        StructField("vector", ArrayType(FloatType()), False),
        StructField("homes", ArrayType(IntegerType()), False),
        StructField("probes", ArrayType(IntegerType()), False),
    ]
)
"""homes: cells of this shard that the item lies in, none for one that visits; probes: those in which it looks."""

RANKED_SCHEMA = StructType([*LISTS_SCHEMA.fields, StructField("reduced", ArrayType(FloatType()), False)])
"""Partial lists with the inner products of the reduced points, by which the re-ranked are chosen."""

_CHUNK = 4096  # queries searched together


@dataclass(frozen=True)
class Method:
    """All of a search but the items: what the driver has fitted, and broadcasts."""

    reduction: Reduction
    generator: Generator
    rerank: int


@dataclass(frozen=True)
class Sharding:
    """A method, the shard (0 to shards − 1, int32) of each of its cells, and the residents of the largest, of which an
    item in two of its cells is counted as two."""

    method: Method
    shard_of: NDArray[np.int32]
    shards: int
    largest: int

    def copies(self, located: Floats) -> float:
        """To how many shards a vector goes, on average over located points (q × m); its own included only if probed."""
        probes = np.asarray(self.method.generator.probes(located))
        sent = np.sort(np.where(probes >= 0, self.shard_of[probes], -1), axis=1)
        return float(((np.diff(sent, axis=1, prepend=-1) > 0) & (sent >= 0)).sum(axis=1).mean())


def sharding(method: Method, sizes: NDArray[np.int64], *, least: int, most_items: int, seed: int) -> Sharding:
    """The cells of `method`, with so many members each, dealt to about `least` shards, or more, so that none has
    more than `most_items`.

    Neighbouring centroids, or buckets of a common prefix, come to one shard. A cell is never divided: see
    `tuning.cell_cap`.

    Raises: ValueError for a flat generator, with which every shard would get all vectors.
    """
    generator = method.generator
    if isinstance(generator, Flat):
        raise ValueError("expected cells or hashes, got a flat generator: every shard would get all vectors")
    target = max(1, min(most_items, -(-int(sizes.sum()) // least)))
    group = np.zeros(generator.cells, dtype=np.int32)
    if isinstance(generator, Cells):
        centres = fit_centroids(generator.seen, -(-int(sizes.sum()) // target), seed=seed)
        group = nearest_centroid(generator.seen, centres)[0]
    shard_of = np.empty(generator.cells, dtype=np.int32)
    shard, held, largest, before = 0, 0, 0, None
    for cell in np.argsort(group, kind="stable"):
        if held and (held + sizes[cell] > target or group[cell] != before):
            shard, held = shard + 1, 0
        shard_of[cell], before = shard, group[cell]
        held += int(sizes[cell])
        largest = max(largest, held)
    return Sharding(method, shard_of, shard + 1, largest)


def neighbors_by_shards(
    vectors: DataFrame,
    shared: Broadcast[Sharding],
    *,
    k: int,
    asked: DataFrame | None = None,
    filters: FiltersConfig = NO_FILTERS,
) -> DataFrame:
    """Up to k near items of each item of `vectors` (item_id string unique, vector array<float>).

    With `asked` (item_id), of those items alone: one-sided, so that all others travel to their own shards only.
    Returns `lists.NEIGHBORS_SCHEMA`, which lives as long as the broadcast. Each task holds the residents of one shard:
    4 · (2 d + width) bytes each, and their cells.
    """
    method, shards = shared.value.method, shared.value.shards

    def send(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if batch.num_rows:
                yield _sent(batch, shared.value)

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        yield from _searched(batches, shared.value.method, filters)

    hashed = vectors.select(*kept_columns(vectors), F.xxhash64("item_id").alias("hash"))
    schema = _SENT_SCHEMA
    if "admits" in vectors.columns:
        schema = StructType([*_SENT_SCHEMA.fields, StructField("admits", ADMITS_SCHEMA, False)])
    if asked is None:
        asking = hashed.withColumn("asks", F.lit(True))
    else:
        flagged = F.broadcast(asked.select("item_id", F.lit(True).alias("asks")))
        asking = hashed.join(flagged, "item_id", "left").withColumn("asks", F.coalesce("asks", F.lit(False)))
    sent = asking.mapInArrow(send, schema).repartitionById(shards, "shard")
    # Residents come first, so that visitors need not be kept.
    found = sent.sortWithinPartitions("shard", "visits").mapInArrow(search, RANKED_SCHEMA)
    return merge_lists(found, k=k, metric=method.reduction.metric, rerank=method.rerank)


def _sent(batch: pa.RecordBatch, dealt: Sharding) -> pa.RecordBatch:
    method = dealt.method
    matrix = vectors_to_matrix(batch.column("vector"))
    located = method.reduction.located(method.reduction.candidates(matrix))
    rows = np.arange(len(matrix))
    homes = method.generator.homes(located, rows, batch.column("hash").to_numpy())
    asks = batch.column("asks").to_numpy(zero_copy_only=False)
    probes = np.asarray(method.generator.probes(located[asks]))
    home_entries = _entries(rows, homes, dealt)
    probe_entries = _entries(rows[asks], probes, dealt)
    keys = np.unique(np.concatenate([home_entries[0], probe_entries[0]]))
    row, shard = keys // dealt.shards, keys % dealt.shards
    made = pa.RecordBatch.from_arrays(
        [
            pa.array(shard.astype(np.int32)),
            pa.array(~np.isin(keys, home_entries[0])),
            batch.column("item_id").take(pa.array(row)),
            batch.column("vector").take(pa.array(row)),
            _by_key(keys, *home_entries),
            _by_key(keys, *probe_entries),
        ],
        names=_SENT_SCHEMA.names,
    )
    admits = admits_in(batch)
    return made if admits is None else made.append_column("admits", admits.take(pa.array(row)))


def _entries(
    rows: NDArray[np.int64], codes: NDArray[np.int32], dealt: Sharding
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(row, shard) as one ascending number, and the code, of each code that is not negative."""
    flat = codes.reshape(-1)
    row = np.repeat(rows, codes.shape[1])[flat >= 0]
    flat = flat[flat >= 0]
    key = row * dealt.shards + dealt.shard_of[flat]
    order = np.argsort(key, kind="stable")
    return key[order], flat[order]


def _by_key(keys: NDArray[np.int64], entry_keys: NDArray[np.int64], codes: NDArray[np.int32]) -> pa.ListArray:
    lengths = np.bincount(np.searchsorted(keys, entry_keys), minlength=len(keys))
    return list_array(pa.array(codes), lengths)


def _searched(
    batches: Iterator[pa.RecordBatch], method: Method, filters: FiltersConfig = NO_FILTERS
) -> Iterator[pa.RecordBatch]:
    """The partial lists (`RANKED_SCHEMA`) of rows sorted by shard and visits."""
    residents: list[pa.RecordBatch] = []
    shard: _Shard | None = None
    number = -1
    for batch in batches:
        if not batch.num_rows:
            continue
        starts = group_starts(batch, ["shard", "visits"]).tolist()
        for start, end in zip(starts, [*starts[1:], batch.num_rows], strict=True):
            part = batch.slice(start, end - start)
            if part.column("shard")[0].as_py() != number:  # where several shards came to one task
                if shard is None and residents:
                    yield from _Shard(residents, method, filters).asked_by_residents()
                number, residents, shard = part.column("shard")[0].as_py(), [], None
            if not part.column("visits")[0].as_py():
                residents.append(part)
                continue
            if not residents and shard is None:  # its cells are empty
                continue
            if shard is None:
                shard, residents = _Shard(residents, method, filters), []
                yield from shard.asked_by_residents()
            yield from shard.asked_by(part)
    if shard is None and residents:
        yield from _Shard(residents, method, filters).asked_by_residents()


class _Shard:
    """The residents of a shard, ready to be searched."""

    def __init__(self, residents: list[pa.RecordBatch], method: Method, filters: FiltersConfig) -> None:
        self._method, self._filters = method, filters
        names = [batch.column("item_id") for batch in residents]
        ids = pa.concat_arrays(names)
        order = pc.sort_indices(ids)  # numbers in the order of ids, as ties go
        self._ids = ids.take(order)
        place = np.empty(len(ids), dtype=np.int64)
        place[order.to_numpy()] = np.arange(len(ids))
        homes = [_padded(batch.column("homes")) for batch in residents]
        probes = [_padded(batch.column("probes")) for batch in residents]
        self._homes, self._probes = _stacked(homes, place), _stacked(probes, place)
        reduction, at = method.reduction, 0
        self._vectors = np.zeros((len(ids), 0), dtype=np.float32)
        self._points = np.empty((len(ids), reduction.width), dtype=np.float32)
        for batch in residents:
            matrix = vectors_to_matrix(batch.column("vector"))
            if not at:
                self._vectors = np.empty((len(ids), matrix.shape[1]), dtype=np.float32)
            to = place[at : at + len(matrix)]
            self._vectors[to], self._points[to] = matrix, reduction.candidates(matrix)
            at += len(matrix)
        self._codes = np.unique(self._homes[self._homes >= 0])
        # Cells are numbered anew, so that lists are as long as the shard.
        cell = np.where(self._homes >= 0, np.searchsorted(self._codes, self._homes), len(self._codes))
        self._lists = invert(cell, len(self._codes) + 1)
        self._squares = squared_norms(self._vectors)
        self._admits = None
        if admits_in(residents[0]) is not None:
            self._admits = pa.concat_arrays([batch.column("admits") for batch in residents]).take(order)

    def asked_by_residents(self) -> Iterator[pa.RecordBatch]:
        """The lists of its own items that look into it."""
        asking = np.flatnonzero((self._probes >= 0).any(axis=1))
        for rows in np.array_split(asking, max(1, -(-len(asking) // _CHUNK))):
            if len(rows):
                admits = None if self._admits is None else self._admits.take(pa.array(rows))
                ids = self._ids.take(pa.array(rows))
                yield self._nearest(ids, self._vectors[rows], self._probes[rows], rows, admits)

    def asked_by(self, visitors: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """The lists of items of other shards."""
        for start in range(0, visitors.num_rows, _CHUNK):
            part = visitors.slice(start, _CHUNK)
            own = np.full(part.num_rows, NO_SELF, dtype=np.int64)
            queries = vectors_to_matrix(part.column("vector"))
            probes = _padded(part.column("probes"))
            yield self._nearest(part.column("item_id"), queries, probes, own, admits_in(part))

    def _nearest(
        self,
        ids: pa.Array,
        queries: Floats,
        probes: NDArray[np.int32],
        own: NDArray[np.int64],
        admits: pa.StructArray | None,
    ) -> pa.RecordBatch:
        at = np.minimum(np.searchsorted(self._codes, probes), len(self._codes) - 1)
        local = np.where((probes >= 0) & (self._codes[at] == probes), at, -1).astype(np.int32)
        reduction = self._method.reduction
        heaps = probe_lists(
            reduction.queries(queries),
            local,
            self._points,
            self._lists,
            self._method.rerank,
            own,
            admission_between(admits, self._admits, self._ids, self._filters),
            repeats=self._method.generator.repeats,
        )
        reduced, names = heaps.best()
        width, metric = names.shape[1], reduction.metric
        exact = rescored(queries, self._vectors, self._squares, names, width, metric, sort=False)
        there = names != PAD_KEY
        lengths = np.count_nonzero(there, axis=1)
        batch = lists_batch(ids, self._ids, exact)
        return batch.append_column("reduced", list_array(pa.array(reduced[there]), lengths))


def _stacked(tables: list[NDArray[np.int32]], place: NDArray[np.int64]) -> NDArray[np.int32]:
    """Padded tables one below the other, row i at `place[i]`."""
    width = max(table.shape[1] for table in tables)
    stacked = np.full((len(place), width), -1, dtype=np.int32)
    at = 0
    for table in tables:
        stacked[place[at : at + len(table)], : table.shape[1]] = table
        at += len(table)
    return stacked


def _padded(lists: pa.ListArray) -> NDArray[np.int32]:
    offsets = lists.offsets.to_numpy()
    lengths = np.diff(offsets)
    table = np.full((len(lists), max(int(lengths.max(initial=0)), 1)), -1, dtype=np.int32)
    table[np.arange(table.shape[1]) < lengths[:, None]] = lists.flatten().to_numpy()
    return table
