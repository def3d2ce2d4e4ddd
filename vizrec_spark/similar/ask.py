"""Questions to an index of the shared folder: the look-alikes of its own items, and of other vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyspark.sql import DataFrame, SparkSession

from vizrec_spark.errors import InputError
from vizrec_spark.kernels.candidates import EVERYTHING, Admission
from vizrec_spark.similar.arrow import vectors_to_matrix
from vizrec_spark.similar.index import CHUNK
from vizrec_spark.similar.index_file import (
    admission_arrays,
    admission_in,
    good_for,
    load_arrays,
    open_index,
    save_arrays,
)
from vizrec_spark.similar.lists import NEIGHBORS_SCHEMA, neighbors_batch
from vizrec_spark.similar.search import NO_SELF
from vizrec_spark.similar.shared import evenly, over_rows, part_of, run_of


def neighbors_of_all(
    spark: SparkSession,
    index_path: str,
    *,
    k: int,
    parts: int,
    admission: Admission = EVERYTHING,
    asked: NDArray[np.int64] | None = None,
) -> DataFrame:
    """The look-alikes (`lists.NEIGHBORS_SCHEMA`) of every item of the index, or of the numbers `asked`.

    Each task asks for its share. What it needs lies beside the index, and goes with that folder.
    """
    given = admission_arrays(admission)
    if asked is not None:
        given["asked"] = asked
    facts = save_arrays(Path(index_path).parent, given, {})

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        searcher, ids, order = open_index(index_path)
        arrays, _ = load_arrays(facts)
        admission = admission_in(arrays)
        if "asked" in arrays:
            order = order[np.isin(order, arrays["asked"])]
        share = order[run_of(len(order), part_of(batches), parts)]
        for rows in evenly(share, CHUNK):
            if len(rows):
                nearest = searcher.nearest(searcher.vectors[rows], k, rows, admission.of_queries(rows))
                yield neighbors_batch(ids.take(pa.array(rows)), ids, nearest)

    return over_rows(spark, parts, search, NEIGHBORS_SCHEMA)


def nearest_items(queries: DataFrame, index_path: str, *, k: int) -> DataFrame:
    """Search by vectors: the k nearest items of the index for each of `queries` (query_id string, vector array<float>).

    Columns: query_id, rank (1 = nearest), neighbor_id, cosine, distance. For new vectors, such as those of pictures
    that a shopper has taken: a query is compared with every item, and none is left out as being itself.

    Raises: InputError for more neighbours than the index was tuned for, or when a query's vector has another length
    than those of the index.
    """
    most = good_for(index_path)
    if most is not None and k > most:
        raise InputError(
            f"expected k of at most {most}, for which the index was tuned, got {k}: make one with similar.k = {k}"
        )

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        searcher, ids, _ = open_index(index_path)
        for batch in batches:
            for start in range(0, batch.num_rows, CHUNK):
                part = batch.slice(start, CHUNK)
                vectors = vectors_to_matrix(part.column("vector"))
                if vectors.shape[1] != searcher.vectors.shape[1]:
                    raise InputError(
                        f"expected query vectors of length {searcher.vectors.shape[1]}, got {vectors.shape[1]}: "
                        "encode the queries with the encoder of the items"
                    )
                own = np.full(len(vectors), NO_SELF, dtype=np.int64)
                nearest = searcher.nearest(vectors, k, own)
                yield neighbors_batch(part.column("query_id"), ids, nearest)

    asked = queries.select("query_id", "vector")
    found = asked.mapInArrow(search, NEIGHBORS_SCHEMA)
    return found.withColumnRenamed("item_id", "query_id")
