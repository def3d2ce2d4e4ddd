"""Rows that ask and what they have seen, brought to the same place by one shuffle, without a join or lists.

Both frames become rows of one, sorted in each partition by a hash of the id: a number, which Spark sorts by radix,
where texts would be compared and lists of them built three times over. All rows of an id are then neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.errors import TableError
from vizrec_spark.kernels.block_topk import Seen
from vizrec_spark.retrieval.shared import Candidates

_HASH, _SEEN = "_hash", "_seen"


def with_pairs(asked: DataFrame, seen: DataFrame, names: tuple[str, str]) -> DataFrame:
    """`_hash` (long), `names[0]`, `factors`, `_seen` (string): the rows of `asked`, and one for each pair of `seen`.

    A row that asks has `factors` and no `_seen`, a pair the opposite; pairs with a null in them are left out.
    """
    one, other = names
    rows = asked.select(one, "factors", F.lit(None).cast("string").alias(_SEEN))
    pairs = seen.where(F.col(one).isNotNull() & F.col(other).isNotNull()).select(
        one, F.lit(None).cast("array<float>").alias("factors"), F.col(other).alias(_SEEN)
    )
    both = rows.union(pairs).select(F.xxhash64(one).alias(_HASH), one, "factors", _SEEN)
    return both.repartition(_HASH).sortWithinPartitions(_HASH)


def whole_meetings(batches: Iterator[pa.RecordBatch], rows: int, size: int) -> Iterator[pa.RecordBatch]:
    """The rows of `with_pairs` in larger batches, none of which ends between rows of one id.

    A batch is given out as soon as it has `rows` rows that ask, or `size` bytes.
    """
    held: list[pa.RecordBatch] = []
    asking = held_bytes = 0
    bound = size
    for batch in batches:
        held.append(batch)
        asking += batch.column(_SEEN).null_count
        held_bytes += batch.nbytes
        if held_bytes < bound and (asking < rows or bound > size):
            continue
        whole = pa.concat_batches(held)
        hashes = whole.column(_HASH).to_numpy()
        cut = int(np.searchsorted(hashes, hashes[-1]))
        if cut:
            yield whole.slice(0, cut)
        rest = whole.slice(cut)
        held, asking, held_bytes = [rest], rest.column(_SEEN).null_count, rest.nbytes
        # Of an id that alone is more than a batch, ever more comes before it is looked at again.
        bound = size if cut else max(size, rest.nbytes) * 2
    if held:
        yield pa.concat_batches(held)


def met_by(meeting: pa.RecordBatch, one: str, offered: Candidates) -> tuple[pa.RecordBatch, Seen]:
    """The rows of a meeting that ask, and the positions of the candidates that each of them has seen.

    Raises: TableError when an id asks twice: which of its rows the pairs belong to would be left to chance.
    """
    asks = pc.is_null(meeting.column(_SEEN))
    block = meeting.filter(asks)
    pairs = meeting.filter(pc.invert(asks))
    ids = block.column(one)
    if pc.count_distinct(ids, mode="all").as_py() != len(ids):
        raise TableError(f"Rows that ask: expected each {one} once, found one repeated.")
    row = pc.fill_null(pc.index_in(pairs.column(one), value_set=ids), -1).to_numpy()
    position = offered.positions(pairs.column(_SEEN))
    known = (row >= 0) & (position >= 0)
    row, position = row[known], position[known]
    if (np.diff(row) < 0).any():  # two ids of one hash stand mixed
        order = np.argsort(row, kind="stable")
        row, position = row[order], position[order]
    ends = np.cumsum(np.bincount(row, minlength=len(ids)))
    return block, Seen(np.concatenate([[0], ends]), position)
