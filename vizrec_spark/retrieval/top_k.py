"""The k best candidates for every row of a DataFrame, by blocks: the cross product never exists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructField, StructType

from vizrec_spark.kernels.block_topk import Factors, Seen, block_topk
from vizrec_spark.retrieval.shared import Candidates, SharedFactors, candidates

_BYTES_A_RESULT = 96  # one row of the result in the kernel, in Arrow and on its way


def top_k(
    queries: DataFrame,
    shared: SharedFactors,
    k: int,
    *,
    names: tuple[str, str] = ("user_id", "item_id"),
    block_bytes: int = 32 << 20,
) -> DataFrame:
    """`<names[0]>` string, `rank` int (1 is best), `<names[1]>` string, `score` double for each row of `queries`.

    queries: `names[0]` string, `factors` array<float>, and optionally `seen` array<string>, the candidates that this
    row must not get. `score` is the inner product with the candidate's factors. Among the `shared` candidates those
    seen or not eligible are left out inside the block; of equal scores the smaller id comes first. A row gets fewer
    than k where there are no more, none where its factors are null. Users to items, items to users, or any part of
    either: whatever has factors may ask for whatever has been shared.

    Memory of a task: about `block_bytes` for a block of rows and its results, and 8 MB of scratch, whatever the
    number of rows and candidates; the candidates' factors are mapped from a file, once a machine.
    """
    schema = StructType(
        [
            StructField(names[0], StringType()),
            StructField("rank", IntegerType()),
            StructField(names[1], StringType()),
            StructField("score", DoubleType()),
        ]
    )
    has_seen = "seen" in queries.columns
    asked = queries.select(names[0], "factors", *(["seen"] if has_seen else []))
    rows = max(1, block_bytes // (_BYTES_A_RESULT * min(k, max(shared.count, 1)) + 4 * shared.rank))

    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        offered = candidates(shared.file)
        for batch in batches if shared.count else ():
            known = batch.filter(pc.is_valid(batch.column("factors")))
            for first in range(0, known.num_rows, rows):
                yield _answers(known.slice(first, rows), offered, min(k, shared.count), schema.names)

    return asked.mapInArrow(answer, schema)


def _answers(block: pa.RecordBatch, offered: Candidates, k: int, names: list[str]) -> pa.RecordBatch:
    seen = _seen(block.column("seen"), offered.ids) if block.num_columns == 3 else None
    values, keys = block_topk(_matrix(block), offered.factors, k, seen=seen, eligible=offered.eligible)
    row, place = np.nonzero(keys >= 0)
    columns = [
        block.column(0).take(pa.array(row)),
        pa.array(place.astype(np.int32) + np.int32(1)),
        offered.ids.take(pa.array(keys[row, place])).cast(pa.string()),
        pa.array(values[row, place]),
    ]
    return pa.RecordBatch.from_arrays(columns, names)


def _matrix(block: pa.RecordBatch) -> Factors:
    values = block.column("factors").flatten().to_numpy(zero_copy_only=False)
    return np.ascontiguousarray(values.reshape(block.num_rows, -1), dtype=np.float32)


def _seen(lists: pa.Array, ids: pa.Array) -> Seen:
    """Positions of what was seen; ids that are no candidates are dropped."""
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    position = pc.fill_null(pc.index_in(lists.flatten().cast(ids.type), value_set=ids), -1).to_numpy()
    row = np.repeat(np.arange(len(lists)), lengths)[position >= 0]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(lists)))])
    return Seen(indptr, position[position >= 0].astype(np.int64))
