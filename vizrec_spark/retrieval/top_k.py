"""The k best candidates for every row of a DataFrame, by blocks: the cross product never exists."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from vizrec_spark.kernels.block_topk import Seen, block_topk
from vizrec_spark.retrieval.meeting import met_by, whole_meetings, with_pairs
from vizrec_spark.retrieval.shared import Candidates, SharedFactors, as_matrix, candidates, require_columns

_BYTES_A_RESULT = 48  # one entry of a list in the kernel and in Arrow


def top_k(
    queries: DataFrame,
    shared: SharedFactors,
    k: int,
    *,
    seen: DataFrame | None = None,
    names: tuple[str, str] = ("user_id", "item_id"),
    block_bytes: int = 32 << 20,
) -> DataFrame:
    """`<names[0]>` string, `rank` int (1 is best), `<names[1]>` string, `score` double for each row of `queries`.

    queries: `names[0]` string and `factors` array<float>; with `seen`, each id once. seen: pairs of `names[0]` and
    `names[1]`, repeated or not, that must not come out; pairs of ids that do not ask are ignored. `score` is the inner
    product with the candidate's factors. Among the `shared` candidates those seen or not eligible are left out inside
    the block; of equal scores the smaller id comes first. A row gets fewer than k where there are no more, none where
    its factors are null. Users to items, items to users, or any part of either: whatever has factors may ask for
    whatever has been shared. Lazy; a row that cannot be answered (factors that are not finite or not of the
    candidates' length, an id that asks twice) fails the job with a TableError.

    Memory of a task: a small multiple of `block_bytes` for a block of rows, what they have seen and their results, and
    the scratch of `block_topk`, whatever the number of rows and candidates; but all that one id has seen is held at
    once. The candidates' factors are mapped from a file, once a machine. With `seen` there is one shuffle, of both
    frames by id; nothing is joined or aggregated.

    Raises: ValueError when k < 1; TableError when a column is missing.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    one, other = names
    require_columns(queries, one, "factors")
    asked = queries.select(one, F.col("factors").cast("array<float>").alias("factors")).where(
        "factors IS NOT NULL"
    )
    filtered = seen is not None
    if seen is not None:
        require_columns(seen, one, other)
        asked = with_pairs(asked, seen, names)
    rows = max(1, block_bytes // (_BYTES_A_RESULT * min(k, max(shared.count, 1)) + 4 * shared.rank))

    def answer(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        if shared.count == 0:
            return
        offered = candidates(shared.file)
        if not filtered:
            for batch in batches:
                for first in range(0, batch.num_rows, rows):
                    yield _answers(batch.slice(first, rows), None, offered, min(k, shared.count), names)
            return
        for meeting in whole_meetings(batches, rows, block_bytes):
            block, met = met_by(meeting, one, offered)
            for first in range(0, block.num_rows, rows):
                part = block.slice(first, rows)
                own = Seen(met.indptr[first : first + part.num_rows + 1], met.indices)
                yield _answers(part, own, offered, min(k, shared.count), names)

    # A list a row: one row a result would travel from Python to Spark with its own copy of the id that asked.
    lists = asked.mapInArrow(
        answer, f"`{one}` string, best array<struct<`{other}`: string, score: double>>"
    ).select(one, F.posexplode("best").alias("_place", "_best"))
    place = (F.col("_place") + 1).cast("int").alias("rank")
    return lists.select(
        one, place, F.col("_best").getField(other).alias(other), F.col("_best.score").alias("score")
    )


def _answers(
    block: pa.RecordBatch, seen: Seen | None, offered: Candidates, k: int, names: tuple[str, str]
) -> pa.RecordBatch:
    queries = as_matrix(block.column("factors"), offered.factors.shape[1], f"column {names[0]}")
    values, keys = block_topk(queries, offered.factors, k, seen=seen, eligible=offered.eligible)
    found = keys >= 0
    ends = np.concatenate([[0], np.cumsum(found.sum(axis=1))]).astype(np.int32)
    entries = pa.StructArray.from_arrays(
        [offered.ids.take(pa.array(keys[found])).cast(pa.string()), pa.array(values[found])],
        [names[1], "score"],
    )
    return pa.RecordBatch.from_arrays(
        [block.column(names[0]), pa.ListArray.from_arrays(pa.array(ends), entries)], [names[0], "best"]
    )
